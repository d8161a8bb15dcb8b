"""Titles that somebody has seen elsewhere: finding out at TMDb which they are, so that they count for tastes.

Imports name titles by ids, or by name and year, or an episode by its id alone. What nothing here knows is looked up,
and joins the pool for its details. It is suggested to nobody for that: ``wanted_at`` stays empty until the lists of
somebody lead to it as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection

from aperture_dagster.catalogue.history.progress import lock_history
from aperture_dagster.catalogue.identity import ProviderIds
from aperture_dagster.catalogue.references import MediaType, simplify
from aperture_dagster.catalogue.works import works_for
from aperture_dagster.enrichment.listed import NamedEntry
from aperture_dagster.enrichment.tmdb.client import Tmdb
from aperture_dagster.enrichment.tmdb.source import TMDB
from aperture_dagster.http.errors import NotFound
from aperture_dagster.imports.importing import recognise_as
from aperture_dagster.model import MEDIA_TYPES, Clock
from aperture_dagster.postgres.queries import array_of, execute, lock_until_commit
from aperture_dagster.taste.histories import KNOWN_ELSEWHERE
from aperture_dagster.worklist.fetches import DueItem
from aperture_dagster.worklist.services import MeteredService
from aperture_dagster.worklist.source import Population, Source
from aperture_dagster.worklist.work_list import Attempt, OneByOne

# A title that was found leaves the list.
FOUND_TTL = timedelta(days=365)
# Rows that do not say yet which title of TMDb they are about.
_OPEN = """
    (s.work_id IS NULL OR EXISTS (
      SELECT 1 FROM works o WHERE o.work_id = s.work_id AND o.tmdb_id IS NULL
      AND (o.imdb_id IS NOT NULL OR o.tvdb_id IS NOT NULL)
      AND NOT EXISTS (SELECT 1 FROM titles t WHERE t.work_id = o.work_id)))"""
SEEN = Source(
    name="tmdb_seen",
    label=TMDB.label,
    population=Population(
        kinds=("seen",),
        members="SELECT 'seen' AS kind, s.seen_id AS item, i.imported_at AS added_at FROM seen_elsewhere s "
        f"JOIN history_imports i USING (import_id) WHERE {_OPEN} AND {{askable}}",
        has_member=f"EXISTS (SELECT 1 FROM seen_elsewhere s WHERE s.seen_id = f.item AND {_OPEN})",
        name="SELECT coalesce(n.title, '') AS name, n.year FROM seen_elsewhere n WHERE n.seen_id = f.item",
        columns=("s.media_type", "coalesce(s.episode_imdb_id, w.imdb_id) AS imdb_id", "w.tvdb_id"),
        joins="JOIN seen_elsewhere s ON s.seen_id = f.item LEFT JOIN works w ON w.work_id = s.work_id",
    ),
)


class SeenTitles(OneByOne[Tmdb]):
    """Asks TMDb which titles members have seen elsewhere."""

    what = "titles seen elsewhere"

    def __init__(self, service: MeteredService[Tmdb], client: Tmdb, clock: Clock) -> None:
        super().__init__(SEEN, service, client)
        self._clock = clock

    def ask_about(self, item: DueItem) -> Attempt:
        """Look a title up by its ids or else by its name and year, or the series of an episode by the episode's id."""
        types: list[MediaType] = [name for name in MEDIA_TYPES if item.media_type in (name, None)]
        found = self._by_ids(item, types) if item.imdb_id or item.tvdb_id else self._by_name(item, types)
        return Attempt(item, "ok", answer=found)

    def store(self, connection: Connection, attempts: Sequence[Attempt]) -> int:
        """Note which titles they are, as works; return how many."""
        # In the order of an import: the locks of histories come before that of the catalogue.
        statement = """
            SELECT DISTINCT user_id FROM seen_elsewhere
            WHERE seen_id = ANY(CAST(:rows AS bigint[])) ORDER BY user_id"""
        rows = array_of([attempt.item.item for attempt in attempts])
        for user_id in execute(connection, statement, rows=rows).scalars().all():
            lock_history(connection, user_id)
        found: dict[int, int] = {}
        for media_type in MEDIA_TYPES:
            own = [attempt for attempt in attempts if attempt.answer[0] == media_type]
            works = works_for(connection, media_type, [attempt.answer[1] for attempt in own])
            found |= {
                attempt.item.item: work for attempt, work in zip(own, works, strict=True) if work is not None
            }  # fmt: skip
        recognise_as(connection, found, now=self._clock.now())
        return len(found)

    def ttl(self, attempt: Attempt, now: datetime) -> timedelta:
        """Return how long an answer remains good."""
        return FOUND_TTL

    def _by_ids(self, item: DueItem, types: Sequence[MediaType]) -> tuple[MediaType, ProviderIds]:
        for media_type in types:
            number = self.client.find(media_type, imdb_id=item.imdb_id, tvdb_id=item.tvdb_id)
            if number is not None:
                return media_type, ProviderIds(number, item.imdb_id, item.tvdb_id)
        series = self.client.series_of_episode(item.imdb_id) if item.imdb_id and "series" in types else None
        if series is None:
            raise NotFound("TMDb does not know this id")
        return "series", ProviderIds(series)

    def _by_name(self, item: DueItem, types: Sequence[MediaType]) -> tuple[MediaType, ProviderIds]:
        found: list[tuple[MediaType, int]] = []
        for media_type in types if simplify(item.name) else ():
            entries = self.client.search(media_type, item.name, item.year)
            if entries is None:
                raise NotFound("TMDb knows too many titles of this name")
            for number in titles_named(item.name, item.year, entries):
                found.append((media_type, number))
        if len(found) != 1:
            raise NotFound("TMDb knows several titles of this name" if found else "TMDb knows no title of this name")
        return found[0][0], ProviderIds(found[0][1])


def titles_named(name: str, year: int | None, entries: Iterable[NamedEntry]) -> set[int]:
    """Return the titles that have exactly this name (without case, accents and punctuation) and, if given, year."""
    wanted = simplify(name)
    return {
        entry.tmdb_id
        for entry in entries
        if wanted in map(simplify, entry.names)
        and (year is None or (entry.released is not None and entry.released.year == year))
    }


def admit_seen(connection: Connection) -> int:
    """Add what somebody has seen or rated elsewhere, and the library lacks, to the pool; return how many are new."""
    lock_until_commit(connection, "catalogue")
    statement = f"""
        INSERT INTO discovery_pool (work_id, media_type, tmdb_id)
        SELECT w.work_id, w.media_type, w.tmdb_id FROM works w JOIN ({KNOWN_ELSEWHERE}) k USING (work_id)
        WHERE w.tmdb_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM present_titles t WHERE t.work_id = w.work_id)
        ON CONFLICT DO NOTHING"""
    return execute(connection, statement).rowcount
