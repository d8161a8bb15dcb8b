"""Scores of many sites, keywords, and where titles stream, from MDBList."""

from collections import deque
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg

from aperture_dagster.defs.enrichment.reporting import skipped, source_metadata, tell_waiting
from aperture_dagster.defs.failures import operator_errors
from aperture_dagster.defs.media_server import movies, series
from aperture_dagster.defs.reporting import materialized
from aperture_dagster.library.sources import MDBLIST
from aperture_dagster.resources.errors import RequestRejected
from aperture_dagster.resources.metered_service import MeteredService
from aperture_dagster.resources.providers import Clock, Database
from aperture_dagster.resources.quota import QuotaLedger
from aperture_dagster.settings import Settings
from aperture_dagster.worklist.engine import Attempt, WorkList, keep_answers, work_through

if TYPE_CHECKING:
    from aperture_dagster.resources.mdblist import MdbList, MdbListAnswer
    from aperture_dagster.storage.work_list import DueItem

GROUP = "enrichment"
# A batch is tried five times before it counts as failed: two of them are no accident.
BATCHES_THAT_MEAN_DOWN = 2

mdblist = dg.AssetSpec(
    MDBLIST.name,
    group_name=GROUP,
    description="MDBList: scores of many sites, keywords, where titles stream.",
    kinds={"mdblist"},
)


@dg.asset(
    group_name=GROUP,
    deps=[mdblist, movies, series],
    kinds={"mdblist", "postgres"},
    pool=MDBLIST.name,
    metadata={"dagster/table_name": "mdblist_scores"},
)
def mdblist_scores(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    mdblist_service: dg.ResourceParam[MeteredService],
    clock: dg.ResourceParam[Clock],
) -> dg.MaterializeResult:
    """What MDBList says of each title in the library, one row per work: its own score, Trakt, Letterboxd, Rotten
    Tomatoes' critics and audience, Metacritic, keywords, where it streams.

    A hundred titles a request, fewer where that is refused, and that is remembered. Within the day's quota, as MDBList
    itself tells it. Skipped, and said so, without an MDBList key.
    """
    if not mdblist_service.configured:
        return skipped(context, MDBLIST, "titles have no scores and keywords of MDBList")
    with operator_errors(context, settings), mdblist_service.open(waiting=tell_waiting(context, MDBLIST)) as client:
        batches = _Batches(client, database, settings.mdblist_batch_size)
        tally = work_through(context, database, clock, _titles(settings, client, batches, mdblist_service.quota))
        return materialized(
            context,
            source_metadata(
                database, MDBLIST, tally, requests=client.requests, now=clock.now(), quota=mdblist_service.quota
            )
            | {"batch_size": batches.size},
        )


class _Batches:
    """Asks about titles in batches as large as MDBList takes them."""

    def __init__(self, client: "MdbList", database: Database, size: int) -> None:
        from aperture_dagster.storage.services import batch_size

        self._client, self._database = client, database
        client.batch_size = size
        with database.transaction() as connection:
            remembered = batch_size(connection, MDBLIST.name)
        self.size = min(size, remembered or size)

    def ask(self, unit: "Sequence[DueItem]") -> Iterator[list[Attempt]]:
        """Attempts of a unit, which are of one kind and known by one sort of id; a batch that is refused is asked about
        in smaller ones.

        A single id that is refused even alone was what the batch was refused for, and its size was not.
        """
        from aperture_dagster.resources.mdblist import BatchTooLarge

        batches = deque(_parts(unit, self.size))
        taken, culprits = self.size, 0
        while batches:
            batch = batches.popleft()
            try:
                answer = self._ask(batch)
            except BatchTooLarge as refused:
                taken = min(taken, refused.smaller)
                batches.extendleft(reversed(_parts(batch, refused.smaller)))
            except RequestRejected as error:
                culprits += 1
                yield [Attempt(item, "error", detail=str(error)) for item in batch]
            else:
                yield [_attempt(item, answer) for item in batch]
        if taken < self.size and not culprits:
            # Only now that all were taken: a wrong key looks like a batch too large at first.
            self.size = taken
            self._remember()

    def _ask(self, batch: "Sequence[DueItem]") -> "MdbListAnswer":
        media_type = "movie" if batch[0].kind == "movie" else "series"
        if batch[0].imdb_id is not None:
            return self._client.titles(media_type, "imdb", [item.imdb_id or "" for item in batch])
        return self._client.titles(media_type, "tmdb", [item.tmdb_id or 0 for item in batch])

    def _remember(self) -> None:
        from aperture_dagster.storage.services import remember_batch_size

        with self._database.transaction() as connection:
            remember_batch_size(connection, MDBLIST.name, self.size)


def _parts(items: "Sequence[DueItem]", size: int) -> "list[Sequence[DueItem]]":
    return [items[start : start + size] for start in range(0, len(items), size)]


def _attempt(item: "DueItem", answer: "MdbListAnswer") -> Attempt:
    asked = item.imdb_id if item.imdb_id is not None else item.tmdb_id
    if asked in answer.found:
        return Attempt(item, "ok", answer=answer.found[asked])
    if asked in answer.unreadable:
        return Attempt(item, "error", detail=f"MDBList's answer: {answer.unreadable[asked]}")
    if answer.doubtful:
        detail = "MDBList's answer held titles without ids, or that were not asked for, of which this may be one"
        return Attempt(item, "error", detail=detail)
    return Attempt(item, "not_found", detail=f"unknown to MDBList as {asked}")


def _titles(settings: Settings, client: "MdbList", batches: _Batches, quota: QuotaLedger | None) -> WorkList:
    return WorkList(
        MDBLIST,
        ask=batches.ask,
        keep=keep_answers(MDBLIST),
        ttl=lambda attempt, now: timedelta(days=settings.mdblist_ttl_days),
        cancel=client.cancel,
        quota=quota,
        unit_size=lambda: batches.size,
        # A request holds titles of one kind, by one sort of id.
        group=lambda item: (item.kind, item.imdb_id is not None),
        failures_that_mean_down=BATCHES_THAT_MEAN_DOWN,
    )
