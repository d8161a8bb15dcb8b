"""When an item is due again, depending on the outcome of the last attempt."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Literal

Outcome = Literal["ok", "not_found", "error"]
RETRY_NOT_FOUND = timedelta(days=30)
FIRST_RETRY = timedelta(hours=1)
LONGEST_RETRY = timedelta(hours=24)


def due_after(outcome: Outcome, *, failures: int, now: datetime, ttl: timedelta) -> datetime:
    """Return when the next attempt is due, after one at ``now`` that was the last of ``failures`` errors in a row.

    An attempt that the quota prevented was not made; its item stays due.
    """
    if outcome == "ok":
        return now + ttl
    if outcome == "not_found":
        return now + RETRY_NOT_FOUND
    return now + min(FIRST_RETRY * 2 ** min(max(failures - 1, 0), 10), LONGEST_RETRY)


def ttl_for(
    released: date | None, year: int | None, *, now: datetime, ttl: timedelta, young_ttl: timedelta
) -> timedelta:
    """Return how long facts about a title remain good: ``young_ttl`` until a year after its release, then ``ttl``.

    Votes and episodes of young titles still change. Without a release date the last day of ``year`` counts, and a title
    of unknown age is old.
    """
    if released is None and year is not None:
        released = date(min(max(year, 1), 9999), 12, 31)
    return young_ttl if released is not None and released > now.date() - timedelta(days=365) else ttl
