"""What keeps a home in order: what is wrong with it, and what is old and may go."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.catalogue.unused import find_unused
from aperture_dagster.members.sessions import LIFE
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import execute, lock_until_commit, read_value
from aperture_dagster.schema import metadata
from aperture_dagster.taste.vectors import forget_models
from aperture_dagster.worklist.fetches import forget_works

# Deletion of what nothing uses any more. Histories and their titles are never deleted.


_REFERRING = [
    table
    for table in metadata.sorted_tables
    if any(key.target_fullname == "works.work_id" for key in table.foreign_keys)
]
# Derived and fetched data can be recreated, and is deleted with the work.
DERIVED = tuple(table.name for table in _REFERRING if table.info.keys() & {"derived", "source"})
# All other references keep a work: its items, watch history, ratings and lists.
KEEPERS = tuple(table.name for table in _REFERRING if table.name not in DERIVED)

BATCH = 2_000
# Per part and run; after the first purge of an old home, the following nights do the rest.
MOST_BATCHES = 250
MOST_WORKS = 5_000
VECTORS = ("embeddings", "discovery_vectors")
# Below this, the space is left to the next autovacuum.
WORTH_A_VACUUM = 1_000
# A correction may be reverted, or a model be used again.
KEEP_UNUSED = timedelta(days=30)
KEEP_QUOTA = timedelta(days=90)
# `aperture status` looks back 30 days.
KEEP_PAST_PICKS = timedelta(days=60)
# TMDb allows its data to be kept for six months. What is in use is fetched again every month.
KEEP_TMDB = timedelta(days=180)


@dataclass(frozen=True, slots=True)
class Freed:
    """What one part of housekeeping deleted: rows or files, their bytes, and from which tables."""

    part: str
    rows: int
    bytes: int
    tables: tuple[str, ...] = ()


def delete_in_batches(
    connection: Connection,
    part: str,
    *,
    tables: tuple[str, ...],
    expired: str,
    along: str | None = None,
    key: str = "id",
    **values: Any,
) -> Freed:
    """Delete rows batch by batch, each in a transaction of its own if the connection is in autocommit mode.

    Args:
        part: the name of what is deleted.
        tables: the table, and those from which ``along`` and foreign keys delete.
        expired: a query of the ``key`` of rows to delete; it may continue ``:after`` the key of the last batch.
        along: a statement that deletes what belongs to the rows in ``gone``, in the same transaction.
        key: an indexed number, or ``ctid`` in a table without one.
        values: of the parameters.
    """
    name = tables[0]
    also = f", along AS ({along})" if along else ""
    statement = f"""
        WITH expired AS MATERIALIZED ({expired} LIMIT {BATCH}),
        gone AS (DELETE FROM {name} d USING expired WHERE d.{key} = expired.{key} RETURNING d.*, pg_column_size(d) AS _)
        {also} SELECT (SELECT max({key}) FROM expired), count(*), coalesce(sum(_), 0) FROM gone"""
    after: Any = 0
    rows = size = 0
    for _ in range(MOST_BATCHES):
        after, deleted, freed = execute(connection, statement, after=after, **values).one()
        if after is None:
            break
        rows, size = rows + deleted, size + int(freed)
    return Freed(part, rows, size, tables)


def vacuum(connection: Connection, freed: Iterable[Freed]) -> None:
    """Make the space of deleted rows usable at once, without locking anybody out; autovacuum may take weeks to come.

    The connection must be in autocommit mode.
    """
    tables = {name for one in freed if one.rows >= WORTH_A_VACUUM for name in one.tables}
    if tables:
        execute(connection, f"VACUUM (ANALYZE) {', '.join(sorted(tables))}")


def size_of_database(connection: Connection) -> int:
    """Return the bytes of the connection's database on disk."""
    return read_value(connection, "SELECT pg_database_size(current_database())")


def forget_unused_works(connection: Connection, *, now: datetime, before: datetime) -> Freed:
    """Delete works that have been unused since ``before``, and the data fetched for them.

    A work counts as unused from the first call that finds it so. A corrected identification leaves one behind, and so
    does a title that discovery suggested and that nobody wanted.
    """
    # Prevent a concurrent sync from assigning titles to these works.
    lock_until_commit(connection, "catalogue")
    gone = find_unused(connection, keepers=KEEPERS, now=now, before=before, limit=MOST_WORKS)
    size = 0
    if gone:
        forget_works(connection, gone)
        for table in (*DERIVED, "works"):
            statement = f"""
                WITH d AS (DELETE FROM {table} t WHERE work_id = ANY(:gone) RETURNING pg_column_size(t) AS bytes)
                SELECT coalesce(sum(bytes), 0) FROM d"""
            size += int(read_value(connection, statement, gone=gone))
    return Freed("unused_works", len(gone), size, ("works", *DERIVED))


def forget_old_models(connection: Connection, *, before: datetime) -> Freed:
    """Delete the vectors of embedding models that have not been used since ``before``.

    The model in use stays, and so does one that is being filled: the newest, or one that has got vectors since then.
    """
    # Last use: the activation of the successor, or the creation of a model that was never activated.
    statement = """
        SELECT model_key FROM embedding_models m WHERE activated_at IS DISTINCT FROM
          (SELECT max(activated_at) FROM embedding_models)
        AND created_at < (SELECT max(created_at) FROM embedding_models)
        AND coalesce((SELECT min(n.activated_at) FROM embedding_models n WHERE n.activated_at > m.activated_at),
          m.created_at) < :before
        AND NOT EXISTS (SELECT 1 FROM embeddings v WHERE v.model_key = m.model_key AND v.updated_at >= :before)"""
    old = list(execute(connection, statement, before=before).scalars())
    rows = size = 0
    for table in VECTORS:
        expired = f"SELECT ctid FROM {table} WHERE model_key = ANY(:old)"
        freed = delete_in_batches(connection, "vectors", tables=(table,), expired=expired, key="ctid", old=old)
        rows, size = rows + freed.rows, size + freed.bytes
    forget_models(connection, old, vectors=VECTORS)
    return Freed("vectors", rows, size, VECTORS)


def forget_quota(connection: Connection, *, before: datetime) -> Freed:
    """Delete the numbers of requests of days before ``before``."""
    expired = "SELECT ctid FROM quota WHERE day < :day"
    return delete_in_batches(connection, "quota", tables=("quota",), expired=expired, key="ctid", day=before.date())


def forget_sessions(connection: Connection, *, before: datetime) -> Freed:
    """Delete the sessions that began before ``before``, which have ended."""
    expired = "SELECT ctid FROM sessions WHERE created_at < :before"
    return delete_in_batches(connection, "sessions", tables=("sessions",), expired=expired, key="ctid", before=before)


def forget_evenings(connection: Connection, *, now: datetime) -> Freed:
    """Delete evenings that have ended, with their votes."""
    expired = "SELECT ctid FROM evenings WHERE ends_at <= :now"
    return delete_in_batches(connection, "evenings", tables=("evenings",), expired=expired, key="ctid", now=now)


def forget_past_picks(connection: Connection, *, before: datetime) -> Freed:
    """Delete the record of titles that left the lists before ``before``."""
    expired = "SELECT ctid FROM past_picks WHERE left_at < :before"
    return delete_in_batches(
        connection, "past_picks", tables=("past_picks",), expired=expired, key="ctid", before=before
    )


def forget_old_tmdb(connection: Connection, *, before: datetime) -> Freed:
    """Delete what TMDb has not confirmed since ``before``: of titles that left the library, or if its key is gone."""
    expired = """
        SELECT work_id FROM tmdb_metadata t WHERE work_id > :after AND updated_at < :before AND NOT EXISTS (
          SELECT 1 FROM fetches f WHERE f.source LIKE 'tmdb%' AND f.kind IN ('movie', 'series') AND f.item = t.work_id
          AND f.fetched_at >= :before) ORDER BY work_id"""
    table = "tmdb_metadata"
    return delete_in_batches(connection, table, tables=(table,), expired=expired, key="work_id", before=before)


def forget_pictures(home: Path, *, before: datetime) -> Freed:
    """Delete pictures that were downloaded before ``before``; what is drawn again is downloaded again."""
    rows = size = 0
    for path in (home / "posters").glob("*.picture"):
        status = path.lstat()
        if status.st_mtime < before.timestamp():
            path.unlink()
            rows, size = rows + 1, size + status.st_size
    return Freed("pictures", rows, size)


def tidy_database(database: Database, now: datetime) -> list[Freed]:
    """Delete what the product's own tables no longer need."""
    with database.transaction() as connection:
        freed = [forget_unused_works(connection, now=now, before=now - KEEP_UNUSED)]
    with database.autocommit() as connection:
        freed.append(forget_old_models(connection, before=now - KEEP_UNUSED))
        freed.append(forget_quota(connection, before=now - KEEP_QUOTA))
        freed.append(forget_sessions(connection, before=now - LIFE))
        freed.append(forget_evenings(connection, now=now))
        freed.append(forget_past_picks(connection, before=now - KEEP_PAST_PICKS))
        freed.append(forget_old_tmdb(connection, before=now - KEEP_TMDB))
        vacuum(connection, freed)
    return freed
