"""Enrichment: the work list of all sources, what each source said, and the merged view."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from aperture_dagster.library.merge import merge_sources
from aperture_dagster.storage.bulk import WriteCounts, upsert
from aperture_dagster.storage.tables import enriched_metadata, tmdb_collections, tmdb_metadata

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from aperture_dagster.resources.media_server import MediaType

TMDB_COLUMNS = tuple(column.name for column in tmdb_metadata.columns if column.name != "updated_at")
ENRICHED_COLUMNS = tuple(column.name for column in enriched_metadata.columns if column.name != "updated_at")
MERGE_BATCH = 1000

# The copy that stands for a work: one that is there, the oldest.
ONE_COPY = "SELECT DISTINCT ON (work_id) * FROM titles ORDER BY work_id, (removed_at IS NOT NULL), item_id"


@dataclass(frozen=True, slots=True)
class DueTitle:
    """A work whose turn it is with a source. ``failures``: attempts that failed in a row so far."""

    work_id: int
    media_type: MediaType
    title: str
    year: int | None
    tmdb_id: int | None
    imdb_id: str | None
    tvdb_id: int | None
    failures: int


def due_titles(connection: Connection, source: str, *, now: datetime, limit: int) -> list[DueTitle]:
    """The next works to ask ``source`` about: those never asked first, newest in the library first; then those that
    have been due longest. An id that the source itself found earlier is used again.
    """
    rows = connection.execute(
        text(
            "SELECT w.work_id, w.media_type, t.title, t.year, coalesce(w.tmdb_id, m.tmdb_id) AS tmdb_id, w.imdb_id, "
            "w.tvdb_id, coalesce(f.attempts, 0) AS failures FROM works w "
            "JOIN LATERAL (SELECT title, year, added_at FROM titles t WHERE t.work_id = w.work_id "
            "  AND t.removed_at IS NULL ORDER BY item_id LIMIT 1) t ON true "
            "LEFT JOIN fetches f ON f.source = :source AND f.work_id = w.work_id "
            "LEFT JOIN tmdb_metadata m ON m.work_id = w.work_id "
            "WHERE f.work_id IS NULL OR f.due_at <= :now "
            "ORDER BY (f.work_id IS NOT NULL), CASE WHEN f.work_id IS NULL THEN t.added_at END DESC NULLS LAST, "
            "f.due_at, w.work_id LIMIT :n"
        ),
        {"source": source, "now": now, "n": limit},
    ).all()
    return [DueTitle(*row) for row in rows]


def count_due(connection: Connection, source: str, *, now: datetime) -> int:
    """How many works are due with ``source``."""
    statement = text(
        "SELECT count(*) FROM works w LEFT JOIN fetches f ON f.source = :source AND f.work_id = w.work_id "
        "WHERE (f.work_id IS NULL OR f.due_at <= :now) "
        "AND EXISTS (SELECT 1 FROM titles t WHERE t.work_id = w.work_id AND t.removed_at IS NULL)"
    )
    return connection.execute(statement, {"source": source, "now": now}).scalar() or 0


def write_fetches(connection: Connection, source: str, rows: Iterable[dict[str, Any]]) -> None:
    """Note how attempts went. Each row: ``work_id``, ``outcome``, ``attempts``, ``fetched_at`` (None keeps the last),
    ``attempted_at``, ``due_at``, ``detail``.
    """
    rows = [{"source": source, **row} for row in rows]
    if not rows:
        return
    connection.execute(
        text(
            "INSERT INTO fetches (source, work_id, outcome, attempts, fetched_at, attempted_at, due_at, detail) "
            "VALUES (:source, :work_id, :outcome, :attempts, :fetched_at, :attempted_at, :due_at, :detail) "
            "ON CONFLICT (source, work_id) DO UPDATE SET outcome = excluded.outcome, attempts = excluded.attempts, "
            "fetched_at = coalesce(excluded.fetched_at, fetches.fetched_at), attempted_at = excluded.attempted_at, "
            "due_at = excluded.due_at, detail = excluded.detail"
        ),
        rows,
    )


def write_tmdb(connection: Connection, rows: Iterable[dict[str, Any]]) -> WriteCounts:
    """Write what TMDb said; a row that says the same is not written."""
    return upsert(connection, tmdb_metadata, rows, columns=TMDB_COLUMNS)


def collections_due(connection: Connection, *, older_than: datetime) -> list[int]:
    """Collections that titles of the library belong to and that were never fetched, or too long ago."""
    statement = text(
        "SELECT DISTINCT m.collection_id FROM tmdb_metadata m LEFT JOIN tmdb_collections c USING (collection_id) "
        "WHERE m.collection_id IS NOT NULL AND (c.collection_id IS NULL OR c.fetched_at < :since) "
        "AND EXISTS (SELECT 1 FROM titles t WHERE t.work_id = m.work_id AND t.removed_at IS NULL) ORDER BY 1"
    )
    return list(connection.execute(statement, {"since": older_than}).scalars())


def write_collection(connection: Connection, row: dict[str, Any], *, now: datetime) -> WriteCounts:
    """Write a collection."""
    return upsert(connection, tmdb_collections, [{**row, "fetched_at": now}], columns=[*row, "fetched_at"], touch=None)


def outcomes(connection: Connection, source: str) -> list[dict[str, Any]]:
    """How the last attempts with ``source`` stand, by outcome, for works in the library (``waiting``: never asked)."""
    statement = text(
        "SELECT coalesce(f.outcome, 'waiting') AS outcome, count(*) AS titles, min(f.due_at)::text AS next_due "
        "FROM works w LEFT JOIN fetches f ON f.source = :source AND f.work_id = w.work_id "
        "WHERE EXISTS (SELECT 1 FROM titles t WHERE t.work_id = w.work_id AND t.removed_at IS NULL) "
        "GROUP BY 1 ORDER BY 2 DESC"
    )
    return [dict(row) for row in connection.execute(statement, {"source": source}).mappings()]


def failed_titles(connection: Connection, source: str, limit: int = 20) -> list[dict[str, Any]]:
    """The titles whose last attempt failed or found nothing, and why."""
    statement = text(
        "SELECT t.title, t.year, f.outcome, f.attempts, f.detail, f.due_at::text AS next_attempt FROM fetches f "
        f"JOIN ({ONE_COPY}) t USING (work_id) WHERE f.source = :source AND f.outcome <> 'ok' AND t.removed_at IS NULL "
        "ORDER BY f.outcome, f.attempts DESC, t.title LIMIT :n"
    )
    return [dict(row) for row in connection.execute(statement, {"source": source, "n": limit}).mappings()]


def write_enriched(connection: Connection) -> WriteCounts:
    """Merge all sources for every work in the library, in batches; rows that come out the same are not written."""
    counts = WriteCounts()
    for batch in _merge_input(connection):
        rows = []
        for server, tmdb in batch:
            merged = merge_sources(server, tmdb)
            rows.append({"work_id": server["work_id"], "media_type": server["media_type"], **merged})
        counts += upsert(connection, enriched_metadata, rows, columns=ENRICHED_COLUMNS)
    return counts


def _merge_input(connection: Connection) -> Iterator[Sequence[tuple[dict[str, Any], dict[str, Any] | None]]]:
    last = 0
    tmdb_columns = ", ".join(f't."{name}" AS "tmdb.{name}"' for name in TMDB_COLUMNS)
    statement = text(
        f"SELECT s.*, {tmdb_columns} FROM ({ONE_COPY}) s LEFT JOIN tmdb_metadata t USING (work_id) "
        "WHERE s.removed_at IS NULL AND s.work_id > :last ORDER BY s.work_id LIMIT :n"
    )
    while True:
        rows = connection.execute(statement, {"last": last, "n": MERGE_BATCH}).mappings().all()
        if not rows:
            return
        last = rows[-1]["work_id"]
        batch = []
        for row in rows:
            server = {name: value for name, value in row.items() if not name.startswith("tmdb.")}
            tmdb = {name[5:]: value for name, value in row.items() if name.startswith("tmdb.")}
            batch.append((server, tmdb if tmdb["work_id"] is not None else None))
        yield batch


def enriched_sample(connection: Connection, limit: int = 20) -> list[dict[str, Any]]:
    """The titles merged last, for the asset's page."""
    statement = text(
        "SELECT title, year, media_type, array_to_string(genres, ', ') AS genres, "
        "array_to_string(keywords[1:6], ', ') AS keywords, vote_average, vote_count, "
        "(SELECT count(*) FROM jsonb_each_text(sources) s WHERE s.value = 'tmdb') AS from_tmdb, "
        "(SELECT count(*) FROM jsonb_each_text(sources) s WHERE s.value = 'server') AS from_server "
        "FROM enriched_metadata ORDER BY updated_at DESC, vote_count DESC NULLS LAST LIMIT :n"
    )
    return [dict(row) for row in connection.execute(statement, {"n": limit}).mappings()]


def coverage(connection: Connection) -> dict[str, float]:
    """The share of the library's works (0-1) that have keywords, an overview, cast and votes."""
    row = connection.exec_driver_sql(
        "SELECT count(*), avg((cardinality(e.keywords) > 0)::int), avg((e.overview IS NOT NULL)::int), "
        'avg((cardinality(e."cast") > 0)::int), avg((e.vote_count IS NOT NULL)::int) FROM enriched_metadata e '
        "WHERE EXISTS (SELECT 1 FROM titles t WHERE t.work_id = e.work_id AND t.removed_at IS NULL)"
    ).one()
    names = ("keywords", "overview", "cast", "votes")
    return {name: float(value or 0) for name, value in zip(names, row[1:], strict=True)} | {"works": float(row[0])}


def unmerged_titles(connection: Connection) -> int:
    """How many works of the library are not in the merged view."""
    return (
        connection.exec_driver_sql(
            "SELECT count(DISTINCT work_id) FROM titles t WHERE removed_at IS NULL "
            "AND NOT EXISTS (SELECT 1 FROM enriched_metadata e WHERE e.work_id = t.work_id)"
        ).scalar()
        or 0
    )
