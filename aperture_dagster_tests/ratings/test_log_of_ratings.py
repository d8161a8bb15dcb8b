"""Ratings, their dates and their changes."""

from __future__ import annotations

from typing import Any

import pytest

from aperture_dagster_tests.storage.conftest import NOW, Shelf, film, played
from aperture_dagster_tests.storage.viewers import DAY, furnish, history_of, mark, marked


@pytest.fixture(autouse=True)
def home(shelf: Shelf) -> None:
    furnish(shelf)


def rating_log(shelf: Shelf) -> list[tuple[Any, ...]]:
    statement = "SELECT previous, rating, rated_at FROM rating_changes ORDER BY change_id"
    return [tuple(row.values()) for row in shelf.rows(statement)]


def test_a_rating_keeps_the_date_when_it_was_first_seen(shelf: Shelf):
    """A rating had no date, and was overwritten."""
    shelf.history("ann", played("film-1", rating=7.3), now=NOW)
    shelf.history("ann", played("film-1", rating=7.3, play_count=2), now=NOW + DAY)
    assert shelf.rows("SELECT source, rating, rated_at FROM ratings") == [
        {"source": "server", "rating": 7.3, "rated_at": NOW}
    ]
    shelf.history("ann", played("film-1", rating=8), now=NOW + 2 * DAY)
    assert shelf.value("SELECT rated_at FROM ratings") == NOW + 2 * DAY
    assert rating_log(shelf) == [(None, 7.3, NOW), (7.3, 8.0, NOW + 2 * DAY)]


def test_a_removed_rating_is_recorded_as_a_change(shelf: Shelf):
    """An item whose rating was removed must differ from one that was never rated."""
    shelf.history("ann", played("film-1", rating=4), played("film-2"))
    shelf.history("ann", played("film-1"), played("film-2"), now=NOW + DAY)
    assert shelf.value("SELECT count(*) FROM ratings") == 0
    assert rating_log(shelf) == [(None, 4.0, NOW), (4.0, None, NOW + DAY)]
    shelf.history("ann", played("film-1", rating=4), now=NOW + 2 * DAY)
    assert shelf.value("SELECT rated_at FROM ratings") == NOW + 2 * DAY


def test_the_latest_rating_of_two_copies_counts(shelf: Shelf):
    """Each copy has its own rating."""
    shelf.history("ann", played("film-100", rating=9), played("film-1", rating=2))
    shelf.history("ann", played("film-100", rating=5), played("film-1", rating=2), now=NOW + DAY)
    assert history_of(shelf, "film-1")["rating"] == 5


def test_a_series_has_its_own_rating_or_that_of_its_episodes(shelf: Shelf):
    shelf.history("ann", *(played(f"show-1-{n}", is_episode=True, rating=3 * n) for n in (1, 2)))
    assert history_of(shelf, "show")["rating"] == 4.5
    shelf.history("ann", played("show", rating=8, last_played_at=None))
    assert history_of(shelf, "show")["rating"] == 8


def test_an_item_that_is_only_rated_counts_as_marked(shelf: Shelf):
    """Items that are only rated are read again when the server no longer lists them."""
    nothing = {"played": False, "play_count": 0, "last_played_at": None}
    shelf.history("ann", played("film-1", rating=3, **nothing))
    assert marked(shelf) == 1
    mark(shelf, "ann")
    assert (marked(shelf), shelf.value("SELECT count(*) FROM ratings")) == (0, 0)


def test_ratings_follow_a_corrected_identification(shelf: Shelf):
    shelf.history("ann", played("film-1", rating=3))
    shelf.films(film(1, tmdb_id=77), *(film(n) for n in (0, 2, 3, 4)), film(100, tmdb_id=1))
    for table in ("ratings", "rating_changes"):
        assert shelf.value(f"SELECT work_id FROM {table}") == shelf.item("film-1")["work_id"]
