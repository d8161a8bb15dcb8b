"""When an item is due again, depending on the outcome of the last attempt."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Literal

Outcome = Literal["ok", "not_found", "error"]
RETRY_NOT_FOUND = timedelta(days=30)
FIRST_RETRY = timedelta(hours=1)
LONGEST_RETRY = timedelta(hours=24)
A_YEAR = timedelta(days=365)


def due_after(outcome: Outcome, *, failures: int, now: datetime, ttl: timedelta) -> datetime:
    """Return when the next attempt is due.

    Args:
        outcome: of the attempt just made. (An attempt that the quota prevented was not made; its item stays due.)
        failures: attempts in a row that failed, including this one.
        now: the time of the attempt.
        ttl: how long an answer remains good.
    """
    if outcome == "ok":
        return now + ttl
    if outcome == "not_found":
        return now + RETRY_NOT_FOUND
    return now + min(FIRST_RETRY * 2 ** min(max(failures - 1, 0), 10), LONGEST_RETRY)


def ttl_for(
    released: date | None, year: int | None, *, now: datetime, ttl: timedelta, young_ttl: timedelta
) -> timedelta:
    """Return how long facts about a title remain good: votes and episodes of titles younger than a year still change.

    Args:
        released: release date, if known; otherwise the last day of ``year`` counts.
        year: release year, if known.
        now: the time of the answer.
        ttl: for titles older than a year, or of unknown age.
        young_ttl: for younger and unreleased titles.
    """
    if released is None and year is not None:
        released = date(min(max(year, 1), 9999), 12, 31)
    return young_ttl if released is not None and released > now.date() - A_YEAR else ttl
