"""Decide what a user did with a published copy that the original does not have yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aperture_dagster.catalogue.history.viewings import SAME_POSITION
from aperture_dagster.media_server.records import ItemState
from aperture_dagster.model import past

# State travels one way. A home screen offers whatever has a state, so a title with one on its original and on a copy is
# offered twice. A copy therefore holds nothing for long: what its user did there goes to the original, and is taken off
# the copy once the server shows it on the original. So whatever is found on a copy is news, and nothing needs to be
# remembered about it: a run that was killed at any point is repeated, and ends the same.
#
# The exception are films of Top Picks, which everybody sees whether or not they have seen them: these have a tick, the
# played mark of their original. A tick has the date of the original's play, but no play is counted; a play on the copy
# itself is counted by the server at its start.

LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Watched(NamedTuple):
    """How far a user is with a title or episode: finished, or at a position as a share of the runtime (0-1).

    ``at`` is the date of the last play; None if it is not known.
    """

    played: bool
    position: float
    at: datetime | None


def watched(state: ItemState, now: datetime) -> Watched | None:
    """Return how far a user is with an item, by the state that the server reported; None if it was not watched.

    What has a position is in progress, whether or not an earlier play left its mark. A date in the future is that of a
    wrong clock, and would win over every later play. Servers mark a file of unknown length as played when it is
    started.
    """
    at = past(state.last_played_at, now)
    if state.position_share > 0:
        return Watched(False, state.position_share, at)
    if state.played and state.has_runtime:
        return Watched(True, 0.0, at)
    return None


def is_news(copy: Watched, original: Watched | None) -> bool:
    """Return whether what was watched on a copy is to be written to the original.

    The later play wins. Of plays with one date, or where one has no date, the one that is further wins: a client may go
    on after its play was moved, and reports no new date then.
    """
    if original is None:
        return True
    if copy.at is not None and copy.at != original.at:
        return copy.at > (original.at or LONG_AGO)
    return (copy.played, copy.position) > (original.played, original.position + SAME_POSITION)


def is_tick(state: ItemState) -> bool:
    """Return whether the state of a copy is the tick that this module sets."""
    return state.played and not state.play_count and not state.position_share and state.last_played_at is not None


def play_to_write(original: ItemState, copies: Iterable[ItemState], *, now: datetime) -> dict[str, Any]:
    """Return the user data to write to an original for what was watched on its copies, in the fields of Jellyfin.

    Empty if the original has the latest.
    """
    played = [(one, play) for one in copies if not is_tick(one) and (play := watched(one, now)) is not None]
    if not played:
        return {}
    source, latest = max(played, key=lambda pair: (pair[1].at or LONG_AGO, pair[1].played, pair[1].position))
    before = watched(original, now)
    if not is_news(latest, before):
        return {}
    if latest.played:
        # Without a date it may be the same play.
        is_repeated = before is not None and before.played and before.at is not None and latest.at is not None
        count = max(1, source.play_count, original.play_count + is_repeated)
        data: dict[str, Any] = {"Played": True, "PlayCount": count, "PlaybackPositionTicks": 0}
    else:
        # An earlier play stays marked.
        data = {"PlaybackPositionTicks": source.position_ticks}
    if latest.at is not None:
        data["LastPlayedDate"] = as_written(latest.at)
    return data


def opinion_to_write(original: ItemState, copies: Sequence[ItemState]) -> dict[str, Any]:
    """Return the user data to write to an original for what its user thinks of it by marks on the copies.

    A copy without a mark says nothing. A rating there was given last, and one on the original was given before it; of
    several copies with a rating, the best one counts.
    """
    data: dict[str, Any] = {}
    if not original.favorite and any(one.favorite for one in copies):
        data["IsFavorite"] = True
    rating = max((one.rating or 0.0 for one in copies), default=0.0)
    if rating and rating != original.rating:
        data["Rating"] = rating
    return data


def as_written(moment: datetime) -> str:
    """Return a moment as the media server takes it."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def is_same_state(state: ItemState, other: ItemState | None) -> bool:
    """Return whether a copy has the same state as before, in all that can be moved."""
    return other is not None and all(
        getattr(state, name) == getattr(other, name)
        for name in ("played", "play_count", "position_ticks", "last_played_at", "favorite", "rating")
    )
