"""Rows on the home screen of Jellyfin, through the HTTP interface of the plugin Home Screen Sections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from aperture_dagster.http.errors import NotFound, RequestRejected, ServiceFailed
from aperture_dagster.http.messages import Request, as_object

if TYPE_CHECKING:
    from aperture_dagster.http.transport import Transport


# Facts about it that shaped this module (2.5 on Jellyfin 10.11): a registration lasts until the server restarts, and
# the same id replaces it; it needs no key. Whenever a home screen is drawn, the server itself requests each row's
# titles from the address that was registered, and shows what it gets.


PluginState = Literal["ready", "starting", "absent"]


class HomeScreen:
    """The plugin of a server, over the server's transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def state(self) -> PluginState:
        """Return whether rows can be registered. Raises ServiceError if the server does not answer."""
        try:
            answer = self._transport.send(Request("GET", "/HomeScreen/Ready", accept=(503,), repeatable=False))
        except NotFound:
            return "absent"
        return "starting" if answer.status == 503 else "ready"

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
