"""When a title is asked for again, by how the last attempt went."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

Outcome = Literal["ok", "not_found", "error", "quota"]
NOT_FOUND_AGAIN = timedelta(days=30)
FIRST_RETRY = timedelta(hours=1)
LONGEST_RETRY = timedelta(hours=24)


def due_after(outcome: Outcome, *, failures: int, now: datetime, ttl: timedelta) -> datetime:
    """When the next attempt is due.

    Args:
        outcome: of the attempt just made; ``quota`` means it was not made.
        failures: attempts that failed in a row, this one included.
        now: the time of the attempt.
        ttl: how long a good answer is good for.
    """
    if outcome == "ok":
        return now + ttl
    if outcome == "not_found":
        return now + NOT_FOUND_AGAIN
    if outcome == "quota":
        return now
    return now + min(FIRST_RETRY * 2 ** min(max(failures - 1, 0), 10), LONGEST_RETRY)


def ttl_for(year: int | None, *, now: datetime, ttl: timedelta, young_ttl: timedelta) -> timedelta:
    """How long facts about a title stay good: a title younger than a year still gathers votes and episodes."""
    return young_ttl if year is not None and year >= now.year - 1 else ttl
