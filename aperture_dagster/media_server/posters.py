"""Posters and backdrops of the media server: as small as pages need them, and kept for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Literal

from aperture_dagster.http.errors import ServiceUnavailable
from aperture_dagster.http.messages import Request
from aperture_dagster.http.pictures import KeptPicture, KeptPictures
from aperture_dagster.media_server.reader import MediaServerReader
from aperture_dagster.media_server.writer import route

Kind = Literal["poster", "backdrop"]
SHAPES: dict[Kind, tuple[str, int]] = {"poster": ("Primary", 360), "backdrop": ("Backdrop", 1280)}
"""The server's name of each kind, and the width in pixels: two for each of a page, as on most phones."""
LARGEST_BYTES = 1_000_000
CONTENT_TYPES = ("image/jpeg", "image/png", "image/webp")
"""No SVG, which can hold scripts. A server that cannot make WebP sends what it has."""


class Posters(KeptPictures[tuple[str, Kind]]):
    """Fetches pictures of items by id and kind, and keeps the last ones in memory.

    Args:
        open_server: opens the media server, at first use.
    """

    def __init__(
        self,
        open_server: Callable[[], AbstractContextManager[MediaServerReader]],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(self._request, now)
        self._open_server, self._opening = open_server, threading.Lock()
        self._opened = ExitStack()
        self._server: MediaServerReader | None = None

    def _request(self, key: tuple[str, Kind]) -> KeptPicture | None:
        item, kind = key
        name, width = SHAPES[kind]
        request = Request(
            "GET",
            route(f"/Items/{{}}/Images/{name}", item),
            params={"maxWidth": width, "quality": 80, "format": "Webp"},
            max_bytes=LARGEST_BYTES,
            repeatable=False,
        )
        answer = self._open().transport.send(request)
        media_type = answer.content_type.partition(";")[0].strip()
        return KeptPicture(answer.body, media_type) if media_type in CONTENT_TYPES else None

    def _open(self) -> MediaServerReader:
        with self._opening:
            if self._server is None:
                if self.is_silent:
                    raise ServiceUnavailable("the media server did not answer another thread")
                self._server = self._opened.enter_context(self._open_server())
            return self._server
