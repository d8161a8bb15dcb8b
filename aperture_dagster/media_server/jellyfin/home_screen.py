"""Rows on the home screen of Jellyfin, through the HTTP interface of the plugin Home Screen Sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from aperture_dagster.http.errors import NotFound, RequestRejected, ServiceFailed
from aperture_dagster.http.messages import Request, as_object, expect, objects
from aperture_dagster.media_server.detection import PUBLIC_INFO

if TYPE_CHECKING:
    from aperture_dagster.http.transport import Transport


# Facts about it that shaped this module (2.5 on Jellyfin 10.11): a registration lasts until the server restarts, and
# the same id replaces it; it needs no key. Whenever a home screen is drawn, the server itself requests each row's
# titles from the address that was registered, and shows what it gets. A row that is registered is shown to nobody until
# the plugin's settings enable it; new rows share the order 999, in which they are shuffled, and crop posters. Whoever
# saves the settings while a row is not registered removes it from them. With the web client of Jellyfin 12 the plugin
# leaves the whole home screen empty.


NOBODY = "00000000000000000000000000000000"
PluginState = Literal["ready", "starting", "absent", "unsaved", "unsupported"]
COMPANIONS = ("File Transformation", "Plugin Pages")
"""Plugins without which it shows nothing."""
CONFIGURATION = "/Plugins/b8298e01-2697-407a-b44d-aa8dc795e850/Configuration"
UNORDERED = 999
"""The order of rows that nobody has arranged."""
FIRST_UNSUPPORTED = 12


def configured(settings: Mapping[str, Any], row_ids: Sequence[str]) -> dict[str, Any] | None:
    """Return the plugin's settings with rows that are enabled, arranged and upright; None if they need no change.

    Rows that somebody has arranged stay as they are, and so does everything else.
    """
    sections = [*objects(settings.get("SectionSettings"))]
    arranged = {section.get("SectionId") for section in sections if section.get("OrderIndex", UNORDERED) != UNORDERED}
    missing = [row_id for row_id in row_ids if row_id not in arranged]
    if not missing:
        return None
    orders = [section.get("OrderIndex") for section in sections if section.get("SectionId") in arranged]
    last = max((order for order in orders if isinstance(order, int)), default=0)
    before = {section.get("SectionId"): section for section in sections}
    ours = {
        row_id: {
            **before.get(row_id, {"HideWatchedItems": False}),
            "SectionId": row_id,
            "Enabled": True,
            "AllowUserOverride": True,
            "LowerLimit": 1,
            "UpperLimit": 1,
            "OrderIndex": last + place,
            "ViewMode": "Portrait",
        }
        for place, row_id in enumerate(missing, start=1)
    }
    kept = [ours.pop(str(section.get("SectionId")), section) for section in sections]
    return {**settings, "SectionSettings": [*kept, *ours.values()]}


class HomeScreen:
    """The plugin of a server, over the server's transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def state(self) -> PluginState:
        """Return whether rows can be shown; until it is saved, they can be registered only. Raises ServiceError."""
        try:
            answer = self._transport.send(Request("GET", "/HomeScreen/Ready", accept=(503,), repeatable=False))
        except NotFound:
            return "absent"
        if answer.status == 503:
            return "starting"
        version = str(as_object(self._transport.get_json(PUBLIC_INFO)).get("Version") or "")
        major = version.partition(".")[0]
        if major.isdecimal() and int(major) >= FIRST_UNSUPPORTED:
            return "unsupported"
        request = Request("GET", "/HomeScreen/Sections", params={"userId": NOBODY}, accept=(500,), repeatable=False)
        return "unsaved" if self._transport.send(request).status == 500 else "ready"

    def missing_companions(self) -> list[str]:
        """Return which plugins the server lacks without which this one shows nothing."""
        names = {plugin.get("Name") for plugin in objects(self._transport.get_json("/Plugins"))}
        return [name for name in COMPANIONS if name not in names]

    def configure(self, row_ids: Sequence[str]) -> bool:
        """Enable and arrange rows that are registered, unless they are already; tell whether anything was changed."""
        settings = expect(self._transport.get_json(CONFIGURATION), dict, "the settings of Home Screen Sections")
        changed = configured(settings, row_ids)
        if changed is None:
            return False
        self._transport.send(Request("POST", CONFIGURATION, json=changed, repeatable=False))
        return True

    def is_on(self) -> bool:
        """Tell whether members have the plugin's home screen without turning it on themselves."""
        return as_object(self._transport.get_json("/HomeScreen/Meta")).get("Enabled") is True

    def sections(self, user_id: str) -> list[str]:
        """Return the ids of the rows that a user's home screen consists of."""
        request = Request("GET", "/HomeScreen/Sections", params={"userId": user_id}, repeatable=False)
        items = as_object(self._transport.send(request).json()).get("Items")
        return [str(section.get("Section")) for section in objects(items)]

    def register(self, row_id: str, text: str, endpoint: str) -> None:
        """Register a row, or replace the one with this id.

        Args:
            row_id: unique on the server, without spaces.
            text: the heading, which every user sees.
            endpoint: address from which the server will request the titles; not repeated in any message.
        """
        self._transport.hide(endpoint)
        body = {"id": row_id, "displayText": text, "limit": 1, "route": None, "additionalData": row_id}
        body |= {"resultsEndpoint": endpoint}
        self._transport.send(Request("POST", "/HomeScreen/RegisterSection", json=body, repeatable=True))

    def shown(self, row_id: str, user_id: str) -> list[str]:
        """Return the names of the titles that a user is shown in a row; none of a row that is not registered."""
        request = Request("GET", f"/HomeScreen/Section/{row_id}", params={"userId": user_id}, repeatable=False)
        try:
            found = as_object(self._transport.send(request).json())
        except (NotFound, RequestRejected, ServiceFailed):
            return []
        items: Any = found.get("Items") or []
        return [str(item.get("Name")) for item in items if isinstance(item, dict)]
