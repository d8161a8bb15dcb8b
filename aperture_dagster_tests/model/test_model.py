"""A date in the future says nothing about when something happened; texts for people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from aperture_dagster import model
from aperture_dagster.model import SKEW, FutureDates, describe_future, elapsed, past

NOW = datetime(2026, 5, 17, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_a_date_in_the_future_counts_as_never_and_clocks_may_differ_a_little():
    assert elapsed(NOW - HOUR, NOW) == HOUR
    assert elapsed(None, NOW) == elapsed(NOW + HOUR, NOW) == timedelta.max
    assert elapsed(NOW + SKEW, NOW) == timedelta(0)
    assert past(NOW + SKEW, NOW) == NOW + SKEW and past(NOW + HOUR, NOW) is None and past(None, NOW) is None


def test_one_sentence_says_what_is_dated_in_the_future_and_how_far():
    assert describe_future([], NOW) is None
    found = [FutureDates(f"table_{n}", n, NOW + n * HOUR) for n in range(1, 7)]
    sentence = describe_future([*found, FutureDates("runs", 1200, NOW + timedelta(days=365))], NOW)
    assert sentence is not None
    assert sentence.startswith(
        "Dated up to 365 days in the future: runs (1,200), table_6 (6), table_5 (5), table_4 (4) and 3 others. "
    )
    hour = describe_future(found[:1], NOW)
    assert hour is not None and hour.startswith("Dated up to 60 min in the future: table_1 (1). ")


@pytest.mark.parametrize(("rating", "text"), [(10, "★★★★★"), (7, "★★★½"), (1, "½"), (2, "★")])
def test_a_rating_of_ten_is_shown_as_five_stars_with_halves(rating: int, text: str):
    assert model.stars(rating) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1.26, "1.26 s"), (89, "89 s"), (90, "2 min"), (3 * 3600 - 60, "179 min"), (3 * 3600, "3 h"),
        (47 * 3600, "47 h"), (48 * 3600, "2 days"),
    ],
)  # fmt: skip
def test_a_duration_is_shown_in_the_unit_in_which_it_is_easiest_to_read(seconds: float, text: str):
    assert model.duration(seconds) == text
