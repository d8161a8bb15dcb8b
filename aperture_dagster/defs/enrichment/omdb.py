"""Ratings of critics and of IMDb's voters, and awards, from OMDb."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg

from aperture_dagster.defs.enrichment.reporting import skipped, source_metadata, tell_waiting
from aperture_dagster.defs.failures import operator_errors
from aperture_dagster.defs.media_server import movies, series
from aperture_dagster.defs.reporting import materialized
from aperture_dagster.library.sources import OMDB
from aperture_dagster.resources.metered_service import MeteredService
from aperture_dagster.resources.providers import Clock, Database
from aperture_dagster.settings import Settings
from aperture_dagster.worklist.engine import Attempt, WorkList, keep_answers, outcome_of, work_through

if TYPE_CHECKING:
    from aperture_dagster.resources.omdb import Omdb
    from aperture_dagster.storage.work_list import DueItem

GROUP = "enrichment"

omdb = dg.AssetSpec(
    OMDB.name,
    group_name=GROUP,
    description="OMDb: Rotten Tomatoes, Metacritic, IMDb's ratings, awards.",
    kinds={"omdb"},
)


@dg.asset(
    group_name=GROUP,
    deps=[omdb, movies, series],
    kinds={"omdb", "postgres"},
    pool=OMDB.name,
    metadata={"dagster/table_name": "omdb_ratings"},
)
def omdb_ratings(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    omdb_service: dg.ResourceParam[MeteredService],
    clock: dg.ResourceParam[Clock],
) -> dg.MaterializeResult:
    """What OMDb says of each title in the library that has an IMDb id, one row per work: Rotten Tomatoes, Metacritic,
    IMDb's rating and votes, awards.

    One request a title, within the day's quota, which is counted across runs and restarts. When it is used up the step
    ends well, and the next day goes on. Skipped, and said so, without an OMDb key.
    """
    if not omdb_service.configured:
        return skipped(context, OMDB, "titles have no ratings of OMDb")
    with operator_errors(context, settings), omdb_service.open(waiting=tell_waiting(context, OMDB)) as client:
        tally = work_through(context, database, clock, _titles(settings, client, omdb_service))
        return materialized(
            context,
            source_metadata(database, OMDB, tally, requests=client.requests, now=clock.now(), quota=omdb_service.quota),
        )


def _titles(settings: Settings, client: "Omdb", service: "MeteredService[Omdb]") -> WorkList:
    def ask(unit: "Sequence[DueItem]") -> Iterator[list[Attempt]]:
        for title in unit:
            imdb_id = title.imdb_id or ""
            yield [outcome_of(title, lambda title=title, i=imdb_id: Attempt(title, "ok", answer=client.title(i)))]

    return WorkList(
        OMDB,
        ask=ask,
        keep=keep_answers(OMDB),
        ttl=lambda attempt, now: timedelta(days=settings.omdb_ttl_days),
        cancel=client.cancel,
        quota=service.quota,
        concurrency=service.concurrency,
    )
