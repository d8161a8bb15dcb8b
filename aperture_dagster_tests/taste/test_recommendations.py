"""Whose list holds what: access, what was hidden, and what rests, of users who are served together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np
import pytest

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.catalogue.visibility import Visibility
from aperture_dagster.discovery.suggestions import dismiss_title
from aperture_dagster.enrichment.enriched import write_enriched
from aperture_dagster.enrichment.sources import merge_plan
from aperture_dagster.settings import Settings
from aperture_dagster.taste.recommendations import Recommendations
from aperture_dagster.taste.vectors import activate_model, register_model, write_vectors
from aperture_dagster_tests.shelf import NOW, Shelf, film, played

FILMS, WATCHED = 30, 4
Lists = Callable[..., list[str]]


@pytest.fixture
def ranked(shelf: Shelf, make_settings: Callable[..., Settings]) -> Lists:
    """Rank for Ann and Bob, who watched the first films; return the films of Ann, by their ids on the server."""
    shelf.users("ann", "bob")
    shelf.films(*(film(number, tags=("private",) * (number % 2)) for number in range(FILMS)))
    for user in ("ann", "bob"):
        shelf.history(user, *(played(f"film-{number}") for number in range(WATCHED)))
    works = [shelf.item(f"film-{number}")["work_id"] for number in range(FILMS)]
    vectors = np.random.default_rng(1).normal(size=(FILMS, 8)).astype(np.float32)
    with shelf.open() as connection:
        write_enriched(connection, merge_plan())
        register_model(connection, "m", 8)
        write_vectors(connection, "m", works, list(map(str, works)), vectors)
        activate_model(connection, "m")

    def rank(access: Visibility | None = None, resting: Collection[int] = (), *, reasons: bool = False) -> list[str]:
        with shelf.open() as connection:
            ann, bob = sorted(read_users(connection), key=lambda user: user.name)
        people: list[tuple[User, Collection[int]]] = [
            (replace(ann, visibility=access or ann.visibility), resting),
            (bob, ()),
        ]
        made = Recommendations(
            logging.getLogger("test"), shelf.database, make_settings(), people, model_key="m", as_of=NOW
        )
        names = {row["work_id"]: row["server_item_id"] for row in shelf.rows("SELECT * FROM titles")}
        rows = made.of(people[0][0])
        return [names[one] for row in rows for one in (row["because"] if reasons else [row["work_id"]])]

    return rank


def test_a_limited_user_gets_what_they_may_see_also_beside_one_without_limits(ranked: Lists):
    for reasons in (False, True):
        assert any(int(one.removeprefix("film-")) % 2 for one in ranked(reasons=reasons))
        found = ranked(Visibility(blocked_tags=("private",)), reasons=reasons)
        assert found and all(int(one.removeprefix("film-")) % 2 == 0 for one in found)


def test_what_was_watched_or_hidden_is_on_no_list(shelf: Shelf, ranked: Lists):
    first = ranked()
    assert not {f"film-{number}" for number in range(WATCHED)} & set(first)
    with shelf.open() as connection:
        dismiss_title(connection, "ann", shelf.item(first[0])["work_id"], "It", now=NOW)
    assert ranked() and first[0] not in ranked()


def test_what_rests_makes_room_for_others(shelf: Shelf, ranked: Lists):
    first = ranked()
    tired = [shelf.item(one)["work_id"] for one in first[:3]]
    assert ranked(resting=tired)[0] not in first[:3]


def test_the_whole_list_begins_like_the_list_and_goes_on_by_score(
    shelf: Shelf, ranked: Lists, make_settings: Callable[..., Settings]
):
    ranked()
    settings = make_settings(recommendations_movies={"per_list": 5})
    with shelf.open() as connection:
        ann, bob = sorted(read_users(connection), key=lambda user: user.name)
    people: list[tuple[User, Collection[int]]] = [(ann, ()), (bob, ())]
    made = Recommendations(logging.getLogger("test"), shelf.database, settings, people, model_key="m", as_of=NOW)
    listed, (whole,) = made.of(ann), made.whole_of(ann)
    assert len(listed) == 5 and [row["work_id"] for row in listed] == whole["works"][:5]
    assert len(set(whole["works"])) == len(whole["works"]) == len(whole["scores"]) == FILMS - WATCHED
    assert whole["scores"][5:] == sorted(whole["scores"][5:], reverse=True)
    for row, score in zip(listed, whole["scores"], strict=False):
        assert row["score"] == pytest.approx(score, abs=1e-3)
