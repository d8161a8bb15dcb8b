"""Logos of the companies and networks that made the library's titles."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from aperture_dagster.automation import on_upstream_change
from aperture_dagster.defs.enrichment.reporting import skipped, source_metadata, tell_waiting
from aperture_dagster.defs.enrichment.tmdb import tmdb_metadata
from aperture_dagster.defs.failures import operator_errors
from aperture_dagster.defs.reporting import materialized, table
from aperture_dagster.library.sources import TMDB_IMAGES
from aperture_dagster.resources.errors import NotFound, ServiceRefused
from aperture_dagster.resources.metered_service import MeteredService
from aperture_dagster.resources.providers import Clock, Database
from aperture_dagster.settings import Settings
from aperture_dagster.worklist.engine import Attempt, WorkList, outcome_of, work_through

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from aperture_dagster.resources.tmdb_images import TmdbImages
    from aperture_dagster.storage.work_list import DueItem

GROUP = "enrichment"
# A logo is fetched once. Another one has another path, which is noticed at once; this is for a file gone bad.
GOOD_FOR = timedelta(days=365)
SUFFIXES = {"png": "png", "jpeg": "jpg"}


@dg.asset(
    group_name=GROUP,
    deps=[tmdb_metadata],
    kinds={"tmdb", "postgres"},
    pool=TMDB_IMAGES.name,
    automation_condition=on_upstream_change(),
    metadata={"dagster/table_name": "studio_logos"},
)
def studio_logos(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    tmdb_image_service: dg.ResourceParam[MeteredService],
    clock: dg.ResourceParam[Clock],
) -> dg.MaterializeResult:
    """The logo of each company and network behind the library's titles, one row per studio, and its file in the home's
    folder `logos`.

    Downloaded once, taken only if it is a picture by its content; who has none is remembered.
    """
    from aperture_dagster.storage.files import clear_unfinished
    from aperture_dagster.storage.studios import ask_for_changed_logos, gather_studios, stored_logos, studio_table
    from aperture_dagster.storage.versions import content_version

    if not tmdb_image_service.configured:
        return skipped(context, TMDB_IMAGES, "there are no logos")
    folder = settings.home_path / "logos"
    with (
        operator_errors(context, settings),
        tmdb_image_service.open(waiting=tell_waiting(context, TMDB_IMAGES)) as client,
    ):
        clear_unfinished(folder)
        with database.transaction() as connection:
            gathered = gather_studios(connection)
            lost = [
                (logo.kind, logo.studio_id)
                for logo in stored_logos(connection)
                if not (folder / logo.file_name).is_file()
            ]
            ask_for_changed_logos(connection, lost=lost, now=clock.now())
        tally = work_through(context, database, clock, _logos(client, tmdb_image_service.concurrency, folder))
        tally.rows += gathered.written
        with database.transaction() as connection:
            studios = studio_table(connection)
            version = content_version(connection, "studio_logos", columns=("kind", "studio_id", "name", "sha256"))
        return materialized(
            context,
            source_metadata(database, TMDB_IMAGES, tally, requests=client.requests, now=clock.now())
            | {"files_lost": len(lost), "studios": table(studios)},
            version=version,
        )


def _logos(client: "TmdbImages", concurrency: int, folder: Path) -> WorkList:
    from aperture_dagster.storage.files import write_file
    from aperture_dagster.storage.studios import note_stored, note_tried

    def ask(unit: "Sequence[DueItem]") -> Iterator[list[Attempt]]:
        for studio in unit:
            yield [outcome_of(studio, lambda studio=studio: _ask_logo(client, studio))]

    def keep(connection: "Connection", attempts: Sequence[Attempt]) -> int:
        rows = []
        for attempt in attempts:
            picture, studio = attempt.answer, attempt.item
            name = f"{studio.kind}-{studio.item}.{SUFFIXES[picture.facts.format]}"
            write_file(folder / name, picture.content)
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

    def note(connection: "Connection", attempts: Sequence[Attempt]) -> None:
        note_tried(connection, [attempt.item.key for attempt in attempts if attempt.outcome == "not_found"])

    return WorkList(
        TMDB_IMAGES,
        ask=ask,
        keep=keep,
        note=note,
        ttl=lambda attempt, now: GOOD_FOR,
        cancel=client.cancel,
        concurrency=concurrency,
        what="logos",
    )


def _ask_logo(client: "TmdbImages", studio: "DueItem") -> Attempt:
    if studio.logo_path is None:
        raise NotFound("TMDb has no logo of it")
    try:
        return Attempt(studio, "ok", answer=client.logo(studio.logo_path))
    except ServiceRefused as error:
        # There is no key that could be wrong: stores of pictures say so of one that they do not have.
        return Attempt(studio, "error", detail=str(error))
