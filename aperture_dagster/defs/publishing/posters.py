"""Posters of published titles: the server's own pictures, else TMDb's, kept in the home and drawn when needed."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

from aperture_dagster.publishing.plan import Picture
from aperture_dagster.resources.errors import ServiceError
from aperture_dagster.storage.files import write_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aperture_dagster.resources.media_server.writer import MediaServerWriter

KEPT_IN_MEMORY = 64


class Posters:
    """Draws posters.

    Args:
        server: has pictures of most titles.
        folder: where downloaded pictures are kept.
        fetch_from_tmdb: downloads a picture by TMDb's path; None if it is not there.
    """

    def __init__(self, server: MediaServerWriter, folder: Path, fetch_from_tmdb: Callable[[str], bytes | None]) -> None:
        self._server, self._folder, self._fetch_from_tmdb = server, folder, fetch_from_tmdb
        # Many users' lists hold the same titles.
        self._draw = lru_cache(KEPT_IN_MEMORY)(self._draw_one)

    def draw(self, picture: Picture) -> bytes:
        """Return a poster as JPEG; without a picture anywhere, it shows the title."""
        return self._draw(picture)

    def _draw_one(self, picture: Picture) -> bytes:
        from aperture_dagster.publishing.posters import draw_poster

        return draw_poster(self._find(picture), title=picture.title, rank=picture.rank)

    def _find(self, picture: Picture) -> bytes | None:
        if picture.tag is None and picture.poster_path is None:
            return None
        name = hashlib.blake2b(f"{picture.server_item_id} {picture.tag} {picture.poster_path}".encode(), digest_size=16)
        path = self._folder / f"{name.hexdigest()}.picture"
        if path.is_file():
            return path.read_bytes()
        try:
            if picture.tag is not None:
                content = self._server.picture(picture.server_item_id)
            else:
                content = self._fetch_from_tmdb(picture.poster_path or "")
        except ServiceError:
            # The list matters more; the next change of the title draws it again.
            return None
        if content:
            write_file(path, content)
        return content
