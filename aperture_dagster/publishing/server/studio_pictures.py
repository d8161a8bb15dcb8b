"""Show studios' logos as the studios' pictures on the media server."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperture_dagster.enrichment.studios import note_shown, stored_logos
from aperture_dagster.http.errors import NotFound, RequestRejected
from aperture_dagster.model import Progress

if TYPE_CHECKING:
    from pathlib import Path

    from aperture_dagster.enrichment.studios import StoredLogo
    from aperture_dagster.media_server.records import ServerStudio
    from aperture_dagster.media_server.writer import MediaServerWriter
    from aperture_dagster.postgres.database import Database


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
