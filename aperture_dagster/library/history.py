"""What was a play: from what the server said last time and what it says now, to the log of plays."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

# Positions nearer to each other than this are the same: they are stored rounded.
SAME_PLACE = 0.001


@dataclass(frozen=True, slots=True)
class ViewState:
    """What matters of a user's state of an item."""

    played: bool
    play_count: int
    position_share: float
    last_played_at: datetime | None


@dataclass(frozen=True, slots=True)
class Viewing:
    """A line of the log. ``play_count`` is 0 for a viewing that was not finished; ``completion`` is 0-1."""

    played_at: datetime
    play_count: int
    completion: float


def viewing_between(
    before: ViewState | None, after: ViewState, *, now: datetime, started_share: float
) -> Viewing | None:
    """The viewing that lies between two states of an item, if there was one that can be dated.

    The first time an item is seen, only its last play is known: that there were more is in the state's count, when
    they were nobody knows. Servers date and count a play at its start, and take the played mark off until its end: so
    an item that is not marked now was not finished, and one date may be seen again with more progress, which gives the
    viewing of that date anew. A date in the future (a clock was wrong) is taken as now, and one that went back is
    believed when the count grew.

    Args:
        before: what the server said last time, None if never.
        after: what it says now.
        now: the time of the look.
        started_share: progress from which an unfinished viewing counts, 0-1.
    """
    if after.last_played_at is None:
        return None
    if before is None:
        count = 1 if after.played else 0
    else:
        gained = after.play_count - before.play_count
        finished_anew = after.played and (not before.played or before.last_played_at is None)
        if after.last_played_at == before.last_played_at:
            went_on = not before.played and after.position_share > before.position_share + SAME_PLACE
            hidden = gained > 0 and after.last_played_at > now
            if not (finished_anew or went_on or hidden):
                return None
        elif _earlier(after.last_played_at, before.last_played_at) and gained <= 0 and not finished_anew:
            return None
        count = max(gained, 1 if finished_anew else 0) if after.played else 0
    completion = 1.0 if count else after.position_share
    if count == 0 and completion < started_share:
        return None
    return Viewing(min(after.last_played_at, now), count, completion)


def _earlier(moment: datetime, other: datetime | None) -> bool:
    return other is not None and moment < other


def next_watermark(current: datetime | None, dates: list[datetime | None], now: datetime) -> datetime | None:
    """The newest date seen that is not in the future: one such date must not hide all that comes after."""
    usable = [date for date in [current, *dates] if date is not None and date <= now]
    return max(usable, default=None)
