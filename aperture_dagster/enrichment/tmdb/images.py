"""The image host of The Movie Database: logos of companies and networks, posters and backdrops of titles.

It needs no key and states no limit; the size is a part of the path. A logo whose original is an SVG can be requested
as a PNG (developer.themoviedb.org/docs/image-basics), which is what media servers display.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aperture_dagster.http.client import ServiceClient
from aperture_dagster.http.errors import BadAnswer
from aperture_dagster.http.messages import Request

if TYPE_CHECKING:
    from aperture_dagster.enrichment.pictures import PictureFacts

LOGO_SIZE = "w500"
LARGEST_BYTES = 5_000_000
# One file name, as TMDb writes it: nothing that leads to another path or another host.
_PATH = re.compile(r"/[A-Za-z0-9_-]{1,100}(?:\.[A-Za-z0-9_-]{1,20}){1,3}")
# As TMDb names posters and backdrops.
_TITLE_PATH = re.compile(r"/[A-Za-z0-9]{1,100}\.jpg")
_SVG = re.compile(r"\.svg$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as downloaded, and what it is by its content."""

    content: bytes
    facts: PictureFacts

    @property
    def sha256(self) -> str:
        """The checksum of the content."""
        return hashlib.sha256(self.content).hexdigest()


class TmdbImages(ServiceClient):
    """TMDb's image host. Larger pictures than ``largest_bytes`` are refused; ``options`` go to the transport."""

    def __init__(self, url: str, *, largest_bytes: int = LARGEST_BYTES, **options: Any) -> None:
        super().__init__(
            "TMDb's pictures",
            url,
            headers={"Accept": "image/png, image/jpeg"},
            address_setting="APERTURE_TMDB_IMAGE_URL",
            **options,
        )
        self._largest_bytes = largest_bytes

    def logo(self, path: str) -> Picture:
        """Download a logo, at most 500 pixels wide. ``path`` is the one that TMDb's API returns, such as ``/name.png``.

        Raises:
            NotFound: the host has no such picture.
            BadAnswer: the answer is not a picture, or too large, or ``path`` is not a file name (no request is sent).
            ServiceUnavailable, ServiceRefused, RequestRejected: see :class:`Transport`.
        """
        if not _PATH.fullmatch(path):
            raise _refused(path)
        return self._picture(f"/{LOGO_SIZE}{_SVG.sub('.png', path)}")

    def of_title(self, path: str, width: int) -> Picture:
        """Download a poster or backdrop. ``width`` is one that the host offers; raises as :meth:`logo`."""
        if not _TITLE_PATH.fullmatch(path):
            raise _refused(path)
        return self._picture(f"/w{width}{path}")

    def _picture(self, path: str) -> Picture:
        from aperture_dagster.enrichment.pictures import NotAPicture, check_picture

        content = self.transport.send(Request("GET", path, max_bytes=self._largest_bytes)).body
        try:
            return Picture(content, check_picture(content))
        except NotAPicture as error:
            raise BadAnswer(f"TMDb's pictures: {path} was rejected: {error}") from None


def _refused(path: str) -> BadAnswer:
    return BadAnswer(f"TMDb's pictures: {path[:100]!r} is not the path of a picture; it was not requested")
