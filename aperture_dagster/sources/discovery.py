"""Lists and details of titles outside the library, from TMDb."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from aperture_dagster.library.discovery import KnownList, ListQuery
from aperture_dagster.library.listed import SuggestedPage
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.errors import (
    BadAnswer,
    NotFound,
    RequestRejected,
    ServicePaused,
    ServiceUnavailable,
)
from aperture_dagster.resources.tmdb import Tmdb
from aperture_dagster.settings import Settings
from aperture_dagster.sources.services import MeteredService
from aperture_dagster.sources.tmdb import TMDB
from aperture_dagster.storage.discovery import POOL_SOURCE, pool_population, write_details, write_list
from aperture_dagster.storage.populations import Source
from aperture_dagster.storage.work_list import DueItem
from aperture_dagster.worklist.engine import Attempt, WorkList, outcome_of

# A list that cannot be read is left out; after so many in a row, no other is tried.
FAILURES_UNTIL_DOWN = 3
# Details age by whole days: a run that begins a little earlier than the last one must not find half of them due.
SLACK = timedelta(hours=12)


@dataclass(slots=True)
class ListsRead:
    """What became of lists that were read: how many, and those that were empty from the first page on.

    ``given_up``: so many failed in a row that no other is tried.
    """

    read: int = 0
    failed: int = 0
    suspicious: int = 0
    given_up: bool = False


def read_pages(
    client: Tmdb,
    database: Database,
    pages: Iterable[tuple[ListQuery, int]],
    known: dict[str, KnownList],
    clock: Clock,
    log: logging.Logger,
    *,
    budget: int,
    today: datetime,
    total: ListsRead,
) -> int:
    """Read pages of lists until ``budget`` of them were requested in total; return how many are new.

    Each is stored as it comes, and added to ``known``.

    Args:
        client: of TMDb.
        database: where lists are stored.
        pages: what to read.
        known: the lists of earlier requests.
        clock: for the time at which a list was read.
        log: for lists that cannot be read, and empty ones.
        budget: how many may be requested, with those in ``total``.
        today: the time at which the day began, in the operator's time zone.
        total: the totals of the run.

    Raises:
        ServiceUnavailable: TMDb is down; what was read is stored.
        ServiceRefused: the key was refused.
    """
    before, in_a_row, failed = total.read, 0, 0
    for query, page in pages:
        if total.given_up or total.read + total.failed >= budget:
            break
        request = query.request(page)
        try:
            answer = _read(client, query, page, today)
            in_a_row = 0
        except ServicePaused:
            raise
        except (ServiceUnavailable, BadAnswer, RequestRejected) as error:
            in_a_row += 1
            total.given_up = in_a_row >= FAILURES_UNTIL_DOWN
            if total.given_up and isinstance(error, ServiceUnavailable):
                raise
            total.failed += 1
            failed += 1
            if failed == 1:
                log.warning(f"{request} could not be read and is left out: {error}")
            continue
        if query.filters is not None and query.filters.within_days is None and page == 1 and not answer.entries:
            # TMDb answers filters that it does not know in this way, too.
            total.suspicious += 1
            log.warning(f"TMDb found no title for {query.seed} ({request}).")
        with database.transaction() as connection:
            write_list(connection, request, query.media_type, answer, now=clock.now())
        known[request] = KnownList(answer.entries, answer.has_more, read_today=True)
        total.read += 1
    if failed > 1:
        others = "; no other was tried in this run" if total.given_up else ""
        log.warning(f"{failed - 1:,} more lists could not be read and are left out{others}.")
    return total.read - before


def _read(client: Tmdb, query: ListQuery, page: int, today: datetime) -> SuggestedPage:
    if query.filters is not None:
        return client.discover(query.media_type, query.filters, page, today=today.date())
    try:
        return client.recommendations(query.media_type, query.tmdb_id or 0, page)
    except NotFound:
        # The title was merged or deleted; enrichment finds its new number.
        return SuggestedPage((), has_more=False)


def pool_source(budget: int) -> Source:
    """Return TMDb's work list of the pool: the titles that were chosen for this run."""
    return Source(name=POOL_SOURCE, label=TMDB.label, population=pool_population(budget))


def pool_details(
    service: MeteredService[Tmdb], client: Tmdb, settings: Settings, clock: Clock, *, budget: int
) -> WorkList:
    """Return the work list of the details of the titles that were chosen for this run."""
    ttl = timedelta(days=settings.discovery_ttl_days)
    ttl = max(ttl - SLACK, ttl / 2)

    def store(connection: Connection, attempts: Sequence[Attempt]) -> int:
        return write_details(connection, {one.item.item: one.answer for one in attempts}, now=clock.now())

    return WorkList(
        source=pool_source(budget),
        ask=lambda unit: ([_ask(client, title)] for title in unit),
        store=store,
        ttl=lambda attempt, now: ttl,
        cancel=client.cancel,
        concurrency=service.concurrency,
        what="titles outside the library",
    )


def _ask(client: Tmdb, title: DueItem) -> Attempt:
    media_type = "movie" if title.kind == "movie" else "series"

    def ask() -> Attempt:
        try:
            return Attempt(title, "ok", answer=client.pool_title(media_type, title.tmdb_id or 0))
        except NotFound:
            # Merged and deleted ids are gone without a pointer, but the title may be found by another one.
            found = client.find(media_type, imdb_id=title.imdb_id, tvdb_id=title.tvdb_id)
            if found is None or found == title.tmdb_id:
                raise
            return Attempt(title, "ok", answer=client.pool_title(media_type, found))

    return outcome_of(title, ask)
