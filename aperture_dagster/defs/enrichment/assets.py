"""What outside services say about the library's titles, the merged view of them, and studios' logos."""

from datetime import UTC
from typing import Any

import dagster as dg

from aperture_dagster.automation import on_upstream_change
from aperture_dagster.defs.catalogue import movies, series
from aperture_dagster.defs.reporting import is_brief, log_waiting, materialized, skipped, table
from aperture_dagster.enrichment.merge import SERVER, MergePlan
from aperture_dagster.enrichment.queries import count_values, enriched_sample, write_enriched
from aperture_dagster.enrichment.queries import coverage as shares_filled
from aperture_dagster.enrichment.sources import SOURCES, TitleSource, merge_plan
from aperture_dagster.enrichment.studios import ask_for_changed_logos, gather_studios, stored_logos, studio_table
from aperture_dagster.enrichment.tmdb.source import TMDB, TMDB_IMAGES, logos
from aperture_dagster.files.private import clear_unfinished
from aperture_dagster.instance.failures import MissingPrerequisite, operator_errors
from aperture_dagster.instance.markdown import markdown_table
from aperture_dagster.model.clock import Clock
from aperture_dagster.model.wording import titled
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import change_version, content_version
from aperture_dagster.settings import Settings
from aperture_dagster.worklist.engine import Tally, work_through
from aperture_dagster.worklist.populations import Source
from aperture_dagster.worklist.queue import (
    about_titles_without_id,
    coverage,
    not_fetched,
    outcome_summary,
    total,
    without_id,
)
from aperture_dagster.worklist.services import QuotaLedger, Services

# What the page of a source shows: coverage, failures, quota.


def source_metadata(
    database: Database, source: Source, tally: Tally, *, requests: int, quota: QuotaLedger | None = None
) -> dict[str, Any]:
    """Return the metadata of a run of a source: numbers, and tables only if it asked about anything.

    Most runs find nothing due, and a table costs as much in the event log as the whole rest of the run.
    """
    with database.transaction() as connection:
        rows = outcome_summary(connection, source)
        failed, unknowable = [], []
        if tally.asked:
            failed, unknowable = not_fetched(connection, source), without_id(connection, source)
    metadata: dict[str, Any] = {
        "dagster/row_count": total(rows, "ok"),
        "coverage": round(coverage(rows), 4),
        "asked": tally.asked,
        "fetched": tally.ok,
        "not_found": tally.not_found,
        "errors": tally.error,
        "no_id": total(rows, "no_id"),
        "still_due": tally.still_due,
        "rows_written": tally.rows,
        "requests": requests,
    }
    if quota is not None:
        metadata["quota_used"], metadata["quota_limit"] = quota.usage()
    if tally.resumes_at is not None:
        metadata["resumes_at"] = tally.resumes_at.astimezone(UTC).isoformat(timespec="minutes")
    if tally.asked:
        metadata["outcomes"] = markdown_table(rows, ["kind", "outcome", "items", "share", "next_due"])
        if failed:
            metadata["not_fetched"] = table(failed, ["name", "outcome", "detail", "attempts"])
    if unknowable:
        metadata["without_id"] = markdown_table(unknowable)
    return metadata


# The assets of the title sources: each service, and what it says about the library's titles.


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


# The merged view of all sources.


# Headings that are as narrow as the figures below them.
SCORES = {"TMDb": "vote_average", "IMDb": "imdb_rating", "RT": "rotten_tomatoes", "MDB": "mdblist_score"}
PLAN = merge_plan()


def _lineage(plan: MergePlan) -> dg.TableColumnLineage:
    """Name for each column of the view the columns that it may be made from."""
    tables = {SERVER: ("movies", "series")} | {source.name: (source.table,) for source in SOURCES}
    return dg.TableColumnLineage(
        {
            column: [
                dg.TableColumnDep(dg.AssetKey(asset), one.own or column)
                for source, one in candidates
                for asset in tables[source]
            ]
            for column, candidates in plan.columns.items()
        }
    )


@dg.asset(
    group_name=GROUP,
    deps=[movies, series, *SOURCE_ASSETS],
    kinds={"postgres"},
    # What the media server knows is merged at once, and no source that fails keeps the others from it.
    automation_condition=on_upstream_change(additional=dg.AssetSelection.assets(*SOURCE_ASSETS), first=False),
    # Everything is merged again when it changes.
    code_version=PLAN.recipe(),
    metadata={"dagster/table_name": "enriched_metadata", "dagster/column_lineage": _lineage(PLAN)},
)
def enriched_metadata(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], database: dg.ResourceParam[Database]
) -> dg.MaterializeResult:
    """All that is known about each title in the library, one row per work, merged from the media server, TMDb, OMDb and
    MDBList.

    For every column the sources have a fixed order, and each value is stored with its source. Made after each
    of them, and only rows that differ are written.
    """
    with operator_errors(context, settings), database.transaction() as connection:
        counts, merged = write_enriched(connection, PLAN)
        shares = shares_filled(connection)
        works = int(shares.pop("works"))
        if not works:
            raise MissingPrerequisite("There are no titles yet: run sync_movies and sync_series first.")
        metadata: dict[str, Any] = {
            "dagster/row_count": works,
            "rows_written": counts.written,
            "added": counts.inserted,
            "changed": counts.updated,
            "merged": merged,
            "unchanged": max(works - merged, 0),
        }
        filled = [{"titles with": name, "share": f"{share:.0%}"} for name, share in shares.items()]
        if not is_brief(context):
            metadata["coverage"] = markdown_table(filled)
        if counts.written and not is_brief(context):
            metadata["merged_last"] = markdown_table([_scores(row) for row in enriched_sample(connection)])
            metadata["where_values_came_from"] = markdown_table(_provenance(PLAN, count_values(connection)), whole=True)
        version = change_version(connection, "enriched_metadata")
    return materialized(context, metadata, version=version)


def _scores(row: dict[str, Any]) -> dict[str, Any]:
    """Return a title's row of the page: its scores by service."""
    return {"title": titled(row)} | {name: row[column] for name, column in SCORES.items()}


def _provenance(plan: MergePlan, counts: dict[tuple[str, str], int]) -> list[dict[str, Any]]:
    """List for each column the order of its sources (a plus combines), and how many titles have a value from each."""
    names = [SERVER, *(source.name for source in SOURCES)]
    names += sorted({source for _, source in counts} - set(names))
    rows = []
    for column, candidates in plan.columns.items():
        labels = [(f"{source}.{one.own or column}", one.joined) for source, one in candidates]
        joined = " + ".join(label for label, is_joined in labels if is_joined)
        order = " → ".join([joined] * bool(joined) + [label for label, is_joined in labels if not is_joined])
        rows.append({"column": column, **{name: counts.get((column, name)) for name in names}, "order": order})
    return rows


# The logos of the companies and networks behind the library's titles.


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
