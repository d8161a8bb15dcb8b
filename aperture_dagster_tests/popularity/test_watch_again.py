"""What is offered to those who watch things again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from aperture_dagster.media_server.records import ServerEpisode, ServerTitle
from aperture_dagster.popularity.watch_again import watch_again
from aperture_dagster_tests.shelf import NOW, Shelf, film, played


@pytest.fixture
def home(shelf: Shelf) -> Shelf:
    """Twelve films and a series of four episodes."""
    shelf.users("ann", "bob")
    shelf.films(*(film(number) for number in range(1, 13)))
    shelf.series(ServerTitle("show", "Show", tmdb_id=900, path="/shows/1"))
    shelf.episodes(*(ServerEpisode(f"e{n}", "show", f"Part {n}", 1, n, path=f"/shows/1/{n}.mkv") for n in range(1, 5)))
    return shelf


def watched(item: str, times: int, days: int):
    return played(item, is_episode=item.startswith("e"), play_count=times, last_played_at=NOW - timedelta(days=days))


def offered(home: Shelf, user: str = "ann") -> list[tuple[str, int]]:
    with home.open() as connection:
        rows = watch_again(connection, user, NOW.date())
    names = {home.item(f"film-{n}")["work_id"]: f"film-{n}" for n in range(1, 13)} | {
        home.item("show")["work_id"]: "show"
    }
    return [(names[row["work_id"]], row["times"]) for row in rows]


def test_what_was_seen_most_often_comes_first_and_what_was_seen_lately_not_at_all(home: Shelf):
    given = ((1, 2, 100), (2, 9, 70), (3, 2, 300), (4, 5, 59), (5, 1, 400))
    home.history("ann", *(watched(f"film-{n}", times, days) for n, times, days in given))
    assert offered(home) == [("film-2", 9), ("film-3", 2), ("film-1", 2)]
    assert offered(home, "bob") == []


@pytest.mark.parametrize(("again", "once", "shown"), [(2, 0, 0), (3, 9, 3), (3, 0, 3), (2, 10, 0)])
def test_only_who_watches_things_again_gets_the_row(home: Shelf, again: int, once: int, shown: int):
    states = [watched(f"film-{n}", 2 if n <= again else 1, 90) for n in range(1, again + once + 1)]
    home.history("ann", *states)
    assert len(offered(home)) == shown


def test_less_than_a_quarter_is_no_habit(home: Shelf):
    home.history("ann", *(watched(f"film-{n}", 2 if n <= 3 else 1, 90) for n in range(1, 13)))
    assert len(offered(home)) == 3
    home.history("ann", watched("e1", 1, 90))
    assert offered(home) == []


@pytest.mark.parametrize(("counts", "times"), [((2, 2, 2, 2), 2), ((3, 3, 1, 3), 3), ((5, 1, 1, 1), None)])
def test_a_series_was_seen_as_often_as_most_of_its_episodes(home: Shelf, counts: tuple[int, ...], times: int | None):
    films = [watched(f"film-{n}", 2, 30) for n in range(1, 4)]
    home.history("ann", *films, *(watched(f"e{n}", count, 90) for n, count in enumerate(counts, 1)))
    assert offered(home) == ([("show", times)] if times else [])
