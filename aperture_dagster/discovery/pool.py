"""The pool of discovery: titles outside the library, with details, and the lists on which they were found."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.catalogue.identity import MediaType, ProviderIds
from aperture_dagster.catalogue.works import complete_works, works_for
from aperture_dagster.discovery.plan import Key
from aperture_dagster.discovery.tables import discovery_lists, discovery_pool
from aperture_dagster.enrichment.listed import SuggestedPage, SuggestedTitle
from aperture_dagster.model import MEDIA_TYPES, SKEW
from aperture_dagster.postgres.bulk import as_json, storable, upsert
from aperture_dagster.postgres.queries import execute, lock_until_commit, read_rows, read_value
from aperture_dagster.taste.histories import KNOWN_ELSEWHERE
from aperture_dagster.taste.vectors import delete_vectors
from aperture_dagster.worklist import fetches
from aperture_dagster.worklist.source import Population, Source

# Lists and details are read again after FRESH_FOR while somebody wants them, and details of titles that were only seen
# elsewhere after SEEN_FRESH_FOR. A title that nobody wants any more is deleted after KEPT_FOR. TMDb's terms allow six
# months.
FRESH_FOR, KEPT_FOR, SEEN_FRESH_FOR = timedelta(days=14), timedelta(days=60), timedelta(days=150)
# TMDb's list of the pool in ``fetches``.
POOL = Source(name="tmdb_discovery", label="TMDb")
# Columns that are answers of TMDb.
DETAILS = tuple(
    column.name
    for column in discovery_pool.columns
    # The number is what was asked for: another one in the answer may be that of another title of the pool.
    if column.name not in ("work_id", "media_type", "tmdb_id", "wanted_at", "fetched_at")
)
# Ids, of any kind, of what the library has.
_OWNED = """
    SELECT media_type, tmdb_id, imdb_id, tvdb_id FROM present_titles
    UNION ALL SELECT media_type, tmdb_id, imdb_id, tvdb_id FROM work_ids w
      WHERE EXISTS (SELECT 1 FROM present_titles t WHERE t.work_id = w.work_id)"""


def pool_population(wanted_at: datetime) -> Population:
    """Return the titles of the pool that the run of this time wants, and those that were only seen elsewhere."""
    wanted = f"(p.wanted_at = CAST('{wanted_at.isoformat()}' AS timestamptz) OR p.wanted_at IS NULL)"
    return Population(
        kinds=MEDIA_TYPES,
        members="SELECT p.media_type AS kind, p.work_id AS item, p.wanted_at AS added_at FROM discovery_pool p "
        f"WHERE {wanted} AND {{askable}}",
        has_member=f"EXISTS (SELECT 1 FROM discovery_pool p WHERE p.work_id = f.item AND {wanted})",
        name="SELECT coalesce(p.title, p.media_type || ' ' || p.tmdb_id) AS name, "
        "extract(year FROM p.release_date)::int AS year FROM discovery_pool p WHERE p.work_id = f.item",
        columns=("p.tmdb_id", "p.imdb_id", "p.tvdb_id"),
        joins="JOIN discovery_pool p ON p.work_id = f.item",
    )


# Lists


def read_lists(connection: Connection, *, now: datetime) -> dict[str, SuggestedPage]:
    """Read the lists that are still fresh, by request."""
    statement = "SELECT request, entries FROM discovery_lists WHERE read_at >= :since"
    rows = execute(connection, statement, since=now - FRESH_FOR)
    return {row.request: _page(row.entries) for row in rows}


def write_list(connection: Connection, request: str, media_type: str, page: SuggestedPage, *, now: datetime) -> None:
    """Remember a page of a list that was read."""
    known = [{name: value for name, value in asdict(entry).items() if value is not None} for entry in page.entries]
    entries = {"titles": known, "more": page.has_more}
    row = {"request": request, "media_type": media_type, "entries": entries, "read_at": now}
    upsert(connection, discovery_lists, [row])


def lists_read(connection: Connection, *, since: datetime, now: datetime) -> int:
    """Count the lists that were requested from TMDb since then."""
    statement = "SELECT count(*) FROM discovery_lists WHERE read_at BETWEEN :since AND :latest"
    return read_value(connection, statement, since=since, latest=now + SKEW)


def _page(entries: Mapping[str, Any]) -> SuggestedPage:
    return SuggestedPage(tuple(_entry(entry) for entry in entries["titles"]), entries["more"])


def _entry(one: Mapping[str, Any]) -> SuggestedTitle:
    released = one.get("released")
    return SuggestedTitle(**{**one, "released": date.fromisoformat(released) if released else None})


# The pool


def admit(connection: Connection, titles: Iterable[Key], *, now: datetime) -> int:
    """Add new titles to the pool, and note that all of these are wanted now; return how many are new.

    A title whose ids point to two different works is left out.
    """
    wanted: dict[MediaType, list[int]] = {media_type: [] for media_type in MEDIA_TYPES}
    for media_type, tmdb_id in titles:
        wanted[media_type].append(tmdb_id)
    # Before any row: a sync of the catalogue takes it first, too.
    lock_until_commit(connection, "catalogue")
    added = 0
    for media_type, numbers in wanted.items():
        statement = """
            SELECT work_id FROM discovery_pool
            WHERE media_type = :type AND tmdb_id = ANY(:numbers) AND wanted_at IS NULL"""
        only_seen = execute(connection, statement, type=media_type, numbers=numbers).scalars()
        # Until now their details were rarely refreshed, and may be too old for suggestions.
        fetches.make_due(connection, POOL, [(media_type, work_id) for work_id in only_seen], now=now)
        statement = """
            UPDATE discovery_pool SET wanted_at = :now WHERE media_type = :type AND tmdb_id = ANY(:numbers)
            RETURNING tmdb_id"""
        there = set(execute(connection, statement, now=now, type=media_type, numbers=numbers).scalars())
        new = [number for number in numbers if number not in there]
        works = works_for(connection, media_type, [ProviderIds(number) for number in new]) if new else []
        # Two numbers of TMDb's may lead to one work, and a work may be in the pool under another number.
        found = {work_id: number for number, work_id in zip(new, works, strict=True) if work_id is not None}
        rows = [
            {"work_id": work_id, "media_type": media_type, "tmdb_id": number, "wanted_at": now}
            for work_id, number in found.items()
        ]
        columns = ("work_id", "media_type", "tmdb_id", "wanted_at")
        added += upsert(connection, discovery_pool, rows, columns=columns).inserted
    return added


def write_details(connection: Connection, answers: Mapping[int, dict[str, Any]], *, now: datetime) -> int:
    """Write details of titles of the pool by work; return how many rows were written.

    A work without copies gains the ids that it lacks, so that what was rated or requested is found again when the
    library gets the title.
    """
    # As in `admit`.
    lock_until_commit(connection, "catalogue")
    written = 0
    gained: dict[MediaType, dict[int, ProviderIds]] = {"movie": {}, "series": {}}
    columns = ", ".join(f'"{name}"' for name in DETAILS)
    statement = f"""
        UPDATE discovery_pool p SET ({columns}, fetched_at) = (SELECT {columns}, CAST(:now AS timestamptz)
        FROM jsonb_populate_record(NULL::discovery_pool, CAST(:answer AS jsonb))) WHERE p.work_id = :work
        RETURNING media_type"""
    for work_id, answer in answers.items():
        values = as_json({name: answer[name] for name in DETAILS})
        row = execute(connection, statement, now=now, answer=values, work=work_id).first()
        if row is not None:
            written += 1
            gained[row.media_type][work_id] = ProviderIds(None, storable(answer["imdb_id"]), answer["tvdb_id"])
    for media_type, ids in gained.items():
        complete_works(connection, media_type, ids)
    return written


def forget(connection: Connection, works: Sequence[int]) -> int:
    """Delete titles from the pool and from all lists made of it; return how many."""
    execute(connection, "DELETE FROM discovery_candidates WHERE work_id = ANY(:works)", works=list(works))
    delete_vectors(connection, works, "discovery_vectors")
    fetches.forget(connection, POOL.name, works)
    return execute(connection, "DELETE FROM discovery_pool WHERE work_id = ANY(:works)", works=list(works)).rowcount


def forget_old(connection: Connection, *, now: datetime) -> int:
    """Delete titles that nobody has wanted for long, and lists that were read long ago; return how many titles.

    What somebody put aside for later is kept, and so is what somebody has seen elsewhere: it still counts for tastes.
    """
    execute(connection, "DELETE FROM discovery_lists WHERE read_at < :before", before=now - KEPT_FOR)
    statement = f"""
        UPDATE discovery_pool p SET wanted_at = NULL WHERE wanted_at < :before AND work_id IN ({KNOWN_ELSEWHERE})"""
    execute(connection, statement, before=now - KEPT_FOR)
    statement = f"""
        SELECT work_id FROM discovery_pool p WHERE (wanted_at IS NULL OR wanted_at < :before)
        AND work_id NOT IN ({KNOWN_ELSEWHERE})
        AND NOT EXISTS (SELECT 1 FROM for_later l WHERE l.work_id = p.work_id)"""
    return forget(connection, list(execute(connection, statement, before=now - KEPT_FOR).scalars()))


def owned_under_any_id(connection: Connection, works: Collection[int] | None = None) -> set[int]:
    """Return the titles of the pool that the library has under another id, or as another copy; of these works alone,
    if they are given.
    """
    statement = f"""
        WITH p AS MATERIALIZED (SELECT work_id, media_type, tmdb_id, imdb_id, tvdb_id FROM discovery_pool
          WHERE CAST(:works AS bigint[]) IS NULL OR work_id = ANY(:works)),
        owned AS MATERIALIZED (SELECT * FROM ({_OWNED}) o WHERE tmdb_id IN (SELECT tmdb_id FROM p)
          OR imdb_id IN (SELECT imdb_id FROM p) OR tvdb_id IN (SELECT tvdb_id FROM p))
        SELECT work_id FROM p
        WHERE EXISTS (SELECT 1 FROM present_titles t WHERE t.work_id = p.work_id)
        OR (p.media_type, p.tmdb_id) IN (SELECT media_type, tmdb_id FROM owned)
        OR p.imdb_id IN (SELECT imdb_id FROM owned)
        OR (p.media_type = 'series' AND p.tvdb_id IN (SELECT tvdb_id FROM owned WHERE media_type = 'series'))"""
    return set(execute(connection, statement, works=list(works) if works is not None else None).scalars())


# What a user has watched anywhere, rated, dismissed or requested, under all ids known, or excluded the genre of.
# Requests that failed or were refused did not reach anybody. A rating that any source removed later is none.
_SETTLED = """
    SELECT k.user_id, k.work_id, i.media_type, i.tmdb_id, i.imdb_id, i.tvdb_id FROM (
      SELECT user_id, work_id FROM watch_state WHERE played OR play_count > 0 OR position_share > 0
      UNION SELECT user_id, work_id FROM plays
      UNION SELECT user_id, work_id FROM seen_elsewhere WHERE work_id IS NOT NULL
      UNION SELECT user_id, work_id FROM ratings r WHERE rating IS NOT NULL AND NOT EXISTS (SELECT 1 FROM ratings o
        WHERE (o.user_id, o.work_id) = (r.user_id, r.work_id) AND o.rating IS NULL AND o.updated_at > r.updated_at)
      UNION SELECT user_id, work_id FROM trakt_ratings) k
    JOIN (SELECT work_id, media_type, tmdb_id, imdb_id, tvdb_id FROM work_ids
      UNION ALL SELECT work_id, media_type, tmdb_id, imdb_id, tvdb_id FROM titles) i USING (work_id)
    WHERE user_id = ANY(:users)
    UNION SELECT user_id, work_id, media_type, tmdb_id, imdb_id, tvdb_id FROM dismissals WHERE user_id = ANY(:users)
    UNION SELECT h.user_id, work_id, p.media_type, p.tmdb_id, p.imdb_id, p.tvdb_id
      FROM hidden_works h JOIN discovery_pool p USING (work_id) WHERE h.user_id = ANY(:users)
    UNION SELECT user_id, work_id, media_type, tmdb_id, NULL, NULL FROM seerr_requests
      WHERE user_id = ANY(:users) AND state NOT IN ('failed', 'refused')"""


def settled_titles(
    connection: Connection, user_ids: Sequence[str], works: Collection[int] | None = None
) -> dict[str, set[int]]:
    """Return by user the titles of the pool that they watched or rated anywhere, dismissed, or requested; of these
    works alone, if they are given.
    """
    statement = f"""
        WITH settled AS MATERIALIZED ({_SETTLED}),
        pool AS MATERIALIZED (SELECT work_id, media_type, tmdb_id, imdb_id, tvdb_id FROM discovery_pool
          WHERE CAST(:works AS bigint[]) IS NULL OR work_id = ANY(:works))
        SELECT s.user_id, p.work_id FROM settled s JOIN pool p ON p.work_id = s.work_id
        UNION SELECT s.user_id, p.work_id FROM settled s JOIN pool p USING (media_type, tmdb_id)
        UNION SELECT s.user_id, p.work_id FROM settled s JOIN pool p ON p.imdb_id = s.imdb_id
        UNION SELECT s.user_id, p.work_id FROM settled s JOIN pool p
          ON p.tvdb_id = s.tvdb_id AND (p.media_type, s.media_type) = ('series', 'series')"""
    found: dict[str, set[int]] = {user_id: set() for user_id in user_ids}
    of = {"users": list(user_ids), "works": list(works) if works is not None else None}
    for row in execute(connection, statement, **of):
        found[row.user_id].add(row.work_id)
    return found


def owned_ids(connection: Connection) -> dict[MediaType, set[int]]:
    """Return the TMDb ids of what the library has, by media type."""
    owned: dict[MediaType, set[int]] = {media_type: set() for media_type in MEDIA_TYPES}
    for row in execute(connection, f"SELECT media_type, tmdb_id FROM ({_OWNED}) o WHERE tmdb_id IS NOT NULL"):
        owned[row.media_type].add(row.tmdb_id)
    return owned


def settled_ids(connection: Connection, user_ids: Sequence[str]) -> dict[str, dict[MediaType, set[int]]]:
    """Return by user and media type the TMDb ids of what is settled for them, as in :func:`settled_titles`."""
    settled: dict[str, dict[MediaType, set[int]]] = {
        user_id: {media_type: set() for media_type in MEDIA_TYPES} for user_id in user_ids
    }
    statement = f"SELECT user_id, media_type, tmdb_id FROM ({_SETTLED}) s WHERE tmdb_id IS NOT NULL"
    for row in execute(connection, statement, users=list(user_ids)):
        settled[row.user_id][row.media_type].add(row.tmdb_id)
    return settled


def only_seen_works(connection: Connection) -> frozenset[int]:
    """Return the titles of the pool that somebody has seen elsewhere, and that are suggested to nobody."""
    return frozenset(execute(connection, "SELECT work_id FROM discovery_pool WHERE wanted_at IS NULL").scalars())


def pool_summary(connection: Connection) -> dict[str, int]:
    """Count the titles of the pool: films and series with details, and those that wait for them."""
    statement = """
        SELECT count(*) FILTER (WHERE media_type = 'movie' AND fetched_at IS NOT NULL) AS films,
        count(*) FILTER (WHERE media_type = 'series' AND fetched_at IS NOT NULL) AS series,
        count(*) FILTER (WHERE fetched_at IS NULL) AS without_details FROM discovery_pool"""
    return read_rows(connection, statement)[0]


def pool_text_rows(connection: Connection, after: int, batch: int) -> list[dict[str, Any]]:
    """Return a batch of titles with details, as the input of their texts: the columns of the library's titles."""
    statement = """
        SELECT work_id, media_type, title, extract(year FROM release_date)::int AS year, tagline, genres, keywords,
        directors, creators, "cast", companies, networks, countries, original_language AS language, overview
        FROM discovery_pool WHERE fetched_at IS NOT NULL AND work_id > :last ORDER BY work_id LIMIT :n"""
    return read_rows(connection, statement, last=after, n=batch)


def count_pool_texts(connection: Connection) -> int:
    """Count the titles with details."""
    return read_value(connection, "SELECT count(*) FROM discovery_pool WHERE fetched_at IS NOT NULL")
