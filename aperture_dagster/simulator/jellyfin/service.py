"""Shared parts of the media server stand-ins: the key check, and the longest request."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.responses import Response

from aperture_dagster.simulator.jellyfin.access import Access
from aperture_dagster.simulator.service import Operation, Request, StandIn
from aperture_dagster.simulator.state import SimulatorState

_LONGEST_REQUEST_LINE = 8192


class MediaServer(StandIn):
    """A media server over a state."""

    parameters = ("ApiKey", "api_key")
    ignore_case = True

    def __init__(self, state: SimulatorState, access: Access, server_id: str, operations: Iterable[Operation]) -> None:
        super().__init__(state, operations)
        self._access = access
        self._server_id = server_id

    def refuse(self, request: Request, operation: Operation | None) -> Response | None:
        """Refuse requests that are too long or lack the key. Paths that are not modelled are 501 with or without it."""
        if len(f"{request.method} {request.target} HTTP/1.1\r\n") > _LONGEST_REQUEST_LINE:
            return Response(status_code=414)
        if operation is None or operation.public or not operation.is_modelled or self._access.authorized(request):
            return None
        return self.refusal(401)

    def check(self, operation: Operation | None, request: Request) -> None:
        """Raise Unmodelled for a request of somebody whose rights are not modelled."""
        if operation is not None and not operation.public:
            self._access.require_modelled(request)

    def unknown(self, request: Request) -> Response:
        """Answer 404 for files of the web client and for a plugin that is not installed, which are not in the API."""
        is_no_part = request.path.lower().startswith(("/web/", "/homescreen/"))
        return self.refusal(404) if is_no_part else super().unknown(request)

    def refusal(self, status: int) -> Response:
        """Return the response to a request without the key (401), or for a file that does not exist (404)."""
        return self.error(status)
