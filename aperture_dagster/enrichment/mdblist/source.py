"""MDBList as a source: scores of many sites, keywords, and where titles stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from datetime import datetime, timedelta

from aperture_dagster.enrichment.mdblist.answers import MdbListAnswer
from aperture_dagster.enrichment.mdblist.client import BatchTooLarge, MdbList
from aperture_dagster.enrichment.merge import Gives, gives
from aperture_dagster.enrichment.source import Titles, TitleSource
from aperture_dagster.http.errors import RequestRejected
from aperture_dagster.worklist.fetches import DueItem
from aperture_dagster.worklist.health import batch_size, remember_batch_size
from aperture_dagster.worklist.services import MeteredService
from aperture_dagster.worklist.work_list import Attempt

TTL = timedelta(days=7)
# Titles per request; reduced when MDBList refuses it.
BATCH = 100
# Requests per second.
RATE = (3, 1.0)
# Each batch is tried several times before it counts as failed, so two failed batches are no accident.
BATCHES_UNTIL_DOWN = 2


class MdbListTitles(Titles[MdbList]):
    """Asks MDBList about titles in batches as large as it accepts."""

    failures_until_down = BATCHES_UNTIL_DOWN

    def __init__(self, source: TitleSource[MdbList], service: MeteredService[MdbList], client: MdbList) -> None:
        super().__init__(source, service, client)
        self._database = service.database
        with self._database.transaction() as connection:
            self.unit_size = min(BATCH, batch_size(connection, source.name) or BATCH)

    def group(self, item: DueItem) -> Hashable:
        """Tell apart what cannot share a request: it holds titles of one media type, by ids of one provider."""
        return item.kind, item.imdb_id is not None

    def ttl(self, attempt: Attempt, now: datetime) -> timedelta:
        """Return how long an answer remains good."""
        return TTL

    def ask(self, unit: Sequence[DueItem]) -> Iterator[list[Attempt]]:
        """Ask about a unit of titles of one media type and provider; split a batch that is refused into smaller ones.

        If a single id is refused by itself, the batch was refused because of that id, and not because of its size.
        """
        size = self.unit_size or BATCH
        batches = deque(_parts(unit, size))
        accepted, refused_ids = size, 0
        while batches:
            batch = batches.popleft()
            try:
                answer = self._ask(batch)
            except BatchTooLarge as refused:
                accepted = min(accepted, refused.smaller)
                batches.extendleft(reversed(_parts(batch, refused.smaller)))
            except RequestRejected as error:
                refused_ids += 1
                yield [Attempt(item, "error", detail=str(error)) for item in batch]
            else:
                yield [_attempt(item, answer) for item in batch]
        if accepted < size and not refused_ids:
            # Only after all were accepted: a wrong key first looks like a batch that is too large.
            self.unit_size = accepted
            with self._database.transaction() as connection:
                remember_batch_size(connection, self.source.name, accepted)

    def _ask(self, batch: Sequence[DueItem]) -> MdbListAnswer:
        media_type = "movie" if batch[0].kind == "movie" else "series"
        if batch[0].imdb_id is not None:
            return self.client.titles(media_type, "imdb", [item.imdb_id or "" for item in batch])
        return self.client.titles(media_type, "tmdb", [item.tmdb_id or 0 for item in batch])


def _parts(items: Sequence[DueItem], size: int) -> list[Sequence[DueItem]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _attempt(item: DueItem, answer: MdbListAnswer) -> Attempt:
    asked = item.imdb_id if item.imdb_id is not None else item.tmdb_id
    if asked in answer.found:
        return Attempt(item, "ok", answer=answer.found[asked])
    if asked in answer.unreadable:
        return Attempt(item, "error", detail=f"MDBList's answer: {answer.unreadable[asked]}")
    if answer.doubtful:
        detail = "MDBList's answer held titles without ids, or that were not asked for, of which this may be one"
        return Attempt(item, "error", detail=detail)
    return Attempt(item, "not_found", detail=f"unknown to MDBList as {asked}")


MDBLIST: TitleSource[MdbList] = TitleSource(
    name="mdblist",
    label="MDBList",
    asks_by="imdb_or_tmdb",
    # One request at a time, since the size of the next batch may depend on the last.
    connect=lambda settings, key, **options: MdbList(settings.mdblist_url, key, **options),
    key=lambda settings: settings.mdblist_api_key,
    key_setting="MDBLIST_API_KEY",
    url=lambda settings: settings.mdblist_url,
    without_key="titles have no scores and keywords from MDBList",
    rate=lambda settings: RATE,
    # Of a free key, until MDBList reports the limit of this one.
    daily_limit=lambda settings: 1000,
    reports_quota=True,
    table="mdblist_scores",
    about="MDBList: scores of many sites, keywords, where titles stream.",
    description="""\
MDBList's scores of each title in the library, one row per work: its own score, Trakt, Letterboxd, Rotten Tomatoes'
critics and audience, Metacritic, keywords, where it streams.

A hundred titles per request; if MDBList accepts fewer, that is remembered. Stays within the daily quota that MDBList
reports. Skipped without an MDBList key.""",
    gives=(
        *gives(30, "imdb_rating", "imdb_votes", "rotten_tomatoes", "rotten_tomatoes_audience", "metacritic"),
        *gives(30, "letterboxd", "trakt", "streams", mdblist_score="score", official_rating="certification"),
        Gives("keywords", rank=30, joined=True),
    ),
    titles=MdbListTitles,
    cron="0 7 * * *",
)
