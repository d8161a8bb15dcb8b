"""The logos of the companies and networks behind the library's titles."""

import dagster as dg

from aperture_dagster.automation import on_upstream_change
from aperture_dagster.defs.enrichment.reporting import source_metadata
from aperture_dagster.defs.enrichment.sources import GROUP
from aperture_dagster.defs.reporting import log_waiting, materialized, skipped
from aperture_dagster.enrichment.studios import ask_for_changed_logos, gather_studios, stored_logos, studio_table
from aperture_dagster.enrichment.tmdb.source import TMDB, TMDB_IMAGES, logos
from aperture_dagster.files.private import clear_unfinished
from aperture_dagster.instance.failures import operator_errors
from aperture_dagster.instance.markdown import markdown_table
from aperture_dagster.model.clock import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.versions import content_version
from aperture_dagster.settings import Settings
from aperture_dagster.worklist.engine import work_through
from aperture_dagster.worklist.services import Services


@dg.asset(
    group_name=GROUP,
    deps=[TMDB.table],
    kinds={"tmdb", "postgres"},
    pool=TMDB_IMAGES.name,
    automation_condition=on_upstream_change(),
    metadata={"dagster/table_name": "studio_logos"},
)
def studio_logos(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    services: dg.ResourceParam[Services],
    clock: dg.ResourceParam[Clock],
) -> dg.MaterializeResult:
    """The logo of each company and network behind the library's titles, one row per studio, with its file in the
    folder `logos` of `APERTURE_HOME`.

    From TMDb, when its metadata names a new one. Each logo is downloaded once, and kept only if its content is an
    image. Skipped without a TMDb key.
    """
    service, folder = services.get(TMDB_IMAGES), settings.shared_path / "logos"
    if not service.configured:
        return skipped(context, TMDB_IMAGES, _version(database))
    with operator_errors(context, settings), service.open(waiting=log_waiting(context, TMDB_IMAGES)) as client:
        clear_unfinished(folder)
        with database.transaction() as connection:
            gathered = gather_studios(connection)
            stored = stored_logos(connection)
            lost = [(logo.kind, logo.studio_id) for logo in stored if not (folder / logo.file_name).is_file()]
            ask_for_changed_logos(connection, TMDB_IMAGES, lost=lost, now=clock.now())
        tally = work_through(logos(service, client, folder), database, clock, context.log)
        tally.rows += gathered.written
        metadata = source_metadata(database, TMDB_IMAGES, tally, requests=client.requests) | {"files_lost": len(lost)}
        if tally.rows:
            with database.transaction() as connection:
                metadata["studios"] = markdown_table(studio_table(connection), ["name", "kind", "titles", "logo"])
        return materialized(context, metadata, version=_version(database))


def _version(database: Database) -> str:
    with database.transaction() as connection:
        return content_version(connection, "studio_logos", columns=("kind", "studio_id", "name", "sha256"))
