"""The plugin Home Screen Sections, version 2.5: rows that other programs register, and their titles.

The server requests the titles from the program, without credentials. Registrations are lost when the server restarts.
"""

from __future__ import annotations

import json
import urllib.request
import uuid
from typing import Any

from starlette.responses import Response

from aperture_dagster.simulator.jellyfin.access import Access, json_object
from aperture_dagster.simulator.jellyfin.binding import NotFoundError
from aperture_dagster.simulator.responses import JSONResponse
from aperture_dagster.simulator.service import Operation, Request, refuse_other_fields

PLUGIN = "Home Screen Sections"
_FIELDS = ("id", "displayText", "limit", "route", "additionalData", "resultsEndpoint")
_SECONDS = 5.0


class HomeScreenEndpoints:
    """Endpoints of the plugin. They need no key."""

    def __init__(self, access: Access) -> None:
        self._access, self._state = access, access.state

    def operations(self) -> list[Operation]:
        """Return the operations: none if the plugin is not installed."""
        if PLUGIN not in self._state.settings.plugins:
            return []
        return [
            Operation("GET", "/HomeScreen/Ready", self.ready, public=True),
            Operation("POST", "/HomeScreen/RegisterSection", self.register, public=True),
            Operation("GET", "/HomeScreen/Section/{row_id}", self.section, ("userId",), public=True),
        ]

    def ready(self, request: Request) -> Response:
        """``GET /HomeScreen/Ready``: 503 while it starts."""
        return Response(status_code=200 if self._state.home_rows is not None else 503)

    def register(self, request: Request) -> Response:
        """``POST /HomeScreen/RegisterSection``: the same id replaces a row."""
        row = json_object(request)
        refuse_other_fields(row, _FIELDS, "a section")
        if self._state.home_rows is None:
            return Response(status_code=503)
        self._state.home_rows[row["id"]] = row
        return Response(status_code=200)

    def section(self, request: Request, row_id: str) -> Response:
        """``GET /HomeScreen/Section/{row_id}``: what the registered program answers."""
        user = self._access.required_user(request)
        row = (self._state.home_rows or {}).get(row_id)
        if row is None:
            raise NotFoundError(row_id)
        return JSONResponse(self._titles(row, user.id))

    def _titles(self, row: dict[str, Any], user_id: str) -> dict[str, Any]:
        body = {"UserId": str(uuid.UUID(user_id)), "AdditionalData": row["additionalData"]}
        headers = {"Content-Type": "application/json"}
        asked = urllib.request.Request(row["resultsEndpoint"], json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(asked, timeout=_SECONDS) as answer:
                found = json.load(answer)
        except (OSError, ValueError):
            found = {"Items": [], "TotalRecordCount": 0, "StartIndex": 0}
        return found
