"""Facts about titles, and the collections that they belong to, from TMDb."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from aperture_dagster.defs.enrichment.reporting import (
    skipped,
    source_metadata,
    tell_waiting,
    warn_of_titles_without_id,
)
from aperture_dagster.defs.failures import operator_errors
from aperture_dagster.defs.media_server import movies, series
from aperture_dagster.defs.reporting import materialized
from aperture_dagster.library.sources import TMDB, TMDB_COLLECTIONS
from aperture_dagster.resources.errors import NotFound
from aperture_dagster.resources.metered_service import MeteredService
from aperture_dagster.resources.providers import Clock, Database
from aperture_dagster.settings import Settings
from aperture_dagster.worklist.due import ttl_for
from aperture_dagster.worklist.engine import (
    Attempt,
    Tally,
    WorkList,
    keep_answers,
    outcome_of,
    work_through,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from aperture_dagster.resources.tmdb import Tmdb
    from aperture_dagster.storage.work_list import DueItem

GROUP = "enrichment"

tmdb = dg.AssetSpec(
    TMDB.name,
    group_name=GROUP,
    description="The Movie Database: facts, people, keywords, votes of titles.",
    kinds={"tmdb"},
)


@dg.asset(
    group_name=GROUP,
    deps=[tmdb, movies, series],
    kinds={"tmdb", "postgres"},
    pool=TMDB.name,
    metadata={"dagster/table_name": "tmdb_metadata"},
)
def tmdb_metadata(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    tmdb_service: dg.ResourceParam[MeteredService],
    clock: dg.ResourceParam[Clock],
) -> dg.MaterializeResult:
    """What TMDb says of each title in the library, one row per work, and of the collections they belong to.

    One request a title and a collection, only for those that are due: never asked first, then the stalest. Each answer
    is kept as it comes, so a run that is stopped goes on where it was. Skipped, and said so, without a TMDb key.
    """
    if not tmdb_service.configured:
        return skipped(context, TMDB, "titles keep what the media server says of them")
    with operator_errors(context, settings), tmdb_service.open(waiting=tell_waiting(context, TMDB)) as client:
        tally = work_through(context, database, clock, _titles(settings, client, tmdb_service.concurrency))
        warn_of_titles_without_id(context, database, TMDB)
        collections = Tally()
        if tally.goes_on_at is None:
            collections = work_through(
                context, database, clock, _collections(settings, client, tmdb_service.concurrency)
            )
            tally.rows += collections.rows
            tally.goes_on_at = collections.goes_on_at
        return materialized(
            context,
            source_metadata(database, TMDB, tally, requests=client.requests, now=clock.now())
            | {"collections_fetched": collections.ok, "collections_failed": collections.error},
        )


def _titles(settings: Settings, client: "Tmdb", concurrency: int) -> WorkList:
    def ttl(attempt: Attempt, now: datetime) -> timedelta:
        return ttl_for(
            attempt.answer.release_date,
            attempt.item.year,
            now=now,
            ttl=timedelta(days=settings.tmdb_ttl_days),
            young_ttl=timedelta(days=settings.tmdb_young_ttl_days),
        )

    def ask(unit: "Sequence[DueItem]") -> Iterator[list[Attempt]]:
        for title in unit:
            yield [_ask_title(client, title)]

    return WorkList(TMDB, ask=ask, keep=keep_answers(TMDB), ttl=ttl, cancel=client.cancel, concurrency=concurrency)


def _ask_title(client: "Tmdb", title: "DueItem") -> Attempt:
    media_type = "movie" if title.kind == "movie" else "series"
    found: int | None = None

    def ask() -> Attempt:
        nonlocal found
        if title.tmdb_id is not None:
            try:
                return Attempt(title, "ok", answer=client.title(media_type, title.tmdb_id))
            except NotFound:
                # Merged and deleted ids lead nowhere, while the title may be known by another one.
                if title.imdb_id is None and title.tvdb_id is None:
                    raise
        found = client.find(media_type, imdb_id=title.imdb_id, tvdb_id=title.tvdb_id)
        if found is None or found == title.tmdb_id:
            found = None
            raise NotFound(f"unknown to TMDb as {title.tmdb_id or title.imdb_id or title.tvdb_id}")
        return Attempt(title, "ok", answer=client.title(media_type, found))

    attempt = outcome_of(title, ask)
    # Kept also when the rest failed: what was looked up once is not looked up again.
    attempt.found_id = found
    return attempt


def _collections(settings: Settings, client: "Tmdb", concurrency: int) -> WorkList:
    from aperture_dagster.storage.enrichment import write_collections

    def ask(unit: "Sequence[DueItem]") -> Iterator[list[Attempt]]:
        for item in unit:
            yield [outcome_of(item, lambda item=item: Attempt(item, "ok", answer=client.collection(item.item)))]

    def keep(connection: "Connection", attempts: Sequence[Attempt]) -> int:
        return write_collections(connection, [asdict(attempt.answer) for attempt in attempts]).written

    return WorkList(
        TMDB_COLLECTIONS,
        ask=ask,
        keep=keep,
        ttl=lambda attempt, now: timedelta(days=settings.tmdb_ttl_days),
        cancel=client.cancel,
        concurrency=concurrency,
        what="collections",
    )
