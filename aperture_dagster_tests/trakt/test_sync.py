"""Ratings in step with Trakt: the real sync, on PostgreSQL and the stand-in."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aperture_dagster.catalogue.stored_users import write_users
from aperture_dagster.http.errors import ServiceError
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.world import WorldTitle
from aperture_dagster.trakt.sync import RatingsSync
from aperture_dagster_tests.shelf import user_row
from aperture_dagster_tests.trakt.rated_home import RatedHome

FILM, OTHER, SHOW = "movie:1", "movie:2", "series:1"
KEPT = ("movie:3", "movie:4", "movie:5")
DAY = timedelta(days=1)


def test_ratings_travel_both_ways_with_their_dates(rated: RatedHome):
    rated.rate("ada", FILM, 8)
    rated.rate_on_trakt("ada", SHOW, 3, days_ago=3650)
    rated.rate_on_server("ada", OTHER, 6.5)
    now = rated.home.clock.now()
    report = rated.sync()
    assert (report.pulled, report.pushed, report.waiting, report.conflicts) == (1, 2, 0, set())
    wanted = {FILM: (8, now), OTHER: (7, now), SHOW: (3, now - 3650 * DAY)}
    assert rated.here() == rated.there() == wanted


def test_later_runs_write_nothing_and_read_lists_again_after_a_change_or_a_day(rated: RatedHome):
    rated.rate_on_server("ada", FILM, 8.5)
    rated.rate_on_server("ada", SHOW, 2.4)
    rated.rate_on_trakt("ada", OTHER, 4)
    rated.sync()
    before, pushed = rated.tables(), len(rated.pushed())
    assert pushed == 2
    for _ in range(2):
        rated.state.reset_counters()
        report = rated.sync()
        assert (report.rows_written, report.was_read) == (0, False)
        assert rated.state.counters.total("trakt", "") == 1
        rated.home.wait(3600)
    rated.home.wait(86_400)
    assert rated.sync().was_read
    assert (rated.tables(), len(rated.pushed())) == (before, pushed)
    rated.rate_on_trakt("ada", OTHER, 5)
    assert rated.sync().was_read and rated.values()[OTHER] == 5


def test_a_rounding_difference_does_not_loop(rated: RatedHome):
    for rating in (8.5, 8.6, 9.4, 8.5):
        rated.rate_on_server("ada", FILM, rating)
        rated.sync()
    assert [one["rating"] for one in rated.pushed()] == [9]
    rated.rate_on_server("ada", FILM, 8.4)
    rated.sync()
    assert [one["rating"] for one in rated.pushed()] == [9, 8]


def test_removals_travel_both_ways_though_a_series_has_the_films_number_there(rated: RatedHome):
    for key in (FILM, OTHER, SHOW):
        rated.rate("ada", key, 8)
    rated.rate_on_server("ada", "movie:3", 5)
    rated.sync()
    titles = rated.state.trakt.titles
    assert titles.of_key(FILM).number == titles.of_key(SHOW).number  # pyright: ignore[reportOptionalMemberAccess]
    rated.home.wait(60)
    rated.rate("ada", OTHER, None)
    rated.rate_on_trakt("ada", FILM, None)
    rated.rate_on_server("ada", "movie:3", None)
    report = rated.sync()
    assert (report.removed_there, report.removed_here) == (2, 1)
    assert rated.values() == rated.values_there() == {SHOW: 8}
    assert rated.sync().rows_written == 0


def test_a_rating_from_here_that_is_removed_there_stays_removed_whatever_the_server_has(rated: RatedHome):
    rated.rate("ada", OTHER, 5)
    rated.rate_on_server("ada", FILM, 8)
    rated.sync()
    rated.rate_on_trakt("ada", FILM, None)
    rated.sync()
    rated.rate_on_server("ada", FILM, 8)
    rated.sync()
    assert rated.values() == rated.values_there() == {OTHER: 5}
    rated.home.wait(60)
    rated.rate_on_server("ada", FILM, 9)
    rated.sync()
    assert rated.values() == rated.values_there() == {FILM: 9, OTHER: 5}


def test_an_incomplete_list_removes_nothing(rated: RatedHome):
    for number in range(1, 9):
        rated.rate("ada", f"movie:{number}", 8)
    rated.sync()
    rated.rate_on_trakt("ada", FILM, 3)
    rated.state.trakt_set(paged=True, lost_rows=5)
    report = rated.sync()
    assert len(rated.values()) == 8 and report.notes and "not complete" in report.notes[0]
    rated.state.trakt_set(paged=True, lost_rows=0)
    rated.sync()
    assert rated.values() == rated.values_there() == {f"movie:{number}": 8 for number in range(2, 9)} | {FILM: 3}


def test_nothing_is_lost_while_trakt_is_down_for_a_day(rated: RatedHome):
    rated.sync()
    rated.state.add_fault(FaultRule(service="trakt", status=503))
    given_at = rated.home.clock.now()
    rated.rate("ada", FILM, 8)
    waits = []
    for _ in range(8):
        with pytest.raises(ServiceError):
            rated.sync()
        (entry,) = rated.outbox()
        waits.append(entry["due_at"] - rated.home.clock.now())
        assert entry["detail"]
        rated.home.wait(waits[-1].total_seconds())
    assert waits[0] == timedelta(minutes=1) and waits == sorted(waits) and waits[-1] == timedelta(hours=2)
    rated.home.wait(86_400)
    rated.state.clear_faults()
    assert rated.sync().pushed == 1
    assert rated.there() == {FILM: (8, given_at)}


def test_a_lost_answer_pushes_nothing_twice(rated: RatedHome):
    rated.sync()
    rated.rate("ada", FILM, 8)
    rated.rate("ada", SHOW, 4)
    pushes = iter(range(1, 100))
    while rated.sync_until("ada", next(pushes)):
        rated.home.wait(120)
    assert rated.values_there() == {FILM: 8, SHOW: 4}
    pushed = [(one["key"], one["rating"]) for one in rated.pushed()]
    assert sorted(pushed) == [(FILM, 8), (SHOW, 4)]


def test_what_is_rated_on_trakt_while_the_lists_are_read_is_not_overwritten(
    rated: RatedHome, monkeypatch: pytest.MonkeyPatch
):
    rated.sync()
    rated.rate_on_trakt("ada", OTHER, 5)
    rated.rate("ada", FILM, 9)
    rated.home.wait(60)
    whole = RatingsSync._read

    def slow(self: RatingsSync, *, again: bool) -> Any:
        lists = whole(self, again=again)
        if FILM not in rated.values_there():
            rated.rate_on_trakt("ada", FILM, 4)
        return lists

    monkeypatch.setattr(RatingsSync, "_read", slow)
    rated.sync()
    assert rated.values() == rated.values_there() == {FILM: 4, OTHER: 5}


def test_a_rating_taken_back_after_a_push_that_was_not_confirmed_stays_taken_back(rated: RatedHome):
    rated.rate_on_server("ada", FILM, 7)
    rated.sync()
    rated.home.wait(60)
    rated.rate_on_server("ada", FILM, 8)
    kills = iter(range(1, 100))
    while len(rated.pushed()) < 2:
        assert rated.sync_until("ada", next(kills))
    rated.home.wait(60)
    rated.rate_on_server("ada", FILM, 7)
    rated.sync()
    assert rated.values() == rated.values_there() == {FILM: 7}


def test_a_title_that_trakt_does_not_know_by_any_id_waits_in_sight_and_the_rating_stays(rated: RatedHome):
    rated.state.trakt_change_ids(FILM, None)
    rated.state.trakt_change_ids(OTHER, {"tmdb": 999})
    rated.rate("ada", FILM, 8)
    rated.rate("ada", OTHER, 7)
    report = rated.sync()
    assert (report.pushed, report.waiting) == (1, 1) and rated.values_there() == {OTHER: 7}
    (entry,) = rated.outbox()
    assert "does not know this title" in entry["detail"]
    assert entry["due_at"] - rated.home.clock.now() >= 29 * DAY and rated.values() == {FILM: 8, OTHER: 7}


def test_titles_outside_the_library_become_works_without_copies(rated: RatedHome):
    rated.state.trakt_change_ids(FILM, {"tmdb": 4711, "imdb": "tt4711471"})
    rated.rate_on_trakt("ada", FILM, 9)
    rated.sync()
    rows = rated.shelf.rows(
        "SELECT w.tmdb_id, r.rating, t.item_id FROM ratings r JOIN works w USING (work_id) LEFT JOIN titles t "
        "USING (work_id)"
    )
    assert rows == [{"tmdb_id": 4711, "rating": 9, "item_id": None}]


def test_a_large_first_push_asks_first_and_changes_nothing_until_accepted(rated: RatedHome):
    rated.rate_all_on_server("ada", [f"movie:{number}" for number in range(1, 31)], 8)
    rated.rate("ada", "series:2", 8)
    rated.rate_on_trakt("ada", SHOW, 3)
    before = [rated.tables()[0], rated.tables()[1]]
    for _ in range(2):
        report = rated.sync()
        assert "would push 31 of 31 ratings" in report.notes[0] and "accept_first_sync" in report.notes[0]
        assert [rated.tables()[0], rated.tables()[1]] == before and rated.pushed() == []
    assert all(entry["due_at"] > rated.home.clock.now() for entry in rated.outbox()), "no run every minute"
    # What is rated after the question takes part.
    rated.home.wait(3600)
    rated.rate("ada", "series:3", 9)
    rated.rate("ada", "series:2", 7)
    rated.sync()
    rated.home.wait(60)
    assert rated.sync(accept_first_sync=True).pushed == 32
    there = rated.values_there()
    assert there == rated.values() and (there["series:2"], there["series:3"], len(there)) == (7, 9, 33)
    assert rated.outbox() == []


def test_seasons_and_episodes_on_trakt_are_left_alone(rated: RatedHome):
    long = WorldTitle("series:9", "series", "Long", 2010, tmdb_id=9, tvdb_id=79, episodes_per_season=(2,))
    rated.state.add_title(long)
    for season, episode, rating in ((None, None, 9), (1, None, 3), (1, 1, 2)):
        rated.state.trakt_rate("ada", long.key, rating, season=season, episode=episode)
    rated.sync()
    (row,) = rated.shelf.rows("SELECT work_id, rating FROM ratings")
    assert row["rating"] == 9
    rated.works[long.key] = row["work_id"]
    rated.rate("ada", long.key, 5)
    rated.sync()
    assert rated.values_there() == {long.key: 5, f"{long.key} S01": 3, f"{long.key} S01E01": 2}


# Nightly runs have more.
STORIES = int(os.environ.get("HOUSEHOLD_YEARS", "4"))
people = count()
ratings = st.sampled_from([2, 7, 8])
edits = st.tuples(st.sampled_from(["own", "trakt"]), st.sampled_from([FILM, SHOW]), ratings)
undated = st.tuples(st.sampled_from(["own", "server", "trakt"]), st.sampled_from([FILM, SHOW]), st.none() | ratings)
syncs = st.tuples(st.just("sync"), st.none(), st.integers(1, 25))
failures = st.tuples(st.just("failing sync"), st.none(), st.integers(0, 8))
losses = st.tuples(st.just("lossy sync"), st.none(), st.integers(1, 2))
steps = edits | syncs | failures | losses | undated.map(lambda edit: ("undated", *edit))


@pytest.mark.nightly(
    reason="Random histories with kills.",
    instead="trakt/test_sync.py",
)
@settings(max_examples=STORIES, suppress_health_check=list(HealthCheck))
@given(story=st.lists(steps, min_size=2, max_size=8))
def test_edits_failures_and_kills_in_any_order_end_in_step(rated: RatedHome, story: list[Any]):
    """The rules are tested with a model; here it is that the real sync carries them out."""
    user = f"user {next(people)}"
    with rated.home.database.transaction() as connection:
        write_users(connection, [user_row(user)], still_there=None, key_for=lambda name, *_: name)
    rated.home.connect(user)
    # Otherwise a removal could leave nothing, and be held back.
    for key in KEPT:
        rated.rate(user, key, 6)
    rated.sync(user)
    edit = {"own": rated.rate, "server": rated.rate_on_server, "trakt": rated.rate_on_trakt}
    last: dict[str, int | None] = {}
    for what, *details in story:
        rated.home.wait(60)
        match what, details:
            case "sync", [_, kill_at]:
                rated.sync_until(user, kill_at)
            case "failing sync", [_, after]:
                rated.state.add_fault(FaultRule(service="trakt", after=after))
                with suppress(ServiceError):
                    rated.sync(user)
                rated.state.clear_faults()
            case "lossy sync", [_, lost]:
                rated.state.trakt_set(paged=True, lost_rows=lost)
                rated.sync(user)
                rated.state.trakt_set(lost_rows=0)
            case "undated", [side, key, value]:
                # It would lose to an edit on the other side that is not known yet, or waits after a failure.
                rated.home.wait(3 * 3600)
                rated.sync(user)
                before = rated.tables()[3]
                edit[side](user, key, value)
                if side != "server" or rated.tables()[3] != before:
                    last[key] = value
                rated.sync(user)
            case side, [key, value]:
                edit[side](user, key, value)
                last[key] = value
    wanted = dict.fromkeys(KEPT, 6) | {key: value for key, value in last.items() if value is not None}
    rated.home.wait(3 * 3600)
    rated.sync(user)
    assert rated.values(user) == rated.values_there(user) == wanted
    before, pushed = rated.tables(), list(rated.pushed(user))
    for _ in range(2):
        assert rated.sync(user).rows_written == 0
    assert (rated.tables(), list(rated.pushed(user))) == (before, pushed)
    assert all(one["changed"] for one in pushed), "an equal rating was pushed"
