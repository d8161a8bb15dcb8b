"""The activity log of the media server: which plays ended, and when. Nothing else is logged.

Modelled on jellyfin/jellyfin 10.9 to 12, ``Jellyfin.Api/Controllers/ActivityLogController.cs``,
``Jellyfin.Server.Implementations/Activity/ActivityManager.cs`` and ``Events/Consumers/Session/PlaybackStopLogger.cs``.
Emby's is closed source: path and fields are as in MediaBrowser/Emby.SDK ``Resources/OpenApi/openapi_v3.json`` (4.8.11).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from starlette.responses import Response

from aperture_dagster.simulator.catalogue import Item, item_number
from aperture_dagster.simulator.jellyfin import binding
from aperture_dagster.simulator.service import Request
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.user_data import PlayEnded

PARAMETERS = ("startIndex", "limit", "minDate", "hasUserId")
EMBY_PARAMETERS = ("StartIndex", "Limit", "MinDate")


class Dialect(NamedTuple):
    """How a server writes an entry: its type, its severity, and the id of the item."""

    play_ended: str
    severity: str
    id_of: Callable[[Item], str]


JELLYFIN = Dialect("VideoPlaybackStopped", "Information", lambda item: item.id)
EMBY = Dialect("playback.stop", "Info", item_number)


class ActivityEndpoints:
    """The endpoint that lists the log."""

    def __init__(self, state: SimulatorState, dialect: Dialect) -> None:
        self._state, self._dialect = state, dialect

    def entries(self, request: Request) -> Response:
        """``GET /System/ActivityLog/Entries``: the newest entries first."""
        since = binding.moment(request.query, "minDate")
        of_users = binding.boolean(request.query, "hasUserId") is not False
        found = [one for one in self._state.plays_ended if of_users and (since is None or one.at >= since)]
        found.sort(key=lambda one: (one.at, one.number), reverse=True)
        return binding.listing(request.query, found, lambda page: [self._entry(one) for one in page])

    def _entry(self, one: PlayEnded) -> dict[str, Any]:
        user = self._state.users.get(one.user_id)
        name = user.name if user is not None else "Somebody"
        return {
            "Id": one.number,
            "Name": f"{name} has finished playing {one.item.name} on a television",
            "Type": self._dialect.play_ended,
            "ItemId": self._dialect.id_of(one.item),
            "Date": binding.ticks_date(one.at),
            "UserId": one.user_id,
            "Severity": self._dialect.severity,
        }
