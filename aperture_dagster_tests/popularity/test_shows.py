"""What the list of watched series is made from, and how it is stored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import pytest

from aperture_dagster.enrichment.answers import write_answers
from aperture_dagster.enrichment.enriched import write_enriched
from aperture_dagster.enrichment.sources import merge_plan
from aperture_dagster.enrichment.tmdb.titles import parse_title
from aperture_dagster.media_server.records import ServerEpisode, ServerTitle
from aperture_dagster.popularity.series import Announced, Episode
from aperture_dagster.popularity.shows import outdated_shows, read_episodes, read_series, replace_shows, shows_table
from aperture_dagster_tests.shelf import ACCEPTED, NOW, Shelf, played

DAY = timedelta(days=1)
TODAY = NOW.date()
SHOWS = [ServerTitle("show", "Show", tmdb_id=1, status="Continuing"), ServerTitle("other", "Other", tmdb_id=2)]


def episode(series: str, number: int, **facts: Any) -> ServerEpisode:
    return ServerEpisode(f"{series}-{number}", series, f"Part {number}", **{"season": 1, "number": number} | facts)


@pytest.fixture(autouse=True)
def library(shelf: Shelf) -> None:
    shelf.users("ann", "bob")
    shelf.series(*SHOWS, ServerTitle("copy", "Show", tmdb_id=1))
    shelf.episodes(
        *(episode(series, number) for series in ("show", "copy", "other") for number in (1, 2, 3) if series != "show"),
        *(episode("show", number) for number in (1, 2)),
        episode("show", 3, version_ids=("show-3-uhd",), air_date=date(2026, 5, 1)),
    )


def watch(shelf: Shelf, user: str, *items: str, **facts: Any) -> None:
    shelf.history(user, *(played(item, is_episode=True, **facts) for item in items))


def episodes_of(shelf: Shelf, user: str = "ann", since: Any = None) -> dict[str, list[Episode]]:
    with shelf.open() as connection:
        series = read_series(connection)
        return {series[work].title: found for work, found in read_episodes(connection, user, since=since)}


def watched(found: Sequence[Episode]) -> list[int | None]:
    return sorted(one.number or 0 for one in found if one.is_watched)


def test_episodes_of_all_copies_are_read_with_the_users_states(shelf: Shelf):
    watch(shelf, "ann", "show-1", "copy-2")
    watch(shelf, "bob", "other-1")
    (found,) = episodes_of(shelf).values()
    assert len(found) == 6
    assert watched(found) == [1, 2]
    third = next(one for one in found if one.item_id == shelf.item("show-3")["item_id"])
    assert (third.air_date, third.series_item_id) == (date(2026, 5, 1), shelf.item("show")["item_id"])
    assert list(episodes_of(shelf, "bob")) == ["Other"]
    assert episodes_of(shelf, "nobody") == {}


def test_only_series_played_since_then_are_read(shelf: Shelf):
    watch(shelf, "ann", "show-1", last_played_at=NOW - 5 * DAY)
    watch(shelf, "ann", "other-1", last_played_at=NOW - 3 * DAY)
    watch(shelf, "ann", "show-2", last_played_at=None)
    assert set(episodes_of(shelf)) == {"Show", "Other"}
    assert list(episodes_of(shelf, since=NOW - 4 * DAY)) == ["Other"]
    assert set(episodes_of(shelf, since=NOW - 5 * DAY)) == {"Show", "Other"}


def test_an_alternate_version_that_was_watched_counts_for_the_episode(shelf: Shelf):
    watch(shelf, "ann", "show-3-uhd")
    (found,) = episodes_of(shelf).values()
    assert watched(found) == [3] and len(found) == 6


def test_an_episode_stays_watched_while_it_is_watched_again(shelf: Shelf):
    """The server clears its mark until the end."""
    watch(shelf, "ann", "show-1", last_played_at=NOW - DAY)
    watch(shelf, "ann", "show-1", played=False, play_count=2, position_share=0.3)
    assert watched(episodes_of(shelf)["Show"]) == [1]


def test_an_episode_that_was_only_started_or_marked_as_unwatched_is_not_watched(shelf: Shelf):
    watch(shelf, "ann", "show-1", played=False, play_count=1, position_share=0.8)
    watch(shelf, "ann", "show-2")
    watch(shelf, "ann", "show-2", played=False, play_count=0, last_played_at=None)
    assert watched(episodes_of(shelf)["Show"]) == []


def test_an_imported_play_counts_unless_the_server_knows_better(shelf: Shelf):
    for name, days in (("show-1", 90), ("show-2", 3), ("show-3", 3)):
        shelf.do(
            """INSERT INTO plays (user_id, item_id, played_at, work_id, is_episode, imported_from,
            play_count, completion) SELECT 'ann', item_id, :at, work_id, true, 'trakt', 1, 1
            FROM episodes WHERE server_item_id = :id""",
            at=NOW - days * DAY,
            id=name,
        )
    (found,) = episodes_of(shelf, since=NOW - 4 * DAY).values()
    assert watched(found) == [1, 2, 3] and len(found) == 6
    watch(shelf, "ann", "show-3")
    watch(shelf, "ann", "show-3", played=False, play_count=0, last_played_at=None)
    assert watched(episodes_of(shelf)["Show"]) == [1, 2], "marked as unwatched"
    assert episodes_of(shelf, since=NOW) == {}


def test_a_favourite_that_was_never_played_is_not_activity(shelf: Shelf):
    watch(shelf, "ann", "show-1", played=False, play_count=0, favorite=True, last_played_at=None)
    assert episodes_of(shelf) == {}


def test_removed_episodes_are_read_only_if_they_were_played(shelf: Shelf):
    watch(shelf, "ann", "other-1")
    shelf.episodes(*(episode("show", number) for number in (1, 2, 3)), episode("other", 3), rules=ACCEPTED)
    found = episodes_of(shelf)["Other"]
    assert sorted((one.number, one.is_present, one.is_watched) for one in found) == [(1, False, True), (3, True, False)]


def test_the_next_episode_of_tmdb_reaches_the_series_through_the_merged_view(shelf: Shelf):
    answer = {"season_number": 2, "episode_number": 1, "air_date": "2026-06-01"}
    content = {"id": 1, "name": "Show", "status": "Ended", "next_episode_to_air": answer}
    work = shelf.item("show")["work_id"]
    with shelf.open() as connection:
        assert (read_series(connection)[work].status, len(read_series(connection))) == ("Continuing", 2)
        write_answers(connection, "tmdb", [{"work_id": work, **parse_title(content, "series")}])
        write_enriched(connection, merge_plan())
        series = read_series(connection)[work]
    assert (series.title, series.status, series.announced) == ("Show", "Ended", Announced(date(2026, 6, 1), 2, 1))


def row(shelf: Shelf, series: str, rank: int, user: str = "ann", **facts: Any) -> dict[str, Any]:
    item = shelf.item(series)
    return {
        "user_id": user,
        "work_id": item["work_id"],
        "rank": rank,
        "item_id": item["item_id"],
        "episodes_played": 2,
        "episodes_out": 3,
        "next_item_id": shelf.item(f"{series}-3")["item_id"],
        "next_season": 1,
        "next_number": 3,
        "next_title": "Part 3",
        "behind": 1,
        "next_air_date": None,
        "last_played_at": NOW,
    } | facts


def replace(shelf: Shelf, *rows: dict[str, Any], user: str = "ann") -> Any:
    with shelf.open() as connection:
        return replace_shows(connection, user, rows)


def stored(shelf: Shelf, user: str = "ann") -> dict[str, dict[str, Any]]:
    rows = shelf.rows("SELECT t.title, w.* FROM shows_you_watch w JOIN titles t USING (item_id) ORDER BY rank")
    return {one.pop("title"): one for one in rows if one["user_id"] == user}


def test_an_entry_keeps_its_date_while_it_is_listed_and_others_are_not_touched(shelf: Shelf):
    replace(shelf, row(shelf, "show", 1), row(shelf, "other", 2))
    replace(shelf, row(shelf, "show", 1, "bob"), user="bob")
    before = stored(shelf)
    counts = replace(shelf, row(shelf, "show", 1, behind=7), row(shelf, "other", 2))
    assert (counts.updated, counts.written) == (1, 1)
    after = stored(shelf)
    assert after["Other"] == before["Other"]
    assert after["Show"]["behind"] == 7
    assert after["Show"]["listed_at"] == before["Show"]["listed_at"] < after["Show"]["updated_at"]
    counts = replace(shelf, row(shelf, "other", 1))
    assert (counts.deleted, counts.updated) == (1, 1)
    replace(shelf, row(shelf, "show", 1), row(shelf, "other", 2))
    assert stored(shelf)["Show"]["listed_at"] > before["Show"]["listed_at"], "it was away meanwhile"
    assert stored(shelf)["Other"]["listed_at"] == before["Other"]["listed_at"]
    assert replace(shelf).deleted == 2
    assert stored(shelf) == {} and len(stored(shelf, "bob")) == 1


def test_the_list_is_shown_in_order_with_the_days_until_the_next_episode(shelf: Shelf):
    replace(shelf, row(shelf, "other", 2, next_air_date=TODAY + 3 * DAY), row(shelf, "show", 1, next_air_date=TODAY))
    with shelf.open() as connection:
        shown = shows_table(connection, "ann", today=TODAY)
        tomorrow = shows_table(connection, "ann", today=TODAY + DAY)
    assert [(one["title"], one["days_until"]) for one in shown] == [("Show", 0), ("Other", 3)]
    assert [one["days_until"] for one in tomorrow] == [None, 2]


def test_entries_that_lead_to_a_removed_or_watched_episode_are_found(shelf: Shelf):
    def outdated() -> list[str]:
        with shelf.open() as connection:
            return [one["title"] for one in outdated_shows(connection, ["ann"])]

    ended = {"next_item_id": None, "next_season": None, "next_number": None, "next_title": None, "behind": 0}
    replace(shelf, row(shelf, "show", 1), row(shelf, "other", 2, **ended))
    replace(shelf, row(shelf, "other", 1, "bob"), user="bob")
    assert outdated() == []
    watch(shelf, "bob", "show-3")
    shelf.do("UPDATE shows_you_watch SET updated_at = now()")
    assert outdated() == [], "somebody else watched it"
    watch(shelf, "ann", "show-3")
    assert outdated() == [], "the list is older"
    shelf.do("UPDATE shows_you_watch SET updated_at = now()")
    assert outdated() == ["Show"]
    replace(shelf, row(shelf, "other", 1))
    shelf.episodes(episode("other", 1), episode("other", 2), rules=ACCEPTED)
    assert outdated() == ["Other"]
