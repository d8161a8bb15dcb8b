"""When a title is asked for again."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from aperture_dagster.worklist.queue import Outcome, due_after, ttl_for

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def wait(outcome: Outcome, failures: int = 0) -> timedelta:
    return due_after(outcome, failures=failures, now=NOW, ttl=timedelta(days=30)) - NOW


def test_a_good_answer_is_good_for_its_time():
    assert wait("ok") == timedelta(days=30)


def test_what_was_not_found_is_looked_for_again_in_thirty_days():
    assert wait("not_found") == timedelta(days=30)


def test_an_error_is_tried_again_after_an_hour_doubling_to_a_day():
    hours = [wait("error", failures) / timedelta(hours=1) for failures in (1, 2, 3, 4, 5, 6, 7)]
    assert hours == [1, 2, 4, 8, 16, 24, 24]


@pytest.mark.parametrize("failures", [0, 1000, 32767])
def test_no_number_of_failures_leaves_the_span_of_an_hour_to_a_day(failures: int):
    assert timedelta(hours=1) <= wait("error", failures) <= timedelta(hours=24)


@pytest.mark.parametrize(
    ("released", "year", "days"),
    [
        (date(2027, 1, 1), 2027, 7),
        (date(2026, 4, 30), 2026, 7),
        (date(2025, 5, 2), 2025, 7),
        (date(2025, 5, 1), 2025, 30),
        (date(1950, 1, 1), 2026, 30),
        (None, 2026, 7),
        (None, 2025, 7),
        (None, 2024, 30),
        (None, 0, 30),
        (None, 99_999, 7),
        (None, None, 30),
    ],
)
def test_a_title_younger_than_a_year_is_asked_for_more_often(released: date | None, year: int | None, days: int):
    ttl = ttl_for(released, year, now=NOW, ttl=timedelta(days=30), young_ttl=timedelta(days=7))
    assert ttl == timedelta(days=days)
