"""Posters and backdrops of titles that the media server does not have: from TMDb's image host, kept for a while.

The host learns which pictures are looked at here, not by whom: browsers ask us, and each picture is asked for once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from io import BytesIO

from aperture_dagster.enrichment.tmdb.images import Picture, TmdbImages
from aperture_dagster.http.pictures import KeptPicture, KeptPictures
from aperture_dagster.media_server.posters import Kind

WIDTHS: dict[Kind, int] = {"poster": 342, "backdrop": 1280}
"""Among those that the host offers (developer.themoviedb.org/docs/image-basics)."""
LARGEST_BYTES = 1_000_000
QUALITY = 80


class TmdbPosters(KeptPictures[tuple[str, Kind]]):
    """Fetches pictures by TMDb's path and kind, makes WebP of them, and keeps the last ones in memory.

    Args:
        url: address of the host.
        timeout_seconds: for connecting, and for each read.
    """

    def __init__(self, url: str, *, timeout_seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(self._request, now)
        self._url, self._seconds = url, timeout_seconds
        self._opening = threading.Lock()
        self._client: TmdbImages | None = None

    def _request(self, key: tuple[str, Kind]) -> KeptPicture:
        path, kind = key
        return KeptPicture(as_webp(self._open().of_title(path, WIDTHS[kind])), "image/webp")

    def _open(self) -> TmdbImages:
        with self._opening:
            if self._client is None:
                limits = {"timeout_seconds": self._seconds, "attempts": 1, "largest_bytes": LARGEST_BYTES}
                self._client = TmdbImages(self._url, **limits)
            return self._client


def as_webp(picture: Picture) -> bytes:
    """Return a picture, which was checked, as WebP: nothing of the original file but its pixels."""
    from PIL import Image

    content = BytesIO()
    with Image.open(BytesIO(picture.content), formats=("PNG", "JPEG")) as opened:
        opened.convert("RGB").save(content, "WEBP", quality=QUALITY, method=2)
    return content.getvalue()
