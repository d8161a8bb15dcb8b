"""Daily quotas: used up completely, never exceeded, and never spent twice on one title."""

from __future__ import annotations

from collections import Counter

import pytest

from aperture_dagster_tests.e2e.library import imdb, titles

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


# MDBList
