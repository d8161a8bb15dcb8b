"""The dates of titles in a published library, by which a row of the home screen is in the order of the list.

Servers sort *Recently Added* by the dates at which titles were added, which an NFO file can set. The date of a title
changes only when it overtakes another: after a title has left, the others are still in order. That matters for series,
whose place in a row follows from files of their episodes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

SECOND = timedelta(seconds=1)
# Between two titles of a new list: room for titles that are put between them later.
SPACING = timedelta(minutes=10)
# The first title of a new list is so much older than its library: room for titles that are put before it later.
LEAD = timedelta(days=10)
OLDEST = timedelta(days=40)
"""How much older than its library a title can be."""


def dates_in_order(known: Sequence[datetime | None], moment: datetime) -> list[datetime]:
    """Return a date for each title of a list, each older than the one before.

    As many known dates as possible are kept. All are whole seconds, and so far before the moment that nothing of a list
    ever seems new on the server.

    Args:
        known: the dates that the titles have, in the order of the list; None for those that have no date.
        moment: of the library, the same each time.
    """
    moment = moment.replace(microsecond=0)
    newest, oldest = moment, moment - OLDEST
    usable = [(place, date.replace(microsecond=0)) for place, date in enumerate(known) if date is not None]
    kept = dict(_longest_descent([(place, date) for place, date in usable if oldest < date < newest]))
    dates: list[datetime] = []
    places = [-1, *kept, len(known)]
    for before, after in pairwise(places):
        between = _between(kept.get(before), kept.get(after), after - before - 1, newest, oldest)
        if between is None:
            return [moment - LEAD - number * SPACING for number in range(len(known))]
        dates += between
        if after < len(known):
            dates.append(kept[after])
    return dates


def _longest_descent(dated: Sequence[tuple[int, datetime]]) -> list[tuple[int, datetime]]:
    """Return the longest part of a sequence in which each date is older than the one before."""
    ends: list[float] = []
    last: list[int] = []
    previous: list[int | None] = []
    for number, (_, date) in enumerate(dated):
        age = -date.timestamp()
        length = bisect_left(ends, age)
        previous.append(last[length - 1] if length else None)
        ends[length : length + 1], last[length : length + 1] = [age], [number]
    chosen: list[tuple[int, datetime]] = []
    number = last[-1] if last else None
    while number is not None:
        chosen.append(dated[number])
        number = previous[number]
    return chosen[::-1]


def _between(
    above: datetime | None, below: datetime | None, count: int, newest: datetime, oldest: datetime
) -> list[datetime] | None:
    """Return so many dates between two titles, or at an end of a list; None if there is no room for them."""
    if above is not None and below is not None:
        step = (above - below) / (count + 1)
        step -= timedelta(microseconds=step.microseconds)
    else:
        step = SPACING
        if above is None and below is None:
            above = newest - LEAD + SPACING
        elif above is None and below is not None:
            above = below + (count + 1) * SPACING
    assert above is not None
    dates = [above - number * step for number in range(1, count + 1)]
    fits = step >= SECOND and all(oldest < date < newest for date in dates)
    return dates if fits or not count else None
