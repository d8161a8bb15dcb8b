"""Posters of the media server: small, and kept for a while."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import NamedTuple

from aperture_dagster.http.errors import BadAnswer, NotFound, ServiceError, ServiceFailed, ServiceUnavailable
from aperture_dagster.http.messages import Request
from aperture_dagster.media_server.reader import MediaServerReader
from aperture_dagster.media_server.writer import route
from aperture_dagster.model.errors import OperatorError

_LOG = logging.getLogger(__name__)
WIDTH = 240
"""Pixels: three for each of a page, as on the densest screens."""
LARGEST_BYTES = 1_000_000
KEPT_BYTES = 10_000_000
CONTENT_TYPES = ("image/jpeg", "image/png", "image/webp")
"""No SVG, which can hold scripts."""
MISSING_SECONDS = 3600.0
"""How long a title without a poster is not asked for again."""
SILENT_SECONDS = 30.0
"""How long nothing is asked of a server that did not answer in time, and a poster that it could not send."""
MOST_MISSING = 5_000


class Poster(NamedTuple):
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

    def __init__(
        self,
        open_server: Callable[[], AbstractContextManager[MediaServerReader]],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_server, self._now = open_server, now
        self._lock, self._opening = threading.Lock(), threading.Lock()
        self._kept: OrderedDict[str, Poster] = OrderedDict()
        self._missing: OrderedDict[str, float] = OrderedDict()
        self._silent_until = -SILENT_SECONDS
        self._opened = ExitStack()
        self._server: MediaServerReader | None = None

    def kept(self, item: str) -> Poster | None:
        """Return the poster of an item if it is in memory."""
        with self._lock:
            if item in self._kept:
                self._kept.move_to_end(item)
            return self._kept.get(item)

    def is_missing(self, item: str) -> bool:
        """Tell whether the server had no poster of an item, or did not answer, a moment ago."""
        return self._now() < max(self._silent_until, self._missing.get(item, self._silent_until))

    def get(self, item: str) -> Poster | None:
        """Return the poster of an item by its id; None if the server has no poster or does not answer."""
        found = self.kept(item)
        if found is not None or self.is_missing(item):
            return found
        try:
            found, again_after = self._fetch(item), MISSING_SECONDS
        except (NotFound, BadAnswer):
            again_after = MISSING_SECONDS
        except (ServiceError, OperatorError) as error:
            _LOG.info("a poster is missing: %s", error)
            again_after = SILENT_SECONDS
            if isinstance(error, ServiceUnavailable) and not isinstance(error, ServiceFailed):
                # Others would wait as long.
                self._silent_until = self._now() + SILENT_SECONDS
        with self._lock:
            if found is None:
                self._missing[item] = self._now() + again_after
                while len(self._missing) > MOST_MISSING:
                    self._missing.popitem(last=False)
                return None
            self._kept[item] = found
            while sum(len(one.content) for one in self._kept.values()) > KEPT_BYTES:
                self._kept.popitem(last=False)
        return found

    def _fetch(self, item: str) -> Poster | None:
        params = {"maxWidth": WIDTH, "quality": 85}
        request = Request(
            "GET", route("/Items/{}/Images/Primary", item), params=params, max_bytes=LARGEST_BYTES, repeatable=False
        )
        answer = self._open().transport.send(request)
        media_type = answer.content_type.partition(";")[0].strip()
        return Poster(answer.body, media_type) if media_type in CONTENT_TYPES else None

    def _open(self) -> MediaServerReader:
        with self._opening:
            if self._server is None:
                if self._now() < self._silent_until:
                    raise ServiceUnavailable("the media server did not answer another thread")
                self._server = self._opened.enter_context(self._open_server())
            return self._server
