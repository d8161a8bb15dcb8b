"""The front door as one application: Dagster's UI below its path, the members' pages everywhere else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from aperture_dagster.front_door import forms, pages, sign_in
from aperture_dagster.front_door.api import Api
from aperture_dagster.front_door.gate import Gate, texts_for
from aperture_dagster.front_door.house import MOST_WAITING, NO_STORE, House
from aperture_dagster.front_door.lanes import Lane
from aperture_dagster.postgres.errors import DatabaseError

OPERATE = "/operate"
"""Path of Dagster's UI, which has to be created with it: it serves, and links to, full paths."""
# Dagster's UI gives the page of a run an icon for its status, such as `/favicon-run-failed.svg`, and forgets its path.
ICONS = re.compile(r"/favicon[\w-]*\.(svg|png|ico)")


def members_pages(house: House, *others: BaseRoute) -> Starlette:
    """Return the pages as an application, with other routes that are served beside them."""
    routes = [*others, *pages.routes(house), *sign_in.routes(house), *forms.routes(house), Api(house).route()]
    errors: Mapping[Any, Any] = {HTTPException: house.refuse}
    return Starlette(routes=[Mount(house.prefix, routes=routes)] if house.prefix else routes, exception_handlers=errors)


class FrontDoor:
    """Passes to Dagster what is below ``/operate``, and the server's start and end; to the pages everything else.

    Only whom the gate admits gets below ``/operate``.
    """

    def __init__(self, operate: ASGIApp, members: ASGIApp, gate: Gate, prefix: str = "") -> None:
        self._operate, self._members, self._gate = operate, members, gate
        self._prefix, self._path = prefix, f"{prefix}{OPERATE}"
        self._lane = Lane(4, waiting=MOST_WAITING)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, WebSocket or lifespan."""
        if scope["type"] not in ("http", "websocket"):
            await self._operate(scope, receive, send)
            return
        if scope["type"] == "http" and ICONS.fullmatch(scope["path"]):
            await RedirectResponse(f"{self._path}{scope['path']}")(scope, receive, send)
            return
        if not f"{scope['path']}/".startswith(f"{self._path}/"):
            await self._members(scope, receive, send)
            return
        request = HTTPConnection(scope)
        try:
            admitted = await self._lane.run(self._gate.operates, request)
        except (DatabaseError, HTTPException):
            admitted = False
        if admitted:
            await self._operate(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._refusal(request, is_known=admitted is not None)(scope, receive, send)

    def _refusal(self, request: HTTPConnection, *, is_known: bool) -> Response:
        if is_known:
            _ = texts_for(request)
            text = _("The operator's pages are for administrators of the media server.")
            return PlainTextResponse(f"{text}\n", 403, NO_STORE)
        if request.scope["method"] != "GET" or "text/html" not in request.headers.get("accept", ""):
            return PlainTextResponse("Sign in first.\n", 401, NO_STORE)
        return RedirectResponse(f"{self._prefix}{sign_in.address(request.url.path)}", 303, NO_STORE)
