"""A day's requests: used to the last one, never exceeded, never spent twice on one title, whoever runs and whenever."""

from __future__ import annotations

import signal
from collections import Counter
from typing import Any

import pytest

from aperture_dagster.simulator.faults import FaultRule
from aperture_dagster_tests.e2e.library import Library, came_of, imdb, titles, wait_until_asked
from aperture_dagster_tests.household import Household

pytestmark = pytest.mark.e2e

DAILY = 12


def interrupted(library: Library) -> None:
    """A run that somebody ends in the middle, as a restart of the host does."""
    before = library.state.requests("omdb")
    slow = library.state.add_fault(FaultRule("omdb", kind="slow", delay_seconds=0.3))
    process = library.start("omdb")
    wait_until_asked(library, "omdb", before + 4, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    library.state.remove_fault(slow)
    assert before + 4 <= library.state.requests("omdb") < before + DAILY, "it was in the middle"


def two_processes(library: Library) -> None:
    both = [library.start("omdb") for _ in range(2)]
    assert [came_of(process)["success"] for process in both] == [True, True]


def test_five_days_of_a_free_key_ask_about_every_title_once(library):
    """With a run ended in the middle of a day, two runs at once in one process, and in two."""
    happens: dict[int, Any] = {
        1: interrupted,
        2: lambda here: here.ask_twice_at_once("omdb"),
        3: two_processes,
    }
    with library(titles(1, 60), omdb_daily_limit=DAILY, stand_ins={"omdb_daily_limit": DAILY}) as here:
        for day in range(5):
            if day:
                here.next_day()
            happens.get(day, lambda _: None)(here)
            told = here.ask("omdb")
            assert here.state.requests("omdb") == DAILY * (day + 1)
            assert (told["quota_used"], told["quota_limit"]) == (DAILY, DAILY)
            assert told["still_due"] == 60 - DAILY * (day + 1)
            assert ("goes_on_at" in told) is (day < 4)
        assert here.state.asked("omdb") == Counter({imdb(number): 1 for number in range(1, 61)})
        assert here.count("omdb") == {"ok": 60}
        assert here.home.value("SELECT count(*) FROM omdb_ratings") == 60
        assert here.used("omdb") == 60


def test_a_day_that_is_used_up_ends_well_and_says_what_is_left_and_when_it_goes_on(library):
    with library(titles(1, 9), omdb_daily_limit=4) as here:
        result = here.run("omdb")
        assert result.success
        said = here.log(result)
        assert "OMDb: today's requests are used up; 5 titles are left, and it goes on at 2026-05-18 00:00 UTC." in said
        told = here.ask("omdb")
        assert (told["still_due"], told["goes_on_at"]) == (5, "2026-05-18T00:00+00:00")
        assert (told["quota_used"], told["requests"]) == (4, 0)
        assert here.count("omdb") == {"ok": 4, "waiting": 5}


def test_when_omdb_itself_says_that_the_day_is_spent_nothing_more_is_asked_and_nothing_is_marked(library):
    with library(titles(1, 20), omdb_concurrency=1) as here:
        here.state.use_quota("omdb", 993)
        told = here.ask("omdb")
        assert (told["fetched"], told["errors"], told["not_found"], told["still_due"]) == (7, 0, 0, 13)
        assert here.state.requests("omdb") == 8
        assert told["quota_used"] == told["quota_limit"] == 1000
        assert here.count("omdb") == {"ok": 7, "waiting": 13}
        assert here.ask("omdb")["still_due"] == 13
        assert here.state.requests("omdb") == 8
        here.next_day()
        assert here.ask("omdb")["fetched"] == 13
        assert max(here.state.answered("omdb").values()) == 1


def test_a_limit_that_was_raised_counts_at_once(library):
    with library(titles(1, 9), omdb_daily_limit=4) as here:
        assert here.ask("omdb")["fetched"] == 4
        here.home = Household(
            here.home.settings.model_copy(update={"omdb_daily_limit": 100}), here.home.instance, clock=here.clock
        )
        told = here.ask("omdb")
        assert (told["fetched"], told["quota_used"], told["quota_limit"]) == (5, 9, 100)


# MDBList


def test_mdblist_says_itself_how_many_requests_are_left_whoever_used_them(library):
    with library(titles(1, 10), mdblist_batch_size=5, stand_ins={"mdblist_daily_limit": 700}) as here:
        here.state.use_quota("mdblist", 400)
        told = here.ask("mdblist")
        assert (told["quota_used"], told["quota_limit"]) == (402, 700)


def test_mdblists_day_ends_well_too_whoever_used_it_up(library):
    with library(titles(1, 30), mdblist_batch_size=5, stand_ins={"mdblist_daily_limit": 4}) as here:
        told = here.ask("mdblist")
        assert (told["fetched"], told["still_due"], told["goes_on_at"]) == (20, 10, "2026-05-18T00:00+00:00")
        here.next_day()
        here.state.use_quota("mdblist", 4)
        result = here.run("mdblist")
        assert result.success
        assert "MDBList: today's requests are used up; 10 titles are left" in here.log(result)
        assert here.count("mdblist") == {"ok": 20, "waiting": 10}
        here.next_day()
        assert here.ask("mdblist")["fetched"] == 10
        assert set(here.state.answered("mdblist").values()) == {1}
