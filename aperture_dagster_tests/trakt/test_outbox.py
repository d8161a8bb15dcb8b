"""What is pushed to Trakt, and what waits: unclear titles, incomplete lists, rejected ratings and full accounts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from aperture_dagster.http.errors import RequestRejected
from aperture_dagster.simulator.trakt.book import Account
from aperture_dagster.trakt.client import Trakt
from aperture_dagster.trakt.sync import RatingsSync
from aperture_dagster_tests.trakt.rated_home import RatedHome

FILM, OTHER, THIRD = "movie:1", "movie:2", "movie:3"
DAY = timedelta(days=1)


def test_a_title_with_the_ids_of_two_works_is_never_pushed_over(rated: RatedHome):
    rated.state.trakt_change_ids(FILM, {"imdb": "tt0000002"})
    rated.rate_on_trakt("ada", FILM, 9, days_ago=4000)
    before = rated.there()
    rated.rate("ada", FILM, 7)
    rated.rate("ada", OTHER, 5)
    rated.rate("ada", THIRD, 5)
    for _ in range(3):
        report = rated.sync()
        assert (report.unmatched, report.waiting) == (1, 2)
        rated.home.wait(3 * 3600)
    assert rated.there()[FILM] == before[FILM] and rated.values() == {FILM: 7, OTHER: 5, THIRD: 5}
    assert [one["key"] for one in rated.pushed()] == [THIRD]
    assert all("several titles here" in one["detail"] for one in rated.outbox())
    rated.sync()
    assert all(one["due_at"] > rated.home.clock.now() for one in rated.outbox()), "no run every minute"
    rated.state.trakt_change_ids(FILM, {"imdb": "tt0000001"})
    rated.home.wait(3 * 3600)
    rated.sync()
    assert rated.values()[FILM] == rated.values_there()[FILM] and rated.outbox() == []


def test_a_rating_that_an_incomplete_list_lacks_is_not_given_again(rated: RatedHome):
    """It may have been removed there."""
    rated.rate("ada", FILM, 8)
    rated.sync()
    rated.rate_on_trakt("ada", OTHER, 5)
    rated.rate_on_trakt("ada", FILM, None)
    rated.rate("ada", FILM, 7)
    rated.rate("ada", FILM, 8)
    rated.state.trakt_set(paged=True, count_error=1)
    for _ in range(3):
        rated.sync()
        rated.home.wait(20 * 3600)
    assert FILM not in rated.values_there()
    (entry,) = rated.outbox()
    assert "not complete" in entry["detail"]


def test_a_list_that_is_never_complete_blocks_neither_edits_nor_removals(rated: RatedHome):
    rated.rate("ada", FILM, 8)
    rated.rate("ada", "movie:4", 5)
    rated.sync()
    rated.state.trakt_set(paged=True, count_error=1)
    rated.rate("ada", FILM, None)
    rated.rate("ada", OTHER, 6)
    rated.rate_on_trakt("ada", THIRD, 4)
    rated.sync()
    assert rated.values_there() == {THIRD: 4, "movie:4": 5}
    rated.home.wait(90_000)
    rated.state.reset_counters()
    rated.sync()
    assert rated.home.count("GET /sync/ratings/{kind}") == 4, "once before and once after the push"
    assert rated.values_there() == {OTHER: 6, THIRD: 4, "movie:4": 5}
    for _ in range(6):
        (entry,) = rated.outbox()
        assert "nobody knows" in entry["detail"] and entry["due_at"] - rated.home.clock.now() <= DAY
        rated.home.wait(86_400)
        rated.sync()
    rated.state.trakt_set(count_error=0)
    rated.sync()
    assert rated.outbox() == [] and rated.values() == {OTHER: 6, THIRD: 4, "movie:4": 5}


class Picky:
    """A client whose service rejects batches with certain titles."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *rejected: int) -> None:
        whole = Trakt.push_ratings
        self.calls = 0

        def push(trakt: Trakt, batch: Any) -> Any:
            self.calls += 1
            if any(one.ids.tmdb in rejected for one in batch):
                raise RequestRejected("Trakt: POST /sync/ratings: answered 422", 422)
            return whole(trakt, batch)

        monkeypatch.setattr(Trakt, "push_ratings", push)


def test_a_rating_that_trakt_rejects_does_not_keep_the_others_from_it(
    rated: RatedHome, monkeypatch: pytest.MonkeyPatch
):
    picky = Picky(monkeypatch, 7)
    rated.rate_all_on_server("ada", [f"movie:{number}" for number in range(1, 21)], 8)
    assert rated.sync().pushed == 19
    (entry,) = rated.outbox()
    assert entry["work_id"] == rated.works["movie:7"] and "Trakt rejects" in entry["detail"]
    assert entry["due_at"] - rated.home.clock.now() >= 29 * DAY and picky.calls < 15
    assert len(rated.values()) == 20


def test_if_trakt_rejects_everything_nothing_waits_for_a_month(rated: RatedHome, monkeypatch: pytest.MonkeyPatch):
    picky = Picky(monkeypatch, *range(1, 31))
    rated.rate_all_on_server("ada", [f"movie:{number}" for number in range(1, 21)], 8)
    with pytest.raises(RequestRejected):
        rated.sync()
    assert picky.calls < 15
    assert all(one["due_at"] - rated.home.clock.now() <= timedelta(minutes=1) for one in rated.outbox())


def test_a_full_account_is_still_read_and_another_rating_of_what_waits_is_pushed_as_soon_as_there_is_room(
    rated: RatedHome,
):
    rated.sync()
    rated.state.trakt_account("ada", trouble="limit")
    for key in (FILM, OTHER):
        rated.rate("ada", key, 8)
    rated.rate_on_trakt("ada", THIRD, 4)
    report = rated.sync()
    assert report.pulled == 1 and report.waiting == 2 and "limit of ada's account" in report.notes[0]
    assert rated.home.states()["ada"] == "connected"
    assert all(one["due_at"] > rated.home.clock.now() + 0.9 * DAY for one in rated.outbox())
    rated.state.trakt_account("ada")
    assert rated.sync().pushed == 0, "they wait for a day"
    rated.home.wait(60)
    rated.rate("ada", FILM, 9)
    entry = next(one for one in rated.outbox() if one["work_id"] == rated.works[FILM])
    assert (entry["attempts"], entry["detail"]) == (0, None)
    assert rated.sync().pushed == 1 and rated.values_there() == {FILM: 9, THIRD: 4}
    rated.home.wait(90_000)
    assert rated.sync().pushed == 1 and rated.values_there()[OTHER] == 8


def test_what_trakt_accepts_and_does_not_show_waits_longer_each_time(rated: RatedHome, monkeypatch: pytest.MonkeyPatch):
    rated.sync()
    rated.rate("ada", FILM, 8)
    waits: list[timedelta] = []
    with monkeypatch.context() as patched:
        patched.setattr(Account, "rate", lambda *_: True)
        for _ in range(4):
            report = rated.sync()
            assert (report.pushed, report.waiting) == (0, 1)
            (entry,) = rated.outbox()
            assert "does not show it" in entry["detail"]
            waits.append(entry["due_at"] - rated.home.clock.now())
            rated.home.wait(waits[-1].total_seconds())
    assert waits == [*(timedelta(minutes=minutes) for minutes in (1, 2, 4)), 30 * DAY]
    assert rated.sync().pushed == 1 and rated.values_there() == {FILM: 8}


def test_an_unforeseen_failure_lets_the_outbox_wait_too(rated: RatedHome, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any, **__: Any) -> Any:
        raise KeyError("a secret")

    rated.rate("ada", FILM, 8)
    with monkeypatch.context() as patched:
        patched.setattr(RatingsSync, "_merge", fail)
        with pytest.raises(KeyError):
            rated.sync()
    (entry,) = rated.outbox()
    assert entry["due_at"] > rated.home.clock.now() and entry["detail"] == "The last run failed: KeyError."
