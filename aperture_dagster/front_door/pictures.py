"""Posters from the media server, for whoever may see the title: small, and kept for a while."""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from collections import OrderedDict
from contextlib import ExitStack
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request as PageRequest
from starlette.responses import Response
from starlette.routing import Route

from aperture_dagster.front_door.gate import Gate, Visitor
from aperture_dagster.front_door.server import known_server
from aperture_dagster.http.errors import ServiceError
from aperture_dagster.http.messages import Request
from aperture_dagster.media_server.reader import MediaServerReader
from aperture_dagster.media_server.writer import route
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.database import ReadOnlyDatabase
from aperture_dagster.postgres.queries import read_value
from aperture_dagster.settings import Settings
from aperture_dagster.taste.sight import titles_in_sight

_LOG = logging.getLogger(__name__)
WIDTH = 240
"""Pixels: three for each of the page, as on the densest screens."""
LARGEST_BYTES = 1_000_000
KEPT_BYTES = 10_000_000
MEDIA_TYPES = ("image/jpeg", "image/png", "image/webp")
"""No SVG, which can hold scripts."""
AT_ONCE = 4
ID = re.compile(r"[A-Za-z0-9-]{1,64}")
HEADERS = {
    # Only for this browser, since others may not be allowed to see the title.
    "cache-control": "private, max-age=86400",
    "content-security-policy": "default-src 'none'",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
}


class Picture(NamedTuple):
    """A picture as the server sent it."""

    content: bytes
    media_type: str

    @property
    def tag(self) -> str:
        """A name of the content, for browsers that have it."""
        return f'"{hashlib.sha256(self.content).hexdigest()[:24]}"'


class Pictures:
    """Fetches posters, and keeps the last ones in memory.

    Args:
        settings: the media server.
        database: which titles there are, and who may see them.
        gate: who asks.
    """

    def __init__(self, settings: Settings, database: ReadOnlyDatabase, gate: Gate) -> None:
        self._settings, self._database, self._gate = settings, database, gate
        self._lock, self._fetching = threading.Lock(), threading.Semaphore(AT_ONCE)
        self._kept: OrderedDict[str, Picture] = OrderedDict()
        self._opened = ExitStack()
        self._server: MediaServerReader | None = None

    def route(self) -> Route:
        """Return the route; the placeholder is an id of the media server."""
        return Route("/pictures/{item}", self._respond, methods=["GET"])

    def _respond(self, request: PageRequest) -> Response:
        visitor = self._gate.visitor(request.scope)
        item = request.path_params["item"]
        if visitor is None or not self._may_see(visitor, item):
            raise HTTPException(404)
        picture = self._picture(item)
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

    def _picture(self, item: str) -> Picture | None:
        with self._lock:
            if item in self._kept:
                self._kept.move_to_end(item)
                return self._kept[item]
        with self._fetching:
            found = self._fetch(item)
        if found is not None:
            with self._lock:
                self._kept[item] = found
                while sum(len(one.content) for one in self._kept.values()) > KEPT_BYTES:
                    self._kept.popitem(last=False)
        return found

    def _fetch(self, item: str) -> Picture | None:
        params = {"maxWidth": WIDTH, "quality": 85}
        request = Request(
            "GET", route("/Items/{}/Images/Primary", item), params=params, max_bytes=LARGEST_BYTES, repeatable=False
        )
        try:
            answer = self._open().transport.send(request)
        except (ServiceError, OperatorError) as error:
            _LOG.info("a poster is missing: %s", error)
            return None
        media_type = answer.content_type.partition(";")[0].strip()
        return Picture(answer.body, media_type) if media_type in MEDIA_TYPES else None

    def _open(self) -> MediaServerReader:
        """Open the media server at first use, and keep its connections. Raises as :func:`known_server`."""
        with self._lock:
            if self._server is None:
                self._server = self._opened.enter_context(known_server(self._settings, self._database))
            return self._server

    def close(self) -> None:
        """Close the connections to the server."""
        self._opened.close()
