"""What a member may see of a list that was made ahead."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.catalogue.visibility import Visibility
from aperture_dagster.discovery.suggestions import dismiss_title
from aperture_dagster.members.visible_titles import titles_in_sight
from aperture_dagster_tests.catalogue.viewers import furnish
from aperture_dagster_tests.shelf import NOW, Shelf, film


def seen(shelf: Shelf, *server_ids: str, **changed: Any) -> list[str]:
    """The copies, by their ids on the server, that Ann sees of some works."""
    with shelf.open() as connection:
        ann = next(user for user in read_users(connection) if user.user_id == "ann")
        works = [shelf.item(one)["work_id"] for one in server_ids]
        found = titles_in_sight(connection, replace(ann, **changed), works)
    return [found[work].server_item_id for work in works if work in found]


def test_each_work_is_seen_once_by_its_first_copy_that_the_member_may_see(shelf: Shelf):
    furnish(shelf)
    assert seen(shelf, "film-1", "film-2") == ["film-1", "film-2"]
    shelf.films(film(1, tags=("private",)), complete=set())
    assert seen(shelf, "film-1", visibility=Visibility(blocked_tags=("private",))) == ["film-100"]
    assert seen(shelf, "film-1", "film-2", visibility=Visibility(all_libraries=False)) == []


def test_a_limit_and_what_was_hidden_hold_at_once(shelf: Shelf):
    furnish(shelf)
    shelf.films(film(2, official_rating="PG"), film(3, official_rating="R"), film(4), complete=set())
    films = ("film-2", "film-3", "film-4")
    assert seen(shelf, *films) == list(films)
    assert seen(shelf, *films, max_parental_rating=12) == ["film-2"], "what has no rating may be anything"
    with shelf.open() as connection:
        dismiss_title(connection, "ann", shelf.item("film-2")["work_id"], "Film 2", now=NOW)
    assert seen(shelf, *films) == ["film-3", "film-4"]
