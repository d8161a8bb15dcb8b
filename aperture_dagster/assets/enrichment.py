"""What others know of the titles: TMDb, and the one merged view of all sources."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from aperture_dagster.assets.common import TMDB, MissingPrerequisite, Progress, operator_errors, table
from aperture_dagster.assets.media_server import movies, series
from aperture_dagster.automation import fresh_within_half_a_day, when_what_it_is_made_from_changed
from aperture_dagster.resources.errors import (
    BadAnswer,
    NotFound,
    RequestRejected,
    ServiceUnavailable,
)
from aperture_dagster.resources.providers import Clock, Database, TmdbService
from aperture_dagster.settings import Settings

if TYPE_CHECKING:
    from aperture_dagster.library.due import Outcome
    from aperture_dagster.resources.tmdb import Tmdb, TmdbTitle
    from aperture_dagster.storage.enrichment import DueTitle

GROUP = "enrichment"
BATCH = 200
# So many in a row that could not be reached mean that the service is down, not that the titles are odd.
FAILURES_THAT_MEAN_DOWN = 8

tmdb = dg.AssetSpec(
    TMDB, group_name=GROUP, description="The Movie Database: facts, people, keywords, votes of titles.", kinds={"tmdb"}
)


@dataclass(slots=True)
class Attempt:
    """How asking TMDb about a title went."""

    title: "DueTitle"
    outcome: "Outcome"
    answer: "TmdbTitle | None" = None
    detail: str | None = None
    unreachable: bool = False


@dg.asset(
    group_name=GROUP,
    deps=[tmdb, movies, series],
    kinds={"tmdb", "postgres"},
    pool=TMDB,
    freshness_policy=fresh_within_half_a_day,
)
def tmdb_metadata(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    tmdb_service: dg.ResourceParam[TmdbService],
    clock: dg.ResourceParam[Clock],
) -> dg.MaterializeResult:
    """What TMDb says of each title in the library, one row per work, and of the collections they belong to.

    One request a title, only for those that are due: never asked first, then the stalest. What was fetched is kept
    batch by batch, so a run that is stopped goes on where it was. Skipped, and said so, without a TMDb key.
    """
    from aperture_dagster.storage.enrichment import count_due, failed_titles, outcomes

    if not tmdb_service.configured:
        reason = "skipped: TMDB_API_KEY is not set"
        context.log.warning(f"{reason}; titles keep what the media server says of them.")
        return dg.MaterializeResult(metadata={"skipped": reason, "rows_written": 0, "requests": 0})
    with operator_errors(context, settings), tmdb_service.open() as client:
        tally = _fetch_due(context, settings, database, client, tmdb_service.concurrency, clock)
        collections = _fetch_collections(context, settings, database, client, clock)
        requests = client.requests
    with database.transaction() as connection:
        standing = outcomes(connection, TMDB)
        waiting = count_due(connection, TMDB, now=clock.now())
        troubled = failed_titles(connection, TMDB)
    total = sum(row["titles"] for row in standing)
    fine = sum(row["titles"] for row in standing if row["outcome"] == "ok")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": fine,
            "asked": tally["ok"] + tally["not_found"] + tally["error"],
            "fetched": tally["ok"],
            "not_found": tally["not_found"],
            "errors": tally["error"],
            "still_due": waiting,
            "coverage": round(fine / total, 4) if total else 1.0,
            "collections_fetched": collections,
            "rows_written": tally["rows"] + collections,
            "requests": requests,
            "outcomes": table(standing),
            "not_fetched": table(troubled),
        }
    )


@dg.asset(
    group_name=GROUP,
    deps=[movies, series, tmdb_metadata],
    kinds={"postgres"},
    automation_condition=when_what_it_is_made_from_changed,
    freshness_policy=fresh_within_half_a_day,
)
def enriched_metadata(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], database: dg.ResourceParam[Database]
) -> dg.MaterializeResult:
    """The one merged view of each title in the library, one row per work: a stated precedence for every column, and
    for every value the source that it came from. Written only where it came out differently.
    """
    from aperture_dagster.library.merge import PRECEDENCE
    from aperture_dagster.storage.enrichment import coverage, enriched_sample, write_enriched

    with operator_errors(context, settings), database.transaction() as connection:
        counts = write_enriched(connection)
        covered = coverage(connection)
        shown = enriched_sample(connection)
        if not covered["works"]:
            raise MissingPrerequisite("There are no titles yet: run sync_movies and sync_series first.")
    works = int(covered.pop("works"))
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": works,
            "rows_written": counts.written,
            "added": counts.inserted,
            "changed": counts.updated,
            "dagster/column_lineage": _lineage(PRECEDENCE),
            "precedence": table(
                [
                    {"column": column, "asked_in_this_order": " → ".join(f"{source}.{name}" for source, name in order)}
                    for column, order in PRECEDENCE.items()
                ]
            ),
            "merged_last": table(shown),
        }
        | {f"with_{name}": round(share, 4) for name, share in covered.items()}
    )


def _lineage(precedence: dict[str, tuple[tuple[str, str], ...]]) -> dg.TableColumnLineage:
    """Where each column comes from, for the UI."""
    derived = {
        "release_year": "release_date", "cast_names": "cast", "company_names": "companies", "network_names": "networks"
    }  # fmt: skip
    made_from: dict[str, list[dg.TableColumnDep]] = {}
    for column, order in precedence.items():
        for source, name in order:
            name = derived.get(name, name)
            upstream = ("tmdb_metadata",) if source == "tmdb" else ("movies", "series")
            made_from.setdefault(column, []).extend(dg.TableColumnDep(asset, name) for asset in upstream)
    return dg.TableColumnLineage(made_from)


def _fetch_due(
    context: dg.AssetExecutionContext,
    settings: Settings,
    database: Database,
    client: "Tmdb",
    concurrency: int,
    clock: Clock,
) -> dict[str, int]:
    """Ask about everything that is due, a batch at a time; each batch is kept before the next begins.

    Raises:
        ServiceUnavailable: TMDb is down; what was fetched is kept, and those titles are tried again soon.
        ServiceRefused: TMDb refuses the key; nothing is marked as tried.
    """
    from aperture_dagster.storage.enrichment import count_due, due_titles

    now = clock.now()
    with database.transaction() as connection:
        due = count_due(connection, TMDB, now=now)
    tally = {"ok": 0, "not_found": 0, "error": 0, "rows": 0}
    context.log.info(f"{due:,} titles are due")
    progress = Progress(context, "titles from TMDb", due)
    with ThreadPoolExecutor(max_workers=concurrency, thread_name_prefix="tmdb") as pool:
        while True:
            with database.transaction() as connection:
                batch = due_titles(connection, TMDB, now=now, limit=BATCH)
            if not batch:
                break
            attempts = []
            try:
                for attempt in pool.map(lambda title: _ask(client, title), batch):
                    attempts.append(attempt)
                    progress.add()
            finally:
                # Also when the key was refused half-way: what came before is kept.
                tally["rows"] += _keep(database, settings, attempts, clock.now())
            for attempt in attempts:
                tally[attempt.outcome] += 1
            unreachable = [attempt for attempt in attempts if attempt.unreachable]
            if len(unreachable) >= min(FAILURES_THAT_MEAN_DOWN, len(attempts)):
                raise ServiceUnavailable(
                    f"TMDb cannot be reached: {unreachable[-1].detail}. {tally['ok']} titles were fetched before."
                )
    progress.tell()
    return tally


def _ask(client: "Tmdb", title: "DueTitle") -> Attempt:
    try:
        tmdb_id = title.tmdb_id or client.find(title.media_type, imdb_id=title.imdb_id, tvdb_id=title.tvdb_id)
        if tmdb_id is None:
            known = title.imdb_id or title.tvdb_id
            return Attempt(
                title, "not_found", detail=f"unknown to TMDb as {known}" if known else "the title has no ids"
            )
        return Attempt(title, "ok", answer=client.title(title.media_type, tmdb_id))
    except NotFound:
        return Attempt(title, "not_found", detail="TMDb has no such title (any more)")
    except (BadAnswer, RequestRejected) as error:
        return Attempt(title, "error", detail=str(error))
    except ServiceUnavailable as error:
        return Attempt(title, "error", detail=str(error), unreachable=True)


def _keep(database: Database, settings: Settings, attempts: list[Attempt], now: datetime) -> int:
    """Write what was fetched and how each attempt went; returns rows of metadata written."""
    from aperture_dagster.library.due import due_after, ttl_for
    from aperture_dagster.storage.enrichment import write_fetches, write_tmdb

    rows: list[dict[str, Any]] = []
    for attempt in attempts:
        failures = attempt.title.failures + 1 if attempt.outcome == "error" else 0
        released = attempt.answer.release_date if attempt.answer else None
        ttl = ttl_for(
            released.year if released else attempt.title.year,
            now=now,
            ttl=timedelta(days=settings.tmdb_ttl_days),
            young_ttl=timedelta(days=settings.tmdb_young_ttl_days),
        )
        rows.append(
            {
                "work_id": attempt.title.work_id,
                "outcome": attempt.outcome,
                "attempts": failures,
                "fetched_at": now if attempt.outcome == "ok" else None,
                "attempted_at": now,
                "due_at": due_after(attempt.outcome, failures=failures, now=now, ttl=ttl),
                "detail": attempt.detail[:500] if attempt.detail else None,
            }
        )
    with database.transaction() as connection:
        counts = write_tmdb(
            connection,
            (attempt.answer.as_row(attempt.title.work_id) for attempt in attempts if attempt.answer is not None),
        )
        write_fetches(connection, TMDB, rows)
    return counts.written


def _fetch_collections(
    context: dg.AssetExecutionContext, settings: Settings, database: Database, client: "Tmdb", clock: Clock
) -> int:
    """Ask about the collections that titles belong to and that are not known yet, or too old; returns how many came."""
    from aperture_dagster.storage.enrichment import collections_due, write_collection

    now = clock.now()
    with database.transaction() as connection:
        due = collections_due(connection, older_than=now - timedelta(days=settings.tmdb_ttl_days))
    fetched = 0
    for collection_id in due:
        try:
            collection = client.collection(collection_id)
        except (NotFound, BadAnswer, RequestRejected) as error:
            context.log.warning(f"collection {collection_id}: {error}")
            continue
        with database.transaction() as connection:
            write_collection(connection, asdict(collection), now=now)
        fetched += 1
    return fetched
