"""Daily quotas: used up completely, never exceeded, and never spent twice on one title."""

from __future__ import annotations

import signal
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aperture_dagster.simulator.faults import FaultRule
from aperture_dagster_tests.e2e.library import ASSETS, Library, imdb, result_of, titles, wait_until_asked
from aperture_dagster_tests.household import Household, metadata_of
from aperture_dagster_tests.marks import ANOTHER_CASE

pytestmark = pytest.mark.e2e

DAILY = 12


def interrupted(library: Library) -> None:
    """Interrupt a run, as a restart of the host would."""
    before = library.state.requests("omdb")
    slow = library.state.add_fault(FaultRule("omdb", kind="slow", delay_seconds=0.3))
    process = library.start("omdb")
    wait_until_asked(library, "omdb", before + 4, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=300)
    library.state.remove_fault(slow)
    assert before + 4 <= library.state.requests("omdb") < before + DAILY, "the run was interrupted half-way"


def ask_twice_at_once(library: Library) -> None:
    library.ask_twice_at_once("omdb")


def two_processes(library: Library) -> None:
    both = [library.start("omdb") for _ in range(2)]
    assert [result_of(process)["success"] for process in both] == [True, True]


@pytest.mark.parametrize(
    "happens",
    [
        pytest.param({2: ask_twice_at_once}, id="two threads"),
        pytest.param(
            {1: interrupted, 2: ask_twice_at_once, 3: two_processes},
            id="other processes",
            marks=pytest.mark.nightly(
                reason="Three processes, each of which loads the whole product.", instead="the same test in one process"
            ),
        ),
    ],
)
def test_five_days_of_a_free_key_request_every_title_once(library, happens: dict[int, Any]):
    """With two concurrent runs in one process, and at night with an interrupted run and two processes."""
    with library(titles(1, 60), omdb_daily_limit=DAILY, stand_ins={"omdb_daily_limit": DAILY}) as here:
        for day in range(5):
            if day:
                here.next_day()
            happens.get(day, lambda _: None)(here)
            metadata = here.ask("omdb")
            assert here.state.requests("omdb") == DAILY * (day + 1)
            assert (metadata["quota_used"], metadata["quota_limit"]) == (DAILY, DAILY)
            assert metadata["still_due"] == 60 - DAILY * (day + 1)
            assert ("resumes_at" in metadata) is (day < 4)
        assert here.state.asked("omdb") == Counter({imdb(number): 1 for number in range(1, 61)})
        assert here.count("omdb") == {"ok": 60}
        assert here.home.value("SELECT count(*) FROM omdb_ratings") == 60
        assert here.used("omdb") == 60


def test_a_spent_quota_succeeds_and_reports_what_is_left_and_when_it_continues(library):
    with library(titles(1, 9), omdb_daily_limit=4) as here:
        result = here.run("omdb")
        assert result.success
        said = here.log(result)
        assert "today's requests are used up; 5 titles are left. Fetching continues after 2026-05-18 00:00 UTC." in said
        metadata = here.ask("omdb")
        assert (metadata["still_due"], metadata["resumes_at"]) == (5, "2026-05-18T00:00+00:00")
        assert (metadata["quota_used"], metadata["requests"]) == (4, 0)
        assert here.count("omdb") == {"ok": 4, "waiting": 5}


def test_a_higher_limit_applies_at_once(library):
    with library(titles(1, 9), omdb_daily_limit=4) as here:
        assert here.ask("omdb")["fetched"] == 4
        here.home = Household(
            here.home.settings.model_copy(update={"omdb_daily_limit": 100}), here.home.instance, clock=here.clock
        )
        metadata = here.ask("omdb")
        assert (metadata["fetched"], metadata["quota_used"], metadata["quota_limit"]) == (5, 9, 100)


# MDBList


def test_the_quota_that_mdblist_reports_includes_requests_of_others(library):
    with library(titles(1, 10), batch=5, stand_ins={"mdblist_daily_limit": 700}) as here:
        here.state.use_quota("mdblist", 400)
        metadata = here.ask("mdblist")
        assert (metadata["quota_used"], metadata["quota_limit"]) == (402, 700)


@pytest.mark.parametrize(
    "source", [pytest.param("tmdb", marks=ANOTHER_CASE), pytest.param("omdb", marks=ANOTHER_CASE), "mdblist"]
)
def test_a_long_retry_after_ends_the_run_and_marks_no_title(library, source: str):
    """The pause is not shortened, and titles that were not requested do not count as failed."""
    with library(titles(1, 30), concurrency=1, batch=5) as here:
        pause = here.state.add_fault(FaultRule(source, status=429, retry_after=1800, after=2))
        before = datetime.now(UTC)
        result = here.run(source)
        assert result.success
        metadata = metadata_of(result, ASSETS[source])
        fetched = 10 if source == "mdblist" else 2
        assert (metadata["fetched"], metadata["errors"], metadata["still_due"]) == (fetched, 0, 30 - fetched)
        assert here.count(source) == {"ok": fetched, "waiting": 30 - fetched}
        resumes_at = datetime.fromisoformat(metadata["resumes_at"])
        assert timedelta(minutes=29) < resumes_at - before.replace(second=0) < timedelta(minutes=32)
        assert f"the service asks for a pause; {30 - fetched} titles are left. Fetching continues after" in here.log(
            result
        )
        # The quota of the day is not spent.
        here.state.remove_fault(pause)
        assert here.ask(source)["fetched"] == 30 - fetched


def test_a_short_retry_after_is_waited_for_within_the_run(library):
    """A 429 of a short window does not mean that the quota is spent."""
    with library(titles(1, 30), batch=5) as here:
        here.state.add_fault(FaultRule("mdblist", status=429, retry_after=0, times=1, after=2))
        assert here.ask("mdblist")["fetched"] == 30


def test_a_service_that_keeps_asking_for_a_pause_is_shown_as_failing(library):
    with library(titles(1, 5), concurrency=1) as here:
        here.state.add_fault(FaultRule("tmdb", status=503, retry_after=7200))
        here.ask("tmdb")
        (row,) = here.home.rows("SELECT trouble, failing_since FROM services WHERE service = 'tmdb'")
        assert row["failing_since"] is not None and "503" in row["trouble"]
