"""Which series a user is watching, what comes next, and when."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from aperture_dagster.popularity.series import (
    Announced,
    Episode,
    Series,
    WatchedSeries,
    WatchingRules,
    episode_label,
    in_order,
    parse_announced,
    watched_series,
)

NOW = datetime(2026, 5, 17, 12, tzinfo=UTC)
TODAY = NOW.date()
DAY = timedelta(days=1)
RUNNING = Series(1, "Show", status="Returning Series")
ENDED = replace(RUNNING, status="Ended")


def episode(season: int | None, number: int | None, *, copy: int = 10, **facts: Any) -> Episode:
    usual: dict[str, Any] = {
        "item_id": copy * 10_000 + (season or 0) * 100 + (number or 0),
        "series_item_id": copy,
        "season": season,
        "number": number,
        "number_end": None,
        "title": f"Episode {number}",
        "air_date": date(2020, 1, 1),
    }
    return Episode(**usual | facts)


def season(number: int, count: int, *, watched: Collection[int] = (), copy: int = 10, **facts: Any) -> list[Episode]:
    """Return a season in which these numbers were watched a day ago."""
    seen = {"is_watched": True, "last_played_at": NOW - DAY}
    return [episode(number, one, copy=copy, **(seen if one in watched else facts)) for one in range(1, count + 1)]


def find(
    episodes: list[Episode],
    series: Series = RUNNING,
    *,
    copies: Iterable[int] = (10,),
    now: datetime = NOW,
    **rules: int,
) -> WatchedSeries | None:
    return watched_series(series, episodes, set(copies), WatchingRules(**rules), now=now)


def listed(*arguments: Any, **options: Any) -> WatchedSeries:
    found = find(*arguments, **options)
    assert found is not None
    return found


def label(one: WatchedSeries) -> str | None:
    if one.next is not None and one.next_number is None:
        return f"S{one.next_season} {one.next.title}"
    return episode_label(one.next_season, one.next_number)


@pytest.mark.parametrize(
    ("episodes", "expected", "behind", "progress"),
    [
        (season(1, 4, watched=[1, 2]), "S01E03", 2, (2, 4)),
        ([*season(1, 2, watched=[1, 2]), *season(2, 3)], "S02E01", 3, (2, 5)),
        (season(1, 4, watched=[1, 2, 3, 4]), None, 0, (4, 4)),
        # A gap is not gone back to, and does not count as behind.
        (season(1, 7, watched=[1, 2, 5]), "S01E06", 2, (3, 7)),
        # Seasons come before numbers, whatever the order of the listing.
        ([*season(10, 2), *season(2, 9, watched=[8, 9])], "S10E01", 2, (2, 11)),
        # Specials are neither played, nor next, nor out.
        ([*season(0, 3, watched=[1]), *season(1, 3, watched=[1, 2])], "S01E03", 1, (2, 3)),
        # A pilot has the number 0.
        ([episode(1, 0), *season(1, 3, watched=[1, 2])], "S01E03", 1, (2, 4)),
        # Without numbers, the air dates give the order.
        (
            [
                episode(2026, None, item_id=day, air_date=date(2026, 5, day), is_watched=day < 4, last_played_at=NOW)
                for day in (5, 3, 2, 4)
            ],
            "S2026 Episode None",
            2,
            (2, 4),
        ),
        # Unnumbered ones never follow numbered ones of the same season.
        ([*season(1, 3, watched=[1, 2, 3]), episode(1, None, item_id=9)], None, 0, (3, 4)),
    ],
)
def test_the_next_episode_follows_the_furthest_watched_one(
    episodes: list[Episode], expected: str | None, behind: int, progress: tuple[int, int]
):
    found = listed(episodes)
    assert (label(found), found.behind) == (expected, behind)
    assert (found.episodes_played, found.episodes_out) == progress
    assert (found.next is None) == (expected is None)


def test_watching_old_episodes_again_does_not_move_the_place():
    episodes = season(1, 5, watched=[1, 2, 3])
    episodes[0] = replace(episodes[0], last_played_at=NOW)
    found = listed(episodes)
    assert (label(found), found.episodes_played) == ("S01E04", 3)
    assert found.last_played_at == NOW


def test_an_episode_that_was_started_is_the_next_one():
    episodes = season(1, 5, watched=[1, 2])
    episodes[2] = replace(episodes[2], last_played_at=NOW)
    episodes[4] = replace(episodes[4], last_played_at=NOW)
    assert label(listed(episodes)) == "S01E03"


def test_a_file_with_two_episodes_counts_as_two():
    watched = {"is_watched": True, "last_played_at": NOW - DAY}
    found = listed([episode(1, 1, number_end=2, **watched), *season(1, 4)[2:]])
    assert (label(found), found.episodes_played, found.episodes_out, found.behind) == ("S01E03", 2, 4, 2)
    unwatched = listed([*season(1, 2, watched=[1, 2]), episode(1, 3, number_end=4)])
    assert (label(unwatched), unwatched.behind) == ("S01E03", 2)


@pytest.mark.parametrize("end", [0, -5, 2_000_000_000])
def test_an_impossible_last_number_of_a_file_is_ignored(end: int):
    found = listed([*season(1, 2, watched=[1, 2]), episode(1, 3, number_end=end)])
    assert (label(found), found.behind) == ("S01E03", 1)


def test_two_copies_are_one_series_and_an_episode_watched_in_one_is_watched():
    found = listed([*season(1, 4, watched=[1]), *season(1, 4, watched=[2], copy=20)], copies=[10, 20])
    assert (label(found), found.episodes_played, found.episodes_out, found.behind) == ("S01E03", 2, 4, 2)


def test_a_double_file_in_one_copy_and_single_files_in_the_other_are_the_same_episodes():
    double = episode(1, 1, number_end=2, copy=20, is_watched=True, last_played_at=NOW - DAY)
    found = listed([*season(1, 3), double, episode(1, 3, number_end=4, copy=20)], copies=[10, 20])
    assert (found.episodes_played, found.episodes_out, found.behind) == (2, 4, 2)
    assert found.next is not None and found.next.series_item_id == 20, "the copy that was watched"


def test_the_copy_to_play_is_the_one_played_last_if_it_has_the_next_episode():
    first, second = season(1, 4), season(1, 4, watched=[1, 2], copy=20)
    assert listed([*first, *second], copies=[10, 20]).item_id == 20
    assert listed([*first, *second[:2]], copies=[10, 20]).item_id == 10
    assert listed([*first[:2], *second[:2]], copies=[10, 20]).item_id == 20, "all watched"


def test_a_copy_that_the_user_may_not_see_offers_nothing_but_what_was_watched_there_counts():
    episodes = [*season(1, 3), *season(1, 9, watched=[1, 2], copy=20)]
    found = listed(episodes, copies=[10])
    assert (found.item_id, label(found), found.behind, found.episodes_out) == (10, "S01E03", 1, 3)
    assert find(episodes, copies=[]) is None


def test_episodes_deleted_after_watching_still_count_as_watched():
    gone = [replace(one, is_present=False) for one in season(1, 3, watched=[1, 2])]
    found = listed([*gone, *season(1, 5)[3:]])
    assert (label(found), found.behind) == ("S01E04", 2)
    assert (found.episodes_played, found.episodes_out) == (2, 4)


@pytest.mark.parametrize(("minimum", "is_listed"), [(1, True), (2, True), (3, False)])
def test_a_minimum_of_episodes_must_have_been_played(minimum: int, is_listed: bool):
    episodes = [*season(0, 3, watched=[1, 2, 3]), *season(1, 4, watched=[1, 2])]
    assert (find(episodes, minimum_episodes=minimum) is not None) == is_listed


@pytest.mark.parametrize(
    ("series", "days", "ended_days", "age", "is_listed"),
    [
        (RUNNING, 60, 0, 60, True),
        (RUNNING, 60, 0, 61, False),
        (RUNNING, 30, 90, 60, False),
        (ENDED, 60, 0, 1, False),
        (ENDED, 60, 14, 15, False),
        (ENDED, 0, 14, 15, False),
        (replace(ENDED, status=" canceled"), 60, 0, 1, False),
        (replace(ENDED, status=None), 60, 0, 1, True),
    ],
)
def test_what_is_listed_depends_on_the_last_play_and_on_whether_the_series_still_runs(
    series: Series, days: int, ended_days: int, age: int, is_listed: bool
):
    episodes = [
        replace(one, last_played_at=NOW - age * DAY if one.is_watched else None) for one in season(1, 4, watched=[1, 2])
    ]
    rules = WatchingRules(days=days, ended_days=ended_days)
    assert (watched_series(series, episodes, {10}, rules, now=NOW) is not None) == is_listed
    earliest = rules.earliest(NOW)
    if is_listed:
        assert earliest is None or earliest <= NOW - age * DAY, "it must have been read"


def test_without_a_date_of_the_last_play_it_is_listed_only_if_there_is_no_limit():
    undated = [replace(one, last_played_at=None) for one in season(1, 4, watched=[1, 2])]
    assert find(undated) is None
    assert listed(undated, days=0).last_played_at is None


def test_days_are_those_of_the_household():
    """At 1 o'clock in Berlin, it is still yesterday in UTC."""
    berlin = ZoneInfo("Europe/Berlin")
    now = datetime(2026, 5, 18, 1, tzinfo=berlin)
    # 23:30 UTC on March 18 is March 19 in Berlin, 60 days before.
    played = datetime(2026, 3, 18, 23, 30, tzinfo=UTC)
    episodes = [replace(one, last_played_at=played if one.is_watched else None) for one in season(1, 3, watched=[1, 2])]
    episodes[2] = replace(episodes[2], air_date=date(2026, 5, 18))
    found = listed(episodes, now=now)
    assert (found.behind, found.next_air_date) == (1, None), "it airs today, and is here"
    earliest = WatchingRules().earliest(now)
    assert earliest is not None and earliest <= played
    before = [replace(one, last_played_at=played - timedelta(hours=2)) for one in episodes]
    assert find(before, now=now) is None
    in_utc = listed(before, now=now.astimezone(UTC))
    assert (in_utc.behind, in_utc.next_air_date) == (0, date(2026, 5, 18))


def test_an_owned_episode_that_airs_later_is_next_but_not_behind():
    later = TODAY + 3 * DAY
    found = listed([*season(1, 2, watched=[1, 2]), episode(1, 3, air_date=later), episode(1, 4, air_date=later + DAY)])
    assert (label(found), found.behind, found.next_air_date) == ("S01E03", 0, later)
    assert (found.episodes_played, found.episodes_out) == (2, 2)


def test_an_unknown_air_date_counts_as_aired():
    found = listed(season(1, 4, watched=[1, 2], air_date=None))
    assert (found.behind, found.episodes_out, found.next_air_date) == (2, 4, None)


@pytest.mark.parametrize(
    ("announced", "expected"),
    [
        (Announced(TODAY + DAY, 2, 1), TODAY + DAY),
        (Announced(TODAY), TODAY),
        # An old answer: it has aired since.
        (Announced(TODAY - DAY, 2, 1), None),
        # It airs today and is in the library already.
        (Announced(TODAY, 1, 3), None),
        (None, None),
    ],
)
def test_the_next_air_date_is_the_announced_one_until_it_has_passed(announced: Announced | None, expected: date | None):
    found = listed(season(1, 3, watched=[1, 2]), replace(RUNNING, announced=announced))
    assert found.next_air_date == expected


def test_air_dates_of_the_server_come_before_announced_ones():
    series = replace(RUNNING, announced=Announced(TODAY + DAY, 2, 1))
    episodes = [*season(1, 2, watched=[1, 2]), episode(1, 3, air_date=TODAY + 9 * DAY)]
    assert listed(episodes, series).next_air_date == TODAY + 9 * DAY


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"season": 2, "number": 3, "title": "x", "air_date": "2026-05-18"}, Announced(date(2026, 5, 18), 2, 3)),
        ({"season": 2.0, "number": 3.0, "air_date": "2026-05-18"}, Announced(date(2026, 5, 18), 2, 3)),
        ({"season": "2", "number": 3.5, "air_date": "2026-05-18"}, Announced(date(2026, 5, 18))),
        ({"season": 2, "number": 3, "air_date": "2026-02-30"}, None),
        ({"season": 2, "number": 3, "air_date": None}, None),
        ({}, None),
        (None, None),
    ],
)
def test_a_malformed_announcement_is_none(value: Any, expected: Announced | None):
    assert parse_announced(value) == expected


def test_series_are_in_the_order_of_the_last_activity_then_of_titles():
    def one(work_id: int, title: str, days_ago: int | None) -> WatchedSeries:
        moment = NOW - days_ago * DAY if days_ago is not None else None
        return replace(base, work_id=work_id, title=title, last_played_at=moment)

    base = listed(season(1, 4, watched=[1, 2]))
    found = [one(1, "D", None), one(2, "c", 1), one(3, "B", 1), one(4, "A", 2), one(5, "E", 0), one(6, "B", 1)]
    assert [each.work_id for each in in_order(found)] == [5, 3, 6, 2, 4, 1]


@pytest.mark.parametrize(
    ("numbers", "expected"), [((2, 3), "S02E03"), ((10, 112), "S10E112"), ((None, 4), "E04"), ((2026, None), None)]
)
def test_an_episode_is_called_by_season_and_number(numbers: tuple[int | None, int | None], expected: str | None):
    assert episode_label(*numbers) == expected
