"""When a title is asked for again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from aperture_dagster.library.due import Outcome, due_after, ttl_for

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def wait(outcome: Outcome, failures: int = 0) -> timedelta:
    return due_after(outcome, failures=failures, now=NOW, ttl=timedelta(days=30)) - NOW


def test_a_good_answer_is_good_for_its_time():
    assert wait("ok") == timedelta(days=30)


def test_what_was_not_found_is_looked_for_again_in_thirty_days():
    assert wait("not_found") == timedelta(days=30)


def test_what_the_quota_left_over_is_due_at_once():
    assert wait("quota") == timedelta(0)


def test_an_error_is_tried_again_after_an_hour_doubling_to_a_day():
    hours = [wait("error", failures) / timedelta(hours=1) for failures in (1, 2, 3, 4, 5, 6, 7)]
    assert hours == [1, 2, 4, 8, 16, 24, 24]


@pytest.mark.parametrize("failures", [0, 1000, 32767])
def test_no_number_of_failures_leaves_the_span_of_an_hour_to_a_day(failures: int):
    assert timedelta(hours=1) <= wait("error", failures) <= timedelta(hours=24)


@pytest.mark.parametrize(("year", "days"), [(2027, 7), (2026, 7), (2025, 7), (2024, 30), (1950, 30), (None, 30)])
def test_a_title_younger_than_a_year_is_asked_for_more_often(year: int | None, days: int):
    assert ttl_for(year, now=NOW, ttl=timedelta(days=30), young_ttl=timedelta(days=7)) == timedelta(days=days)
