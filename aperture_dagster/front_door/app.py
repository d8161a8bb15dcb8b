"""The front door as one application: Dagster's UI below its path, the members' pages everywhere else."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aperture_dagster.front_door import (
    devices,
    evenings,
    forms,
    history,
    installable,
    pages,
    settings_page,
    sign_in,
    year,
)
from aperture_dagster.front_door.api import Api
from aperture_dagster.front_door.clients.routes import Clients
from aperture_dagster.front_door.demo import DemoNotice
from aperture_dagster.front_door.find_page import find_routes
from aperture_dagster.front_door.gate import AGAIN, NO_OPERATOR, OPERATOR_SILENCE, Gate, Refused, texts_for
from aperture_dagster.front_door.house import MOST_WAITING, House
from aperture_dagster.front_door.lanes import Lane
from aperture_dagster.front_door.rendering import NO_STORE
from aperture_dagster.postgres.errors import DatabaseError

OPERATE = "/operate"
"""Path of Dagster's UI, which has to be created with it: it serves, and links to, full paths."""
LOOK_SECONDS = 30.0
"""How often it is looked up whether who has a WebSocket open still may."""
REFUSED = 1008
# Dagster's UI gives the page of a run an icon for its status, such as `/favicon-run-failed.svg`, and forgets its path.
ICONS = re.compile(r"/favicon[\w-]*\.(svg|png|ico)")


def members_pages(house: House, *others: BaseRoute) -> Starlette:
    """Return the pages as an application, with other routes that are served beside them."""
    clients = Clients(house)
    routes = [
        *others,
        *pages.routes(house),
        *find_routes(house),
        *sign_in.routes(house),
        *devices.routes(house),
        *installable.routes(house),
        *year.routes(house),
        *forms.routes(house),
        *history.routes(house),
        *evenings.routes(house),
        *settings_page.routes(house),
        Api(house).route(),
        *clients.routes(),
    ]
    errors: Mapping[Any, Any] = {HTTPException: house.refuse}
    if house.prefix:
        # Some clients leave out the path of an address.
        routes = [Mount(house.prefix, routes=routes), *clients.routes()]
    return Starlette(routes=routes, exception_handlers=errors)


class FrontDoor:
    """Passes to Dagster what is below ``/operate``, and the server's start and end; to the pages everything else.

    Only whom the gate admits gets below ``/operate``.
    """

    def __init__(self, operate: ASGIApp, members: ASGIApp, gate: Gate, prefix: str = "") -> None:
        self._operate, self._members, self._gate = DemoNotice(operate) if gate.is_open else operate, members, gate
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
            await self._lane.run(self._gate.admit_operator, request)
        except (DatabaseError, HTTPException) as refusal:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": REFUSED})
            else:
                await self._refusal(request, refusal)(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await self._pass_socket(request, receive, send)
        else:
            await self._operate(scope, receive, send)

    async def _pass_socket(self, request: HTTPConnection, receive: Receive, send: Send) -> None:
        """Pass a WebSocket to Dagster until its visitor loses the right to it."""
        is_over, admitted_at = False, time.monotonic()
        look_at = admitted_at + LOOK_SECONDS

        async def receive_while_admitted() -> Message:
            nonlocal is_over, admitted_at, look_at
            incoming = asyncio.ensure_future(receive())
            try:
                while True:
                    await asyncio.wait({incoming}, timeout=max(0.0, look_at - time.monotonic()))
                    if time.monotonic() >= look_at:
                        is_over, admitted_at = await self._look_again(request, admitted_at)
                        look_at = time.monotonic() + LOOK_SECONDS
                    if is_over:
                        # Dagster ends its queries before the connection is closed.
                        return {"type": "websocket.disconnect", "code": REFUSED}
                    if incoming.done():
                        return incoming.result()
            finally:
                incoming.cancel()

        await self._operate(request.scope, receive_while_admitted, send)
        if is_over:
            await send({"type": "websocket.close", "code": REFUSED})

    async def _look_again(self, request: HTTPConnection, admitted_at: float) -> tuple[bool, float]:
        """Return whether a visitor has lost the right to what is open, and when they last had it for certain."""
        try:
            await self._lane.run(self._gate.admit_operator, request)
        except Refused:
            return True, admitted_at
        except (DatabaseError, HTTPException):
            # The database may be restarting, or there is too much to do.
            return time.monotonic() - admitted_at > OPERATOR_SILENCE.total_seconds(), admitted_at
        return False, time.monotonic()

    def _refusal(self, request: HTTPConnection, error: Exception) -> Response:
        status, text = (error.status_code, error.detail) if isinstance(error, Refused) else (403, NO_OPERATOR)
        if status != 401:
            return PlainTextResponse(f"{texts_for(request)(text)}\n", status, NO_STORE)
        if request.scope["method"] != "GET" or "text/html" not in request.headers.get("accept", ""):
            return PlainTextResponse("Sign in first.\n", 401, NO_STORE)
        target = sign_in.address(request.url.path, again=text == AGAIN)
        return RedirectResponse(f"{self._prefix}{target}", 303, NO_STORE)
