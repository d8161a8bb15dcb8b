"""Dates in the future, which a wrong clock wrote: they say nothing about when something happened.

A computer without a battery, or a virtual machine that was suspended, may run for a while with a clock that is ahead.
What was recorded then is dated in the future once the clock is right again. It must not hold anything up until that
date, so it counts as never recorded. It is not corrected: if the clock is behind now, everything looks the same,
although all that is stored is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from aperture_dagster.model.wording import counted, duration, listed

SKEW = timedelta(minutes=10)
"""By how much the clocks of hosts, services and the database may differ."""
MOST_NAMED = 4


def is_future(moment: datetime, now: datetime) -> bool:
    """Return whether a moment is later than now, by more than clocks usually differ."""
    return moment > now + SKEW


def past(moment: datetime | None, now: datetime) -> datetime | None:
    """Return a moment, or None if it is in the future."""
    return None if moment is None or is_future(moment, now) else moment


def elapsed(since: datetime | None, now: datetime) -> timedelta:
    """Return the time since a moment; ``timedelta.max`` if there was none, or it is in the future."""
    since = past(since, now)
    return timedelta.max if since is None else max(now - since, timedelta(0))


@dataclass(frozen=True, slots=True)
class FutureDates:
    """What is dated in the future: rows of a table, or of a part of Dagster's storage, and their latest date."""

    what: str
    rows: int
    latest: datetime


def describe_future(found: Sequence[FutureDates], now: datetime) -> str | None:
    """Say what is dated in the future, by how much, and what that means; None if nothing is."""
    if not found:
        return None
    span = duration((max(one.latest for one in found) - now).total_seconds())
    most = sorted(found, key=lambda one: (-one.rows, one.what))
    named = [f"{one.what} ({one.rows:,})" for one in most[:MOST_NAMED]]
    more = [counted(len(found) - MOST_NAMED, "others")] if len(found) > MOST_NAMED else []
    return (
        f"Dated up to {span} in the future: {listed([*named, *more])}. The clock was ahead when that was written, or "
        "is behind now: check it. Nothing waits for these dates; what has one counts as never done."
    )
