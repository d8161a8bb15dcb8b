"""One watch state for an original and its published copies: which of them has the latest, and what the others lack.

The later play wins, so that no play is undone by an older state. A mark that a user takes back has no date; it counts
if the original had it when all of them last agreed. On a copy, it cannot be told from a state that the server lost with
the copy, so there it changes nothing but the copy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from aperture_dagster.catalogue.plays import SAME_POSITION
from aperture_dagster.media_server.records import ItemState
from aperture_dagster.model.moments import past

Part = TypeVar("Part", "Watched | None", bool)
LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Watched(NamedTuple):
    """How far a user is with a title or episode: finished, or at a position as a share of the runtime (0-1).

    ``at`` is the date of the last play; None if it is not known.
    """

    played: bool
    position: float
    at: datetime | None


class WatchState(NamedTuple):
    """A user's state of an item; ``watched`` is None if it was neither finished nor begun."""

    watched: Watched | None = None
    favorite: bool = False

    def agrees(self, other: WatchState) -> bool:
        """Return whether two states are the same, but for the rounding of positions."""
        return _same(self.watched, other.watched) and self.favorite == other.favorite


NOTHING = WatchState()


def state_of(state: ItemState, now: datetime) -> WatchState:
    """Return what is shared of a state that the server reported.

    What has a position is in progress, whether or not an earlier play left its mark. A date in the future is that of a
    wrong clock, and would win over every later play. Servers mark a file of unknown length as played when it is
    started.
    """
    at = past(state.last_played_at, now)
    watched = None
    if state.position_share > 0:
        watched = Watched(False, state.position_share, at)
    elif state.played and state.has_runtime:
        watched = Watched(True, 0.0, at)
    return WatchState(watched, state.favorite)


class Pending(NamedTuple):
    """States that an original and a copy were about to have, and which of the two was to be written."""

    original: WatchState
    copy: WatchState
    to_original: bool
    to_copy: bool


class Copy(NamedTuple):
    """A published copy. ``agreed`` are the states of the original and of the copy when they last agreed, if ever."""

    state: WatchState
    agreed: tuple[WatchState, WatchState] | None


def agreement(
    original: WatchState,
    copy: WatchState,
    agreed: tuple[WatchState, WatchState] | None,
    pending: Pending | None,
) -> tuple[WatchState, WatchState] | None:
    """Return in which states an original and a copy last agreed, given what is known of a run that was interrupted.

    What it was writing counts if it is there: it is not news from the user. Otherwise it is decided again.
    """
    if pending is None:
        return agreed
    is_there = (not pending.to_original or original.agrees(pending.original)) and (
        not pending.to_copy or copy.agrees(pending.copy)
    )
    return (pending.original, pending.copy) if is_there else agreed


def settle(original: WatchState, copies: Sequence[Copy]) -> tuple[WatchState, list[WatchState]]:
    """Return the states that an original and its copies should have."""
    watched, of_copies = _settle(
        original.watched,
        [(one.state.watched, one.agreed and (one.agreed[0].watched, one.agreed[1].watched)) for one in copies],
        _wins,
    )
    favorite, favorites = _settle(
        original.favorite,
        [(one.state.favorite, one.agreed and (one.agreed[0].favorite, one.agreed[1].favorite)) for one in copies],
        lambda *_: True,
    )
    return WatchState(watched, favorite), list(map(WatchState, of_copies, favorites))


def _settle(
    original: Part,
    copies: Sequence[tuple[Part, tuple[Part, Part] | None]],
    wins: Callable[[Part, Part, bool], bool],
) -> tuple[Part, list[Part]]:
    """Settle one part of the states.

    ``wins`` gets the news of a copy, what it is up against, and whether nothing but this copy has news.
    """
    newest = original
    for value, agreed in copies:
        if not value or (agreed is not None and _same(value, agreed[1])):
            continue
        is_alone = agreed is not None and newest is original and _same(original, agreed[0])
        if wins(value, newest, is_alone):
            newest = value
    wanted: list[Part] = []
    for value, agreed in copies:
        if agreed is None:
            is_due = bool(newest)
        else:
            is_due = not _same(newest, agreed[0]) or (bool(value) and not _same(value, agreed[1]))
        wanted.append(newest if is_due else value)
    return newest, wanted


def _wins(one: Watched | None, other: Watched | None, is_alone: bool) -> bool:
    if one is None or other is None:
        return one is not None
    date, latest = one.at or LONG_AGO, other.at or LONG_AGO
    if date != latest:
        return date > latest
    # A play has the date of its start, so it goes on, or back, under the same date.
    return is_alone or (one.played, one.position) > (other.played, other.position)


def _same(one: Watched | bool | None, other: Watched | bool | None) -> bool:
    if isinstance(one, Watched) and isinstance(other, Watched):
        near = abs(one.position - other.position) <= SAME_POSITION
        return near and (one.played, one.at) == (other.played, other.at)
    return one == other


def changes(current: ItemState, lacks: WatchState, source: ItemState, *, now: datetime) -> dict[str, Any]:
    """Return the user data to write to an item, in the fields of Jellyfin; empty if there is nothing to write.

    Args:
        current: the item's state.
        lacks: the state that it should have.
        source: the state that ``lacks`` is that of, which has what the server needs besides.
        now: the time.
    """
    before, after = state_of(current, now), lacks.watched
    data: dict[str, Any] = {}
    if not _same(before.watched, after):
        if after is None:
            data |= {"Played": False, "PlayCount": 0, "PlaybackPositionTicks": 0}
        elif after.played:
            is_repeated = before.watched is not None and before.watched.played
            count = max(1, source.play_count, current.play_count + is_repeated)
            data |= {"Played": True, "PlayCount": count, "PlaybackPositionTicks": 0}
        elif source.position_ticks:
            # An earlier play stays marked.
            data["PlaybackPositionTicks"] = source.position_ticks
        if data and after is not None and after.at is not None:
            data["LastPlayedDate"] = f"{after.at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    if before.favorite != lacks.favorite:
        data["IsFavorite"] = lacks.favorite
    return data
