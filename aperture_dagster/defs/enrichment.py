"""What outside services say about the library's titles, the merged view of them, and studios' logos."""

import functools
from collections import defaultdict
from datetime import UTC, timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from aperture_dagster.automation import on_upstream_change
from aperture_dagster.defs.catalogue import movies, series
from aperture_dagster.defs.daily_checks import daily_check
from aperture_dagster.defs.reporting import is_brief, log_waiting, materialized, skipped, table, warn_unless
from aperture_dagster.enrichment.enriched import coverage as shares_filled
from aperture_dagster.enrichment.enriched import unmerged_titles, write_enriched
from aperture_dagster.enrichment.merge import SERVER, MergePlan
from aperture_dagster.enrichment.refetch import refetch
from aperture_dagster.enrichment.sources import SERVICES, SOURCES, TitleSource, merge_plan, nothing_is_due
from aperture_dagster.enrichment.studios import (
    ask_for_changed_logos,
    gather_studios,
    missing_logos,
    stored_logos,
    studio_table,
)
from aperture_dagster.enrichment.tmdb.images import TmdbImages
from aperture_dagster.enrichment.tmdb.logos import TMDB_IMAGES, Logos
from aperture_dagster.enrichment.tmdb.source import TMDB
from aperture_dagster.files.private import clear_unfinished
from aperture_dagster.instance.failures import MissingPrerequisite, operator_errors
from aperture_dagster.instance.markdown import markdown_table
from aperture_dagster.instance.runs import requested_by
from aperture_dagster.jobs import Group, Job
from aperture_dagster.model import Clock, counted, elapsed
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import change_version, content_version
from aperture_dagster.settings import Settings
from aperture_dagster.worklist.engine import Tally, work_through
from aperture_dagster.worklist.health import failing_services
from aperture_dagster.worklist.quota import QuotaLedger
from aperture_dagster.worklist.services import MeteredService
from aperture_dagster.worklist.source import Source
from aperture_dagster.worklist.summary import count_stale, coverage, not_fetched, outcome_summary, total, without_id

__all__ = ["GROUP", "enriched_metadata", "studio_logos"]


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


NAME = "enrichment"


class RefetchConfig(dg.Config):
    """Run configuration of a source."""

    refetch: list[str] = Field(
        default=[],
        description="What to ask about again, although its facts are not old: `all`, or titles of the library by name, "
        "`Alien (1979)`, or id, `tmdb:movie:348`, `imdb:tt0078748`, `tvdb:81189`. Rate limits and quotas hold; what a "
        "run does not get to, the next ones do.",
    )


def _ask_again(
    context: dg.AssetExecutionContext, config: RefetchConfig, source: TitleSource[Any], database: Database, clock: Clock
) -> None:
    """Make due what the run is to ask about again."""
    if not config.refetch:
        return
    run_config: Any = context.run.run_config
    given = run_config["ops"][source.table]["config"]["refetch"]
    if not all(isinstance(one, str) for one in given):
        # Its value, which may be a secret, would be in the message that no title has that name.
        raise OperatorError("refetch takes titles or `all`, and no environment variables. Nothing is asked again.")
    request = requested_by(context.instance, context.run)
    with database.transaction() as connection:
        made = refetch(connection, source, config.refetch, request=request, now=clock.now())
    if made is None:
        context.log.info("An earlier attempt of this run has noted what is asked again; this one goes on with it.")
        return
    message = f"Asking {source.label} again about {counted(made.due, 'items')}"
    if made.unknown:
        message += f", but not about {counted(made.unknown, 'titles')} without an id that it knows"
    context.log.info(f"{message}.")


def source_asset(source: TitleSource[Any]) -> dg.AssetsDefinition:
    """Return the asset that asks a source about the titles that are due."""

    def version(database: Database) -> str:
        with database.transaction() as connection:
            return change_version(connection, source.table)

    @dg.asset(
        name=source.table,
        description=source.description,
        group_name=NAME,
        deps=[source.name, movies, series],
        kinds={source.name, "postgres"},
        pool=source.name,
        # By name, since the source says which: a parameter would have the same name for all of them.
        required_resource_keys={"settings", "database", "clock", source.name},
        metadata={"dagster/table_name": source.table},
    )
    def asset(context: dg.AssetExecutionContext, config: RefetchConfig) -> dg.MaterializeResult:
        given: Any = context.resources
        settings: Settings = given.settings
        database: Database = given.database
        clock: Clock = given.clock
        service: MeteredService[Any] = getattr(given, source.name)
        if not service.configured:
            return skipped(context, source, version(database))
        with operator_errors(context, settings):
            # Before another run is waited for: it stays due, whatever happens then.
            _ask_again(context, config, source, database, clock)
        with operator_errors(context, settings), service.open(waiting=log_waiting(context, source)) as client:
            work = source.titles(source, service, client)
            tally = work_through(work, database, clock, context.log)
            metadata = source_metadata(database, source, tally, requests=client.requests, quota=service.quota)
            if work.unit_size is not None:
                metadata["batch_size"] = work.unit_size
            return materialized(context, metadata, version=version(database))

    return asset


SOURCE_ASSETS = tuple(source_asset(source) for source in SOURCES)
TMDB_METADATA = tuple(asset for asset in SOURCE_ASSETS if asset.key.path[-1] == TMDB.table)
SERVICE_SPECS = (
    *(dg.AssetSpec(source.name, group_name=NAME, description=source.about, kinds={source.name}) for source in SOURCES),
    dg.AssetSpec(
        TMDB_IMAGES.name,
        group_name=NAME,
        description="The image host of The Movie Database: logos of studios, and posters.",
        kinds={TMDB.name},
    ),
)
"""The services themselves, where lineage begins."""


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
    group_name=NAME,
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
        version = change_version(connection, "enriched_metadata")
    return materialized(context, metadata, version=version)


@dg.asset(
    group_name=NAME,
    deps=[TMDB_IMAGES.name, TMDB.table, movies, series],
    kinds={"tmdb", "postgres"},
    pool=TMDB_IMAGES.name,
    automation_condition=on_upstream_change(
        ignoring=dg.AssetSelection.assets(movies, series), additional=dg.AssetSelection.assets(TMDB_IMAGES.name)
    ),
    metadata={"dagster/table_name": "studio_logos"},
)
def studio_logos(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    tmdb_images: dg.ResourceParam[MeteredService[TmdbImages]],
    clock: dg.ResourceParam[Clock],
) -> dg.MaterializeResult:
    """The logo of each company and network behind the library's titles, one row per studio, with its file in the
    folder `logos` of `APERTURE_HOME`.

    From TMDb, when its metadata names a new one. Each logo is downloaded once, and kept only if its content is an
    image. Skipped without a TMDb key.
    """
    folder = settings.home_path / "logos"
    if not tmdb_images.configured:
        return skipped(context, TMDB_IMAGES, _version(database))
    with operator_errors(context, settings), tmdb_images.open(waiting=log_waiting(context, TMDB_IMAGES)) as client:
        clear_unfinished(folder)
        with database.transaction() as connection:
            gathered = gather_studios(connection)
            stored = stored_logos(connection)
            lost = [(logo.kind, logo.studio_id) for logo in stored if not (folder / logo.file_name).is_file()]
            ask_for_changed_logos(connection, TMDB_IMAGES, lost=lost, now=clock.now())
        tally = work_through(Logos(tmdb_images, client, folder), database, clock, context.log)
        tally.rows += gathered.written
        metadata = source_metadata(database, TMDB_IMAGES, tally, requests=client.requests) | {"files_lost": len(lost)}
        with database.transaction() as connection:
            if tally.asked:
                # With the studios that TMDb has no logo of, which are most of those without one.
                missing = missing_logos(connection, TMDB_IMAGES)
                metadata["not_fetched"] = table(missing, ["name", "titles", "reason"])
            if tally.rows:
                metadata["studios"] = markdown_table(studio_table(connection), ["name", "kind", "titles", "logo"])
        return materialized(context, metadata, version=_version(database))


def _version(database: Database) -> str:
    with database.transaction() as connection:
        return content_version(connection, "studio_logos", columns=("kind", "studio_id", "name", "sha256"))


# An answer counts as overdue after its time and this, since a few runs may fail.
GRACE_DAYS = 3
TOLERATED = 0.1


def covers_the_library(source: TitleSource) -> dg.AssetChecksDefinition:
    """Return a check that warns of failed requests and, if the source knows every id, of titles without one."""
    knows_every_id = source.asks_by == "any_known"
    description = f"At most 10 % of the requests to {source.label} failed"
    description += ", and at most 10 % of the titles have no id that it knows" if knows_every_id else ""
    description += ". What failed is retried with growing pauses; the page of the asset says what, and why."

    @dg.asset_check(asset=source.table, name="covers_the_library", description=description)
    def check(database: dg.ResourceParam[Database]) -> dg.AssetCheckResult:
        with database.transaction() as connection:
            rows = outcome_summary(connection, source)
        by_outcome = {name: total(rows, name) for name in ("ok", "not_found", "error", "waiting", "no_id")}
        errors, no_id = by_outcome["error"], by_outcome["no_id"]
        tried = by_outcome["ok"] + by_outcome["not_found"] + errors
        few_without_id = not knows_every_id or no_id <= TOLERATED * sum(by_outcome.values())
        found = [f"{errors:,} of {tried:,} titles could not be fetched; they are tried again."] if errors else []
        if no_id:
            found.append(f"{no_id:,} {'title has' if no_id == 1 else 'titles have'} no id that {source.label} knows.")
        passed = errors <= TOLERATED * tried and few_without_id
        return warn_unless(passed, " ".join(found), {"coverage": coverage(rows), **by_outcome})

    return check


def is_fresh(source: TitleSource) -> dg.AssetChecksDefinition:
    """Return a check that warns when many answers are overdue."""

    @daily_check(
        asset=source.table,
        name="is_fresh",
        description=f"At most 10 % of {source.label}'s answers are overdue by more than {GRACE_DAYS} days. If more "
        "are, the job does not keep up: look at its quota, and at the last runs.",
    )
    def check(database: dg.ResourceParam[Database], clock: dg.ResourceParam[Clock]) -> dg.AssetCheckResult:
        with database.transaction() as connection:
            stale, fetched = count_stale(connection, source, now=clock.now(), grace_days=GRACE_DAYS)
        share = stale / fetched if fetched else 0.0
        found = f"{stale:,} of {fetched:,} answers are overdue by more than {GRACE_DAYS} days." if stale else ""
        metadata = {"stale": stale, "fetched": fetched, "share_stale": round(share, 4)}
        return warn_unless(share <= TOLERATED, found, metadata)

    return check


@dg.asset_check(
    asset=enriched_metadata,
    blocking=True,
    description="Every title of the library is in the merged view; one that is missing could not be recommended. "
    "Materialize enriched_metadata again. Until it passes, nothing downstream is made.",
)
def has_every_title(database: dg.ResourceParam[Database]) -> dg.AssetCheckResult:
    """Fail when a title of the library is missing: it could be neither embedded nor recommended."""
    with database.transaction() as connection:
        missing = unmerged_titles(connection)
    return dg.AssetCheckResult(
        passed=missing == 0,
        metadata={"missing": missing},
        description=f"{missing:,} titles are not in the merged view" if missing else None,
    )


# A check on the view, because the checks of a source do not run while it fails.
@daily_check(
    asset=enriched_metadata,
    description="No source that has a key has failed for more than a day. If one has, its facts grow old: check its "
    "key and whether it can be reached (aperture doctor).",
)
def has_sources_that_answer(
    settings: dg.ResourceParam[Settings], database: dg.ResourceParam[Database], clock: dg.ResourceParam[Clock]
) -> dg.AssetCheckResult:
    """Warn of sources that have failed for more than a day: since when, and with what error."""
    now = clock.now()
    asked = {service.name: service.label for service in SERVICES if service.key(settings) is not None}
    with database.transaction() as connection:
        failing = [row for row in failing_services(connection) if row["service"] in asked]
    for_long = [row for row in failing if elapsed(row["failing_since"], now) > timedelta(days=1)]
    description = "; ".join(
        f"{asked[row['service']]} has failed since {row['failing_since']:%Y-%m-%d %H:%M} ({row['trouble']})"
        for row in for_long
    )
    metadata = {"failing": len(failing), "failing_for_a_day": len(for_long)}
    return warn_unless(not for_long, description, metadata | ({"services": table(failing)} if failing else {}))


CHECKS = [
    *(make(source) for source in SOURCES for make in (covers_the_library, is_fresh)),
    has_every_title,
    has_sources_that_answer,
]


# Hours for a large library, and nobody waits for it: see the limits in dagster.yaml.
PRIORITY = -10
LIBRARY = ("movies", "series", "episodes")


def _source_jobs() -> list[Job]:
    """Declare one job for all sources that are asked at the same times; it also merges what all sources say."""
    by_job: defaultdict[str, list[TitleSource]] = defaultdict(list)
    for source in SOURCES:
        by_job[source.job].append(source)
    return [
        Job(
            name,
            f"Ask {' and '.join(source.label for source in sources)} about titles that are due, and merge all sources.",
            (*(source.table for source in sources), "enriched_metadata"),
            cron=sources[0].cron,
            why="Facts age, and services limit the requests of a day: each run asks only about what is due.",
            first_run=True,
            needs=LIBRARY,
            # First lists are made without the sources, and their hours of work take neither time nor turns from them.
            after=("embeddings", "watch_history"),
            priority=PRIORITY,
            quiet=True,
            one_at_a_time="enriched_metadata",
            skip_if=functools.partial(nothing_is_due, sources, "title"),
        )
        for name, sources in by_job.items()
    ]


JOBS = (
    *_source_jobs(),
    Job(
        "enrich_studio_logos",
        "Download logos for studios that have none yet; set them on the media server if that is turned on.",
        ("studio_logos", "studio_pictures"),
        cron="0 */2 * * *",
        why="Automation makes both when a studio is new; this downloads what failed, an hour later at the earliest.",
        priority=PRIORITY,
        quiet=True,
        skip_if=functools.partial(nothing_is_due, [TMDB_IMAGES], "logo"),
    ),
)


GROUP = Group(assets=(*SERVICE_SPECS, *SOURCE_ASSETS, enriched_metadata, studio_logos), checks=CHECKS, jobs=JOBS)
