"""Posters of the media server: small, and kept for a while."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import NamedTuple

from aperture_dagster.http.errors import ServiceError
from aperture_dagster.http.messages import Request
from aperture_dagster.media_server.reader import MediaServerReader
from aperture_dagster.media_server.writer import route
from aperture_dagster.model.errors import OperatorError

_LOG = logging.getLogger(__name__)
WIDTH = 240
"""Pixels: three for each of a page, as on the densest screens."""
LARGEST_BYTES = 1_000_000
KEPT_BYTES = 10_000_000
MEDIA_TYPES = ("image/jpeg", "image/png", "image/webp")
"""No SVG, which can hold scripts."""
AT_ONCE = 4


class Picture(NamedTuple):
    """A picture as the server sent it."""

    content: bytes
    media_type: str

    @property
    def tag(self) -> str:
        """A name of the content, for browsers that have it."""
        return f'"{hashlib.sha256(self.content).hexdigest()[:24]}"'


class Posters:
    """Fetches posters, and keeps the last ones in memory.

    Args:
        open_server: opens the media server, at first use.
    """

    def __init__(self, open_server: Callable[[], AbstractContextManager[MediaServerReader]]) -> None:
        self._open_server = open_server
        self._lock, self._fetching = threading.Lock(), threading.Semaphore(AT_ONCE)
        self._kept: OrderedDict[str, Picture] = OrderedDict()
        self._opened = ExitStack()
        self._server: MediaServerReader | None = None

    def get(self, item: str) -> Picture | None:
        """Return the poster of an item by its id; None if there is none, or the server does not answer."""
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
        with self._lock:
            if self._server is None:
                self._server = self._opened.enter_context(self._open_server())
            return self._server
