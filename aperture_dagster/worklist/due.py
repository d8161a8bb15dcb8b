"""When a title is asked for again, by how the last attempt went."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Literal

Outcome = Literal["ok", "not_found", "error"]
NOT_FOUND_AGAIN = timedelta(days=30)
FIRST_RETRY = timedelta(hours=1)
LONGEST_RETRY = timedelta(hours=24)
A_YEAR = timedelta(days=365)


def due_after(outcome: Outcome, *, failures: int, now: datetime, ttl: timedelta) -> datetime:
    """When the next attempt is due.

    Args:
        outcome: of the attempt just made. One that the quota forbade was not made: what is due stays due.
        failures: attempts that failed in a row, this one included.
        now: the time of the attempt.
        ttl: how long a good answer is good for.
    """
    if outcome == "ok":
        return now + ttl
    if outcome == "not_found":
        return now + NOT_FOUND_AGAIN
    return now + min(FIRST_RETRY * 2 ** min(max(failures - 1, 0), 10), LONGEST_RETRY)


def ttl_for(
    released: date | None, year: int | None, *, now: datetime, ttl: timedelta, young_ttl: timedelta
) -> timedelta:
    """How long facts about a title stay good: one younger than a year still gathers votes and episodes.

    Args:
        released: its first day, if that is known; else its ``year`` is taken, as a whole.
        year: its year, if that is known.
        now: the time of the answer.
        ttl: for what is older than a year, or of no known age.
        young_ttl: for what is younger, or not out yet.
    """
    if released is None and year is not None:
        released = date(min(max(year, 1), 9999), 12, 31)
    return young_ttl if released is not None and released > now.date() - A_YEAR else ttl
