"""Derive plays from two consecutive states of an item on the server."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

# Progress from which an unfinished viewing counts, 0-1.
STARTED_SHARE = 0.05


# Stored positions are rounded; a smaller difference is not progress.
SAME_POSITION = 0.001


UNMATCHED_PATIENCE = timedelta(days=7)
"""How long a play of an unknown item is read again. By then, the catalogue has been read many times."""


class ViewState(NamedTuple):
    """What plays are derived from in a user's state of an item."""

    played: bool
    play_count: int
    position_share: float
    last_played_at: datetime | None


class Viewing(NamedTuple):
    """A row of the log of plays. ``play_count`` is 0 for an unfinished viewing; ``completion`` is 0-1."""

    played_at: datetime
    play_count: int
    completion: float


def viewing_between(before: ViewState | None, after: ViewState, *, now: datetime) -> Viewing | None:
    """Return the viewing between two states of an item, or None if there was none or it has no date.

    On the first read only the last play has a date; earlier plays are in the state's count. Servers date and count a
    play at its start, and clear the played mark until its end. So an item without the mark was not finished, and the
    same date may come again with more progress, which updates the viewing of that date. A date in the future (a wrong
    clock) is replaced by now, and an earlier date is accepted only when the count has grown.

    Args:
        before: None on the first read.
        now: the time at which ``after`` was read.
    """
    if after.last_played_at is None:
        return None
    if before is None:
        count = 1 if after.played else 0
    else:
        gained = after.play_count - before.play_count
        newly_finished = after.played and (not before.played or before.last_played_at is None)
        if after.last_played_at == before.last_played_at:
            progressed = not before.played and after.position_share > before.position_share + SAME_POSITION
            hidden_by_date = gained > 0 and after.last_played_at > now
            if not (newly_finished or progressed or hidden_by_date):
                return None
        elif _earlier(after.last_played_at, before.last_played_at) and gained <= 0 and not newly_finished:
            return None
        count = max(gained, 1 if newly_finished else 0) if after.played else 0
    completion = 1.0 if count else after.position_share
    if count == 0 and completion < STARTED_SHARE:
        return None
    return Viewing(min(after.last_played_at, now), count, completion)


def _earlier(moment: datetime, other: datetime | None) -> bool:
    return other is not None and moment < other


def next_watermark(
    current: datetime | None,
    dates: Iterable[datetime | None],
    now: datetime,
    *,
    unmatched: Iterable[datetime | None] = (),
) -> datetime | None:
    """Return the date from which the next look has to read.

    That is the newest date which is not in the future: a single future date must not hide all later plays. It does not
    move past ``unmatched``, the dates of plays whose item is not known yet: a film may be watched on the evening it
    was added, before the catalogue is read at night. Items of a library that is never read stay unknown, so a play
    holds the mark for :data:`UNMATCHED_PATIENCE` only.
    """
    past = [date for date in [current, *dates] if date is not None and date <= now]
    held = [date for date in unmatched if date is not None and now - UNMATCHED_PATIENCE <= date <= now]
    newest = max(past, default=None)
    return min([newest, *held]) if newest is not None else None
