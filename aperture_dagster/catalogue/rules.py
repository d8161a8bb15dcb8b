"""Rules of histories and titles: which plays follow from two states, and when a removal is not believed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

# Derive plays from two consecutive states of an item on the server.


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
    move past ``unmatched`` dates, those of plays whose item is not known yet: a film may be watched on the evening it
    was added, before the catalogue is read at night. Items of a library that is never read stay unknown, so a play
    holds the mark for :data:`UNMATCHED_PATIENCE` only.
    """
    past = [date for date in [current, *dates] if date is not None and date <= now]
    held = [date for date in unmatched if date is not None and now - UNMATCHED_PATIENCE <= date <= now]
    newest = max(past, default=None)
    return min([newest, *held]) if newest is not None else None


# Guards against removing titles or history after an incomplete answer of the server.


# The share of a library, or of a history, that may be removed at once.
REMOVAL_LIMIT = 0.2
# How many may always be removed at once: marks that a person can remove in an evening, and titles of a small library.
FEW_MARKS = 5
FEW_TITLES = 20
# Assets with another name than their items.
ASSETS = {"films": "movies"}


class RemovalRefused(Exception):
    """Too much would be removed at once. Nothing was removed; the message says how to accept the loss."""


@dataclass(frozen=True, slots=True)
class LibraryLoss:
    """Titles missing from a library, and titles that it had."""

    name: str
    missing: int
    present: int

    @property
    def share(self) -> float:
        """Share of the titles that is missing, 0-1."""
        return self.missing / self.present if self.present else 0.0


def check_removals(
    losses: Mapping[str, LibraryLoss], *, accepted: bool, what: str, limit: float = REMOVAL_LIMIT
) -> None:
    """Raise unless missing titles may be removed.

    Args:
        losses: by library.
        limit: the share of a library that may be removed at once, 0-1.
        accepted: by the operator.
        what: kind of item for the message, such as "films".

    Raises:
        RemovalRefused: a library lost more than the limit and more than a few titles, or everything (as when a disk is
            not mounted).
    """
    if accepted:
        return
    refused = [
        loss
        for loss in losses.values()
        if (loss.share > limit and loss.missing > FEW_TITLES) or loss.missing == loss.present > 1
    ]
    if refused:
        listed = ", ".join(
            f"{loss.missing} of {loss.present} {what} of {loss.name!r} ({loss.share:.0%})" for loss in refused
        )
        raise RemovalRefused(
            f"The server no longer lists {listed}. A loss of everything, or of more than {limit:.0%} and more than "
            f"{FEW_TITLES}, usually means a disk that is not mounted, so nothing was removed. "
            f"If the server is right, run {ASSETS.get(what, what)} with the config accept_removals: true."
        )


def is_great_loss(lost: int, *, known: int) -> bool:
    """Return whether so many of the known marks of a user are lost that it is not believed at once."""
    return lost > FEW_MARKS and lost > REMOVAL_LIMIT * known


def check_history_loss(user: str, *, listed: int, lost: int, known: int, accepted: bool) -> None:
    """Raise unless marks (played, started, favourite) may be removed from a user's history.

    Args:
        user: name for the message.
        listed: marked items that the server lists.
        lost: items that would lose their mark.
        known: marked items in the database that are still in the library. :data:`REMOVAL_LIMIT` of them may be removed
            at once, and up to ``FEW_MARKS`` always.
        accepted: by the operator.

    Raises:
        RemovalRefused: too much of the history is missing.
    """
    if accepted or lost <= 0 or (listed > 0 and not is_great_loss(lost, known=known)):
        return
    raise RemovalRefused(
        f"The server lists {listed} items that {user} watched or marked; {lost} of the {known} known items would lose "
        "their mark. That is too many at once, so no mark was removed; new plays were written. "
        "If the server is right, run watch_history with the config accept_removals: true."
    )
