"""The pictures of The Movie Database: logos of companies and networks.

Its habits that shaped this file: no key and no stated limit; a size is a part of the path, and a drawing (SVG) is to be
had only as it is; what comes under a name need not be what the name says.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from aperture_dagster.library.pictures import NotAPicture, PictureKind, examine
from aperture_dagster.resources.client import ServiceClient
from aperture_dagster.resources.errors import BadAnswer
from aperture_dagster.resources.rate_limit import Pacer
from aperture_dagster.resources.transport import Transport

LOGO_SIZE = "w500"
DRAWING_SIZE = "original"
LARGEST_BYTES = 5_000_000
# One name, as TMDb gives it: nothing that leads to another place of the host, or to another host.
_PATH = re.compile(r"/[A-Za-z0-9_-]{1,100}(?:\.[A-Za-z0-9_-]{1,20}){1,3}")


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as it came, and what it is by its content; sides in pixels, None for a drawing without a size."""

    content: bytes
    kind: PictureKind
    media_type: str
    sha256: str
    width: int | None
    height: int | None


class TmdbImages(ServiceClient):
    """TMDb's pictures over HTTP.

    Args:
        transport: to the address of the pictures, with the limit if there is one.
        largest_bytes: of a picture; one that is larger is left.
    """

    def __init__(self, transport: Transport, *, largest_bytes: int = LARGEST_BYTES) -> None:
        super().__init__(transport)
        self._largest_bytes = largest_bytes

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        pacer: Pacer | None = None,
        concurrency: int = 4,
        largest_bytes: int = LARGEST_BYTES,
        attempts: int = 5,
        first_wait_seconds: float = 0.5,
        timeout_seconds: float = 30,
    ) -> TmdbImages:
        """A client; no key is needed."""
        transport = Transport(
            "TMDb's pictures",
            url,
            headers={"Accept": "image/png, image/jpeg, image/svg+xml"},
            pacer=pacer,
            connections=concurrency,
            attempts=attempts,
            first_wait_seconds=first_wait_seconds,
            timeout_seconds=timeout_seconds,
            address_setting="APERTURE_TMDB_IMAGE_URL",
        )
        return cls(transport, largest_bytes=largest_bytes)

    def logo(self, path: str) -> Picture:
        """A logo by the path that TMDb gives for it, as ``/name.png``: 500 pixels wide at most, drawings as they are.

        Raises:
            NotFound: there is no such picture (any more).
            BadAnswer: what came is no picture, or larger than allowed; or ``path`` is none, and nothing was asked.
            ServiceUnavailable, ServiceRefused, RequestRejected: see :class:`Transport`.
        """
        if not _PATH.fullmatch(path):
            raise BadAnswer(f"TMDb's pictures: {path[:100]!r} is no path of a picture, and was not asked for")
        size = DRAWING_SIZE if path.lower().endswith(".svg") else LOGO_SIZE
        content = self.transport.request("GET", f"/{size}{path}", max_bytes=self._largest_bytes).body
        try:
            facts = examine(content)
        except NotAPicture as error:
            raise BadAnswer(f"TMDb's pictures: {path} was not taken: {error}") from None
        return Picture(
            content=content,
            kind=facts.kind,
            media_type=facts.media_type,
            sha256=hashlib.sha256(content).hexdigest(),
            width=facts.width,
            height=facts.height,
        )
