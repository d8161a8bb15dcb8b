"""The server's activity log: who is about, and who has just watched something."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from aperture_dagster.http.errors import BadAnswer
from aperture_dagster.media_server.values import moment_of, parse_id, parse_text

# Jellyfin's name, which Emby once shared, and Emby's own.
PLAY_ENDED = frozenset({"videoplaybackstopped", "playback.stop"})


class Activity(NamedTuple):
    """What a user did: the number of the log's entry, the moment by the server's clock, and whether a play ended."""

    entry: str
    user_id: str
    at: datetime
    is_end_of_play: bool


def parse_activity(item: Mapping[str, Any]) -> Activity | None:
    """Parse an entry of the log; None if it is about nobody.

    Raises:
        BadAnswer: it does not say when, or, of a play, whose.
    """
    is_play = (parse_text(item, "Type") or "").casefold() in PLAY_ENDED
    if not is_play and not item.get("UserId"):
        return None
    at = moment_of(item, "Date")
    if at is None:
        raise BadAnswer("Date is missing")
    return Activity(str(item.get("Id")), parse_id(item.get("UserId"), "UserId"), at, is_play)
