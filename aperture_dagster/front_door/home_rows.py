"""Rows on the media server's home screen: the answers to its requests.

The server requests a row's titles while it draws somebody's home screen, without credentials. So the address holds a
key, the answer comes from stored lists alone, and any trouble is an empty row. The plugin sends one address for all
members, so a key cannot be one member's; it is one row's instead, and changes every day.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from datetime import date, timedelta
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from aperture_dagster.front_door.house import read_body
from aperture_dagster.front_door.lanes import Lane
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import ReadOnlyDatabase
from aperture_dagster.publishing.server.home_rows import ROWS, Row, row_items
from aperture_dagster.settings import Settings

_LOG = logging.getLogger(__name__)
PATH = "/home-rows/{key}/{row}"
LARGEST_REQUEST = 10_000
EMPTY: dict[str, Any] = {"Items": [], "TotalRecordCount": 0, "StartIndex": 0}


class HomeRows:
    """Answers the server's requests; the keys in their addresses follow from ``secret``."""

    def __init__(self, settings: Settings, database: ReadOnlyDatabase, secret: str, clock: Clock | None = None) -> None:
        self._settings, self._database, self._secret = settings, database, secret
        self._clock, self._lane = clock or Clock(), Lane(4, waiting=100)
        self.answered = 0
        """Requests with a key of today so far, which show that the server knows the rows and reaches them."""

    def path(self, row_id: str) -> str:
        """Return the path of a row, which is valid today and tomorrow."""
        return PATH.format(key=self._key(row_id, self._clock.now().date()), row=row_id)

    def route(self) -> Route:
        """Return the route of the rows."""
        return Route(PATH, self._respond, methods=["POST"])

    async def _respond(self, request: Request) -> Response:
        try:
            return JSONResponse(await self._titles(request))
        except HTTPException as error:
            # For anything but JSON the server shows an error, and with any status an empty row.
            return JSONResponse(EMPTY, error.status_code)

    async def _titles(self, request: Request) -> dict[str, Any]:
        given, row_id = request.path_params["key"].encode(), request.path_params["row"]
        row, today = next((one for one in ROWS if one.row_id == row_id), None), self._clock.now().date()
        is_current, was_current = (
            hmac.compare_digest(given, self._key(row_id, day).encode()) for day in (today, today - timedelta(days=1))
        )
        if row is None or not (is_current or was_current):
            raise HTTPException(404)
        # A server that still uses yesterday's key has to be told today's.
        self.answered += is_current
        body = await read_body(request, LARGEST_REQUEST)
        return EMPTY if body is None else await self._lane.run(self.answer, row, body)

    def _key(self, row_id: str, day: date) -> str:
        return hmac.new(self._secret.encode(), f"{row_id} {day}".encode(), hashlib.sha256).hexdigest()

    def answer(self, row: Row, body: bytes) -> dict[str, Any]:
        """Return what a user sees in a row; empty if the request is malformed, or on any trouble."""
        try:
            asking = json.loads(body)["UserId"]
            with self._database.connection() as connection:
                items = row_items(connection, row, asking, self._settings, self._clock.now())
        except Exception as error:
            # The server would show an error instead of somebody's home screen.
            _LOG.warning("the row %s is empty: %s", row.row_id, error)
            return EMPTY
        return EMPTY | {"Items": items, "TotalRecordCount": len(items)}
