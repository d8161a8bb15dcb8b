"""The front door as one application: Dagster's UI below its path, the members' pages everywhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

OPERATE = "/operate"
"""Path of Dagster's UI, which has to be created with it: it serves, and links to, full paths."""


class FrontDoor:
    """Passes to Dagster what is below ``/operate``, and the server's start and end; to the pages everything else."""

    def __init__(self, operate: ASGIApp, pages: ASGIApp, prefix: str = "") -> None:
        self._operate, self._pages, self._path = operate, pages, f"{prefix}{OPERATE}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, WebSocket or lifespan."""
        path = scope.get("path", self._path)
        is_operators = path == self._path or path.startswith(f"{self._path}/")
        await (self._operate if is_operators else self._pages)(scope, receive, send)
