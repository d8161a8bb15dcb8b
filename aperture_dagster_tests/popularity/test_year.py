"""What somebody watched in a year is counted in the household's time zone, from their plays alone."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from aperture_dagster.popularity.year import Play, longest_streak, read_plays, summarise, years_watched
from aperture_dagster_tests.shelf import Shelf, film, played

BERLIN = ZoneInfo("Europe/Berlin")


def play(work: int, month: int, day: int, *, is_episode: bool = False, times: int = 1, genres: tuple[str, ...] = ()):
    at = datetime(2025, month, day, 20, tzinfo=BERLIN)
    return Play(work, f"Title {work}", is_episode, at, times, 90.0 * times, genres)


def test_a_year_is_counted_and_named_from_its_plays():
    plays = [
        play(1, 1, 3, genres=("Drama",)), play(2, 1, 4, is_episode=True, genres=("Crime",)),
        play(2, 1, 5, is_episode=True, genres=("Crime",)), play(3, 1, 5, genres=("Crime", "Drama")),
        play(1, 3, 1, times=2, genres=("Drama",)),
    ]  # fmt: skip
    found = summarise(plays, {1, 2, 3}, BERLIN)
    assert found is not None
    assert (found.hours, found.films, found.series, found.episodes, found.days) == (9.0, 2, 1, 2, 4)
    assert found.streak == (3, date(2025, 1, 3), date(2025, 1, 5))
    assert found.first == ("Title 1", date(2025, 1, 3)) and found.last == ("Title 1", date(2025, 3, 1))
    assert found.most == ("Title 2", 2) and found.again == ("Title 1", 3)
    # Two titles of each in January; an empty month has its place.
    assert [month[1:] for month in found.months] == [(6.0, "Crime"), (0.0, None), (3.0, "Drama")]


def test_titles_that_somebody_may_not_see_are_counted_and_not_named():
    plays = [play(1, 1, 1), play(2, 1, 2), play(1, 1, 3, times=5)]
    found = summarise(plays, {2}, BERLIN)
    assert found is not None and found.films == 2 and found.days == 3
    assert found.first == found.last == ("Title 2", date(2025, 1, 2)) and found.again is None
    assert summarise([], {1}, BERLIN) is None


def test_a_streak_is_of_days_in_a_row_and_the_first_of_equals():
    days = [date(2025, 1, day) for day in (9, 1, 2, 2, 10, 5)]
    assert longest_streak(days) == (2, date(2025, 1, 1), date(2025, 1, 2))


@pytest.mark.parametrize(("zone", "year"), [("Europe/Berlin", 2026), ("America/New_York", 2025)])
def test_the_year_of_a_play_is_that_of_the_households_clock(shelf: Shelf, zone: str, year: int):
    shelf.users("ann", "ben")
    shelf.films(film(1, runtime_minutes=100, genres=("Drama",)))
    new_year = datetime(2025, 12, 31, 23, 30, tzinfo=UTC)
    now = datetime(2026, 1, 5, tzinfo=UTC)
    shelf.history("ann", played("film-1", last_played_at=new_year), now=now)
    shelf.history("ben", played("film-1", last_played_at=datetime(2026, 1, 2, tzinfo=UTC)), now=now)
    with shelf.open() as connection:
        assert years_watched(connection, "ann", ZoneInfo(zone)) == [year]
        (found,) = read_plays(connection, "ann", year, ZoneInfo(zone))
        assert (found.work_id, found.minutes) == (shelf.item("film-1")["work_id"], 100)
        assert read_plays(connection, "ann", 4051 - year, ZoneInfo(zone)) == []
