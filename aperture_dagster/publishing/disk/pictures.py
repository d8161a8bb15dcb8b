"""Posters of published titles: the server's own pictures, else TMDb's, kept in the home and drawn when needed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from aperture_dagster.files.private import FileError, write_file
from aperture_dagster.http.errors import ServiceError
from aperture_dagster.publishing.disk.desired import PictureSource

if TYPE_CHECKING:
    from pathlib import Path

    from aperture_dagster.enrichment.tmdb.images import TmdbImages
    from aperture_dagster.media_server.writer import MediaServerWriter
    from aperture_dagster.settings import Settings
    from aperture_dagster.worklist.services import MeteredService

JPEG = (b"\xff\xd8", b"\xff\xd9")
DOWNLOADS = 4


class Posters:
    """Draws posters.

    Args:
        server: has pictures of most titles.
        settings: name the home, where downloaded pictures are kept.
        tmdb_images: has those of other titles; without it, they have none.
    """

    def __init__(
        self, server: MediaServerWriter, settings: Settings, tmdb_images: MeteredService[TmdbImages] | None
    ) -> None:
        self._server, self._folder, self._tmdb = server, settings.home_path / "posters", tmdb_images

    def prepare(self, pictures: Iterable[PictureSource]) -> None:
        """Download pictures side by side; many users' lists hold the same titles."""
        wanted = {self._path(picture): picture for picture in pictures}
        missing = [one for path, one in wanted.items() if path is not None and not path.is_file()]
        with ThreadPoolExecutor(DOWNLOADS) as pool:
            for _ in pool.map(self._find, missing):
                pass

    def draw(self, picture: PictureSource) -> bytes | None:
        """Return a poster as JPEG; without a picture anywhere, it shows the title. Artwork is as it is, or None."""
        from aperture_dagster.publishing.disk.posters import draw_poster

        content = self._find(picture)
        if picture.kind != "Primary":
            return content or None
        if picture.rank is None and content is not None and (content[:2], content[-2:]) == JPEG:
            # The server has already converted it to the size of a poster.
            return content
        return draw_poster(content, title=picture.title, rank=picture.rank)

    def _path(self, picture: PictureSource) -> Path | None:
        if picture.tag is None and picture.poster_path is None:
            return None
        of = f"{picture.server_item_id} {picture.tag} {picture.poster_path} {picture.kind}"
        name = hashlib.blake2b(of.encode(), digest_size=16)
        return self._folder / f"{name.hexdigest()}.picture"

    def _find(self, picture: PictureSource) -> bytes | None:
        path = self._path(picture)
        if path is None:
            return None
        # Housekeeping may delete it at any moment.
        with suppress(FileNotFoundError):
            return path.read_bytes()
        try:
            if picture.tag is not None:
                content = self._server.picture(picture.server_item_id, picture.kind)
            elif self._tmdb is not None and self._tmdb.configured:
                with self._tmdb.open(waiting=lambda seconds: None) as client:
                    content = client.logo(picture.poster_path or "").content
            else:
                return None
        except ServiceError:
            # The list matters more; the next change of the title draws it again.
            return None
        if content:
            # Kept only so that it need not be downloaded again.
            with suppress(FileError):
                write_file(path, content)
        return content
