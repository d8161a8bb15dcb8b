"""The assets of the title sources: each service, and what it says about the library's titles."""

from typing import Any

import dagster as dg

from aperture_dagster.defs.catalogue import movies, series
from aperture_dagster.defs.enrichment.reporting import source_metadata
from aperture_dagster.defs.reporting import log_waiting, materialized, skipped
from aperture_dagster.enrichment.sources import SOURCES, TitleSource
from aperture_dagster.instance.failures import operator_errors
from aperture_dagster.model.clock import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.versions import change_version
from aperture_dagster.settings import Settings
from aperture_dagster.worklist.engine import work_through
from aperture_dagster.worklist.queue import about_titles_without_id
from aperture_dagster.worklist.services import Services

GROUP = "enrichment"


def source_asset(source: TitleSource[Any]) -> dg.AssetsDefinition:
    """Return the asset that asks a source about the titles that are due."""

    def version(database: Database) -> str:
        with database.transaction() as connection:
            return change_version(connection, source.table)

    @dg.asset(
        name=source.table,
        description=source.description,
        group_name=GROUP,
        deps=[source.name, movies, series],
        kinds={source.name, "postgres"},
        pool=source.name,
        metadata={"dagster/table_name": source.table},
    )
    def asset(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        database: dg.ResourceParam[Database],
        services: dg.ResourceParam[Services],
        clock: dg.ResourceParam[Clock],
    ) -> dg.MaterializeResult:
        service = services.get(source)
        if not service.configured:
            return skipped(context, source, version(database))
        with operator_errors(context, settings), service.open(waiting=log_waiting(context, source)) as client:
            work = source.work_list(settings, service, client)
            tally = work_through(work, database, clock, context.log)
            if source.also is not None and tally.resumes_at is None:
                also = work_through(source.also(service, client), database, clock, context.log)
                tally.rows, tally.resumes_at = tally.rows + also.rows, also.resumes_at
            if source.asks_by == "any_known":
                with database.transaction() as connection:
                    unknowable = about_titles_without_id(connection, source)
                if unknowable is not None:
                    context.log.warning(unknowable)
            metadata = source_metadata(database, source, tally, requests=client.requests, quota=service.quota)
            if work.unit_size is not None:
                metadata["batch_size"] = work.unit_size()
            return materialized(context, metadata, version=version(database))

    return asset


SOURCE_ASSETS = tuple(source_asset(source) for source in SOURCES)
SERVICE_SPECS = tuple(
    dg.AssetSpec(source.name, group_name=GROUP, description=source.about, kinds={source.name}) for source in SOURCES
)
"""The services themselves, where lineage begins."""
