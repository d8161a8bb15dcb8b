"""TMDb's pictures as a source: the logos of the companies and networks behind the library's titles."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection

from aperture_dagster.enrichment.populations import STUDIOS
from aperture_dagster.enrichment.studios import note_stored, note_tried
from aperture_dagster.enrichment.tmdb.images import TmdbImages
from aperture_dagster.files.private import write_file
from aperture_dagster.http.errors import ServiceRefused
from aperture_dagster.worklist.fetches import DueItem
from aperture_dagster.worklist.services import MeteredService, Service
from aperture_dagster.worklist.work_list import Attempt, OneByOne

# A changed logo has another path and is fetched at once; this is for files that went bad on the server.
LOGO_TTL = timedelta(days=365)
SUFFIXES = {"png": "png", "jpeg": "jpg"}


class Logos(OneByOne[TmdbImages]):
    """Fetches logos, and stores them in a folder."""

    what = "logos"

    def __init__(self, service: MeteredService[TmdbImages], client: TmdbImages, folder: Path) -> None:
        super().__init__(TMDB_IMAGES, service, client)
        self._folder = folder

    def ask_about(self, item: DueItem) -> Attempt:
        """Fetch the logo of a studio."""
        if item.logo_path is None:
            return Attempt(item, "not_found")
        try:
            return Attempt(item, "ok", answer=self.client.logo(item.logo_path))
        except ServiceRefused as error:
            # Without a key there is none to refuse: picture stores answer 403 for pictures that do not exist.
            return Attempt(item, "error", detail=str(error))

    def store(self, connection: Connection, attempts: Sequence[Attempt]) -> int:
        """Write the files, and note them; return how many rows changed."""
        rows = []
        for attempt in attempts:
            picture, studio = attempt.answer, attempt.item
            name = f"{studio.kind}-{studio.item}.{SUFFIXES[picture.facts.format]}"
            write_file(self._folder / name, picture.content)
            rows.append(
                {
                    "kind": studio.kind,
                    "studio_id": studio.item,
                    "stored_path": studio.logo_path,
                    "file_name": name,
                    "picture_kind": picture.facts.format,
                    "sha256": picture.sha256,
                    "bytes": len(picture.content),
                }
            )
        return note_stored(connection, rows)

    def note(self, connection: Connection, attempts: Sequence[Attempt]) -> None:
        """Note which studios have no logo."""
        note_tried(connection, [attempt.item.key for attempt in attempts if attempt.outcome == "not_found"])

    def ttl(self, attempt: Attempt, now: datetime) -> timedelta:
        """Return how long a logo remains good."""
        return LOGO_TTL


TMDB_IMAGES: Service[TmdbImages] = Service(
    name="tmdb_images",
    label="TMDb's pictures",
    population=STUDIOS,
    # Pictures need no key, but only TMDb says which there are.
    connect=lambda settings, key, **options: TmdbImages(settings.tmdb_image_url, **options),
    key=lambda settings: settings.tmdb_api_key,
    key_setting="TMDB_API_KEY",
    url=lambda settings: settings.tmdb_image_url,
    without_key="there are no logos",
    concurrency=4,
)
