"""The server's activity log: who has just watched something."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from aperture_dagster.http.errors import BadAnswer
from aperture_dagster.media_server.values import moment_of, parse_id, parse_text

# Jellyfin's name, which Emby once shared, and Emby's own.
PLAY_ENDED = frozenset({"videoplaybackstopped", "playback.stop"})


class PlayEnded(NamedTuple):
    """Somebody stopped watching something: the number of the log's entry, and the moment by the server's clock."""

    entry: str
    user_id: str
    at: datetime


def parse_play(item: Mapping[str, Any]) -> PlayEnded | None:
    """Parse an entry of the log; None if it is about something else.

    Raises:
        BadAnswer: an entry about a play says not whose, or when.
    """
    if (parse_text(item, "Type") or "").casefold() not in PLAY_ENDED:
        return None
    at = moment_of(item, "Date")
    if at is None:
        raise BadAnswer("Date is missing")
    return PlayEnded(str(item.get("Id")), parse_id(item.get("UserId"), "UserId"), at)
