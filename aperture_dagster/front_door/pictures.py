"""Posters from the media server, for whoever may see the title."""

from __future__ import annotations

import functools
import re

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from aperture_dagster.front_door.gate import Gate, Visitor
from aperture_dagster.front_door.server import known_server
from aperture_dagster.media_server.posters import Posters
from aperture_dagster.postgres.database import ReadOnlyDatabase
from aperture_dagster.postgres.queries import read_value
from aperture_dagster.settings import Settings
from aperture_dagster.taste.sight import titles_in_sight

ID = re.compile(r"[A-Za-z0-9-]{1,64}")
HEADERS = {
    # Only for this browser, since others may not be allowed to see the title.
    "cache-control": "private, max-age=86400",
    "content-security-policy": "default-src 'none'",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
}


class Pictures:
    """The endpoint of posters.

    Args:
        settings: the media server.
        database: which titles there are, and who may see them.
        gate: who asks.
    """

    def __init__(self, settings: Settings, database: ReadOnlyDatabase, gate: Gate) -> None:
        self._database, self._gate = database, gate
        self._posters = Posters(functools.partial(known_server, settings, database))

    def route(self) -> Route:
        """Return the route; the placeholder is an id of the media server."""
        return Route("/pictures/{item}", self._respond, methods=["GET"])

    def _respond(self, request: Request) -> Response:
        visitor = self._gate.visitor(request.scope)
        item = request.path_params["item"]
        if visitor is None or not self._may_see(visitor, item):
            raise HTTPException(404)
        picture = self._posters.get(item)
        if picture is None:
            raise HTTPException(404)
        headers = {**HEADERS, "etag": picture.tag}
        if request.headers.get("if-none-match") == picture.tag:
            return Response(status_code=304, headers=headers)
        return Response(picture.content, 200, headers, picture.media_type)

    def _may_see(self, visitor: Visitor, item: str) -> bool:
        """Tell whether an id is that of a title in the library, and of one that the visitor may see.

        Nothing but such an id is ever sent to the server.
        """
        if not ID.fullmatch(item):
            return False
        statement = "SELECT work_id FROM present_titles WHERE server_item_id = :item"
        with self._database.connection() as connection:
            work_id = read_value(connection, statement, item=item)
            if work_id is None or visitor.is_administrator:
                return work_id is not None
            if visitor.user is None:
                return False
            seen = titles_in_sight(connection, visitor.user, [work_id]).get(work_id)
        return seen is not None and seen.server_item_id == item
