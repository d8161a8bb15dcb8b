"""Dates of titles, by which a row of the home screen is in the order of its list."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from aperture_dagster.publishing.disk.dates import OLDEST, dates_in_order

MOMENT = datetime(2026, 5, 17, 20, 0, 30, 777, tzinfo=UTC)
some_dates = st.lists(st.none() | st.integers(-90 * 86_400, 5 * 86_400).map(lambda s: MOMENT + timedelta(seconds=s)))


def is_in_order(dates: list[datetime]) -> bool:
    return all(earlier > later for earlier, later in pairwise(dates))


@given(some_dates)
def test_dates_are_in_order_within_bounds_and_final(known: list[datetime | None]):
    dates = dates_in_order(known, MOMENT)
    assert len(dates) == len(known) and is_in_order(dates)
    assert all(MOMENT - OLDEST - timedelta(seconds=1) < date < MOMENT and not date.microsecond for date in dates)
    assert dates_in_order(list(dates), MOMENT) == dates, "what was in order once is not written again"


def test_a_title_that_leaves_or_enters_changes_no_other_date():
    dates = dict(zip("abcde", dates_in_order([None] * 5, MOMENT), strict=True))
    for order in ("bcde", "acde", "abcd", "axbcde", "xabcde", "abcdex", "axyzbcde"):
        found = dict(zip(order, dates_in_order([dates.get(name) for name in order], MOMENT), strict=True))
        assert {name: found[name] for name in order if name in dates} == {
            name: dates[name] for name in order if name in dates
        }, order


def test_only_titles_that_overtake_others_get_another_date():
    dates = dict(zip("abcdefgh", dates_in_order([None] * 8, MOMENT), strict=True))
    for order, moved in (("habcdefg", "h"), ("bcdaefgh", "a"), ("bacdfegh", "bf"), ("abcdefhg", "h")):
        found = dict(zip(order, dates_in_order([dates[name] for name in order], MOMENT), strict=True))
        assert sum(found[name] != dates[name] for name in order) == len(moved), order


def test_a_list_that_changes_every_night_for_years_stays_in_order():
    chance = random.Random(7)
    listed, dates, new, all_written = list(range(50)), dict[int, datetime](), 50, 0
    for _ in range(1_500):
        found = dict(zip(listed, dates_in_order([dates.get(one) for one in listed], MOMENT), strict=True))
        assert is_in_order(list(found.values()))
        all_written += sum(found[one] != dates[one] for one in listed if one in dates) > 40
        dates = found
        listed.pop(chance.randrange(50))
        listed.insert(chance.choice([0, 0, 49, chance.randrange(50)]), new)
        new += 1
    assert all_written <= 5, "there is room for new titles"
