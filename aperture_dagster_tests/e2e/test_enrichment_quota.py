"""Daily quotas: used up completely, never exceeded, and never spent twice on one title."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster_tests.e2e.library import imdb, titles
from aperture_dagster_tests.household import metadata_of

pytestmark = pytest.mark.e2e

DAILY = 12


def test_a_free_key_requests_every_title_once_over_some_days(library):
    with library(titles(1, 36), omdb_daily_limit=DAILY, stand_ins={"omdb_daily_limit": DAILY}) as here:
        for day in range(3):
            if day:
                here.next_day()
            if day == 1:
                here.ask_twice_at_once("omdb")
            metadata = here.ask("omdb")
            assert here.state.requests("omdb") == DAILY * (day + 1)
            assert (metadata["quota_used"], metadata["quota_limit"]) == (DAILY, DAILY)
            assert metadata["still_due"] == 36 - DAILY * (day + 1)
            assert ("resumes_at" in metadata) is (day < 2)
        assert here.state.asked("omdb") == Counter({imdb(number): 1 for number in range(1, 37)})
        assert here.count("omdb") == {"ok": 36} and here.used("omdb") == 36
        assert here.home.value("SELECT count(*) FROM omdb_ratings") == 36


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


# MDBList


def test_a_long_retry_after_ends_the_run_and_marks_no_title(library):
    """The pause is not shortened, and titles that were not requested do not count as failed."""
    with library(titles(1, 30), concurrency=1, batch=5) as here:
        pause = here.state.add_fault(FaultRule("mdblist", status=429, retry_after=1800, after=2))
        before = datetime.now(UTC)
        result = here.run("mdblist")
        assert result.success
        metadata = metadata_of(result, "mdblist_scores")
        assert (metadata["fetched"], metadata["errors"], metadata["still_due"]) == (10, 0, 20)
        assert here.count("mdblist") == {"ok": 10, "waiting": 20}
        resumes_at = datetime.fromisoformat(metadata["resumes_at"])
        assert timedelta(minutes=29) < resumes_at - before.replace(second=0) < timedelta(minutes=32)
        assert "the service asks for a pause; 20 titles are left. Fetching continues after" in here.log(result)
        # The quota of the day is not spent.
        here.state.remove_fault(pause)
        assert here.ask("mdblist")["fetched"] == 20
