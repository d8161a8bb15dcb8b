"""Posters of published titles: the server's own pictures, else TMDb's, kept in the home and drawn when needed."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperture_dagster.enrichment.queries import note_shown, stored_logos
from aperture_dagster.files.private import FileError, write_file
from aperture_dagster.http.errors import NotFound, RequestRejected, ServiceError
from aperture_dagster.model import Progress
from aperture_dagster.publishing.disk.plan import Picture

if TYPE_CHECKING:
    from pathlib import Path

    from aperture_dagster.enrichment.queries import StoredLogo
    from aperture_dagster.enrichment.tmdb import TmdbImages
    from aperture_dagster.media_server.records import ServerStudio
    from aperture_dagster.media_server.writer import MediaServerWriter
    from aperture_dagster.postgres.database import Database
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

    def prepare(self, pictures: Iterable[Picture]) -> None:
        """Download pictures side by side; many users' lists hold the same titles."""
        wanted = {self._path(one): one for one in pictures}
        missing = [one for path, one in wanted.items() if path is not None and not path.is_file()]
        with ThreadPoolExecutor(DOWNLOADS) as pool:
            for _ in pool.map(self._find, missing):
                pass

    def draw(self, picture: Picture) -> bytes | None:
        """Return a poster as JPEG; without a picture anywhere, it shows the title. Artwork is as it is, or None."""
        from aperture_dagster.publishing.disk.posters import draw_poster

        content = self._find(picture)
        if picture.kind != "Primary":
            return content or None
        if picture.rank is None and content is not None and (content[:2], content[-2:]) == JPEG:
            # The server has already converted it to the size of a poster.
            return content
        return draw_poster(content, title=picture.title, rank=picture.rank)

    def _path(self, picture: Picture) -> Path | None:
        if picture.tag is None and picture.poster_path is None:
            return None
        of = f"{picture.server_item_id} {picture.tag} {picture.poster_path} {picture.kind}"
        name = hashlib.blake2b(of.encode(), digest_size=16)
        return self._folder / f"{name.hexdigest()}.picture"

    def _find(self, picture: Picture) -> bytes | None:
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


# Studio logos as the studios' pictures on the media server.


@dataclass(frozen=True, slots=True)
class ShownPictures:
    """The studios on the server, those whose picture was set, and those whose picture it did not accept."""

    studios: list[ServerStudio]
    changed: list[str]
    missing: list[str]


def show_pictures(writer: MediaServerWriter, database: Database, folder: Path, log: logging.Logger) -> ShownPictures:
    """Set the pictures of studios; ``folder`` holds the logos."""
    studios, changes = _compare(writer, database)
    changed = []
    progress = Progress(log, "studio pictures", len(changes))
    for studio, logo in changes:
        try:
            content = (folder / logo.file_name).read_bytes()
            writer.set_picture(studio.server_item_id, content, f"image/{logo.picture_kind}")
        except (NotFound, RequestRejected, FileNotFoundError) as error:
            # A lost file is downloaded again by the next run of the logos.
            log.warning(f"{studio.name}: {error}")
            continue
        with database.transaction() as connection:
            note_shown(connection, logo)
        changed.append(studio.name)
        progress.add()
    if changes:
        studios, changes = _compare(writer, database)
    return ShownPictures(studios, changed, [studio.name for studio, _ in changes])


def _compare(
    writer: MediaServerWriter, database: Database
) -> tuple[list[ServerStudio], list[tuple[ServerStudio, StoredLogo]]]:
    """Return the studios on the server, and the pictures that should be set."""
    studios = [studio for page in writer.reader.studios() for studio in page]
    with database.transaction() as connection:
        return studios, plan_pictures(studios, stored_logos(connection))


def plan_pictures(
    studios: Iterable[ServerStudio], logos: Iterable[StoredLogo]
) -> list[tuple[ServerStudio, StoredLogo]]:
    """Return the pictures to set: for studios without one, and for those that have an older one of ours.

    A picture that the operator chose stays. Studios are matched by name; if several logos have the same name, the first
    one counts.
    """
    by_name: dict[str, StoredLogo] = {}
    for logo in logos:
        by_name.setdefault(logo.name.casefold(), logo)
    changes = []
    for studio in studios:
        logo = by_name.get(studio.name.casefold())
        if logo is None:
            continue
        is_outdated = logo.shown_sha256 is not None and logo.shown_sha256 != logo.sha256
        if is_outdated or not studio.has_picture:
            changes.append((studio, logo))
    return changes
