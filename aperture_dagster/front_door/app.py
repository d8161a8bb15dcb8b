"""The front door as one application: Dagster's UI below its path, the members' pages everywhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, RedirectResponse

from aperture_dagster.front_door.gate import Gate, header_of
from aperture_dagster.front_door.language import texts_for
from aperture_dagster.postgres.errors import DatabaseError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

OPERATE = "/operate"
"""Path of Dagster's UI, which has to be created with it: it serves, and links to, full paths."""
NO_STORE = {"cache-control": "no-store"}


class FrontDoor:
    """Passes to Dagster what is below ``/operate``, and the server's start and end; to the pages everything else.

    Only whom the gate admits gets below ``/operate``.
    """

    def __init__(self, operate: ASGIApp, pages: ASGIApp, gate: Gate, prefix: str = "") -> None:
        self._operate, self._pages, self._gate = operate, pages, gate
        self._prefix, self._path = prefix, f"{prefix}{OPERATE}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, WebSocket or lifespan."""
        if scope["type"] not in ("http", "websocket"):
            await self._operate(scope, receive, send)
            return
        path = scope["path"]
        if path != self._path and not path.startswith(f"{self._path}/"):
            await self._pages(scope, receive, send)
            return
        try:
            admitted = await run_in_threadpool(self._gate.operates, scope)
        except DatabaseError:
            admitted = False
        if admitted:
            await self._operate(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._refusal(scope, admitted)(scope, receive, send)

    def _refusal(self, scope: Scope, admitted: bool | None) -> ASGIApp:
        if admitted is not None:
            _ = texts_for(scope)
            text = _("The operator's pages are for administrators of the media server.")
            return PlainTextResponse(f"{text}\n", 403, NO_STORE)
        if scope["method"] != "GET" or "text/html" not in header_of(scope, b"accept"):
            return PlainTextResponse("Sign in first.\n", 401, NO_STORE)
        wanted = quote(scope["path"], safe="/")
        return RedirectResponse(f"{self._prefix}/sign-in?next={quote(wanted, safe='')}", 303, NO_STORE)
