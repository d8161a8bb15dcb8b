"""What is asked of the lists of a server: to find what its users watched later, and could have watched by then."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.taste.ranking.config import RankingConfig
from aperture_dagster.taste.ranking.evaluation import (
    ENOUGH_HITS,
    ENOUGH_USERS,
    Comparison,
    Result,
    compare_with_votes,
    rank_household,
    sample_of,
    worlds_of_server,
)
from aperture_dagster.taste.ranking.library import library_of
from aperture_dagster_tests.taste.conftest import NOW, days_ago, history


def watched(user: str, *works: int, **facts):
    """One play a day, the last one today."""
    rows = [{"user_id": user, "work_id": work, "last_played_at": days_ago(len(works) - day)}
            for day, work in enumerate(works, start=1)]  # fmt: skip
    return history(*(row | facts for row in rows))


@pytest.fixture
def ask(library):
    """``ask(histories, added={}, hidden={})``: the worlds of a server with this library, for everybody."""

    def ask(histories: pd.DataFrame, *, items: pd.DataFrame = library, added=None, hidden=None, users=None):
        nothing = np.zeros(len(items), dtype=bool)
        users = sorted(set(histories["user_id"])) if users is None else users
        masks = {user: nothing | items["work_id"].isin((hidden or {}).get(user, [])).to_numpy() for user in users}
        return worlds_of_server(
            items, library_of(items), histories, added=added or {}, hidden=masks, as_of=NOW.to_pydatetime()
        )

    return ask


def test_what_was_hardly_watched_or_disliked_is_no_hit(ask):
    five = watched("ann", *range(100, 104))
    for facts, found in [
        ({}, True),
        ({"plays": 0, "completion": 0.6}, True),
        ({"plays": 0, "completion": 0.3}, False),
        ({"rating": 9.0}, True),
        ({"rating": 2.0}, False),
    ]:
        last = history({"work_id": 110, "last_played_at": NOW} | facts)
        worlds = ask(pd.concat([five, last]))
        assert (worlds["movie"].hits == {"ann": {10}}) is found, facts


def test_candidates_were_in_the_library_by_the_last_known_activity(ask):
    histories = watched("ann", *range(100, 110))
    added = {108: days_ago(9), 109: days_ago(1.5), 120: days_ago(3), 121: days_ago(0.5)}
    world = ask(histories, added=added)["movie"]
    assert world.last_known["ann"] == days_ago(2)
    assert world.hits == {"ann": {8}}, "109 was added after that"
    assert world.unreleased["ann"].nonzero()[0].tolist() == [9, 21]


def test_a_title_that_somebody_had_played_was_there_whatever_the_server_says(ask):
    """A library that was imported again has later dates."""
    late = {work: days_ago(0.1) for work in range(100, 160)}
    both = pd.concat(
        [watched("ann", *range(100, 110)), history({"user_id": "bob", "work_id": 108, "last_played_at": days_ago(50)})]
    )
    world = ask(both, added=late)["movie"]
    assert world.hits == {"ann": {8}}
    assert set(np.flatnonzero(~world.unreleased["ann"])) == {*range(8), 8}


def test_titles_that_a_user_may_not_see_are_neither_candidates_nor_hits(ask):
    world = ask(watched("ann", *range(100, 110)), hidden={"ann": [109, 130]})["movie"]
    assert world.hits == {"ann": {8}} and world.unreleased["ann"].nonzero()[0].tolist() == [9, 30]


def test_films_and_series_are_judged_apart_and_known_together(ask, library):
    items = library.assign(media_type=np.where(library["work_id"] < 130, "movie", "series"))
    worlds = ask(watched("ann", 100, 101, 102, 103, 131, 132, 133, 134, 104, 135), items=items)
    assert worlds["movie"].hits == {"ann": {4}} and worlds["series"].hits == {"ann": {35}}
    assert worlds["movie"].unreleased["ann"].nonzero()[0].tolist() == list(range(30, 60))
    for media_type, first in (("movie", 0), ("series", 30)):
        world = worlds[media_type]
        assert len(world.training) == 8
        (own,) = rank_household(world, ["ann"], RankingConfig(limit=20)).values()
        assert len(own) and set(own) <= set(range(first, first + 30)) - set(world.seen["ann"])


def test_who_has_no_dates_or_is_not_asked_does_not_qualify(ask):
    undated = watched("bob", *range(100, 110)).assign(last_played_at=pd.NaT)
    histories = pd.concat([watched("ann", *range(100, 110)), undated, watched("eve", *range(100, 110))])
    worlds = ask(histories, users=["ann", "bob"])
    assert list(worlds["movie"].hits) == ["ann"] and set(worlds["movie"].training["user_id"]) == {"ann", "bob", "eve"}


@pytest.mark.parametrize("histories", [history().assign(user_id=[], work_id=[]), watched("ann", 999, 998)])
def test_a_server_without_histories_asks_nothing(ask, histories):
    worlds = ask(histories)
    assert worlds["movie"].users == []
    found = compare_with_votes(worlds["movie"], {})
    assert found.hits == 0 and not found.is_enough


def test_a_sample_is_the_same_every_time_and_has_nobody_twice():
    users = [f"user {number}" for number in range(50)]
    chosen = sample_of(users, 10)
    assert len(set(chosen)) == 10 and chosen == sample_of(reversed(users), 10)
    assert chosen != users[:10] and set(chosen) < set(sample_of(users, 20))
    assert sample_of(users, 99) == sorted(users)


def test_enough_takes_users_and_hits():
    result = {users: Result(np.zeros(users), 0.0, 0.0, 0.0, 0.0) for users in (ENOUGH_USERS, ENOUGH_USERS - 1)}
    many, few = result.values()
    assert Comparison(many, many, ENOUGH_HITS).is_enough
    assert not Comparison(many, many, ENOUGH_HITS - 1).is_enough and not Comparison(few, few, ENOUGH_HITS).is_enough
