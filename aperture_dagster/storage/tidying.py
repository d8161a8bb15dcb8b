"""Deletion of unused works and vectors. Histories and their titles are never deleted."""

from __future__ import annotations

from sqlalchemy import Connection

from aperture_dagster.storage.queries import execute, lock_until_commit
from aperture_dagster.storage.tables import metadata

# Days until an unused work or model is deleted: a correction may be reverted, or a model be used again.
KEPT_DAYS = 30
_REFERRING = [
    table
    for table in metadata.sorted_tables
    if any(key.target_fullname == "works.work_id" for key in table.foreign_keys)
]
# Derived and fetched data can be recreated, and is deleted with the work.
DERIVED = tuple(table.name for table in _REFERRING if table.info.keys() & {"derived", "source"})
# All other references keep a work: its items, watch history, ratings and lists.
KEEPERS = tuple(table.name for table in _REFERRING if table.name not in DERIVED)


def forget_unused_works(connection: Connection) -> int:
    """Delete works unused for a month since this first found them, and the data fetched for them; return their number.

    A corrected identification leaves an unused work behind.
    """
    # Prevent a concurrent sync from assigning titles to these works.
    lock_until_commit(connection, "catalogue")
    used = " OR ".join(f"EXISTS (SELECT 1 FROM {table} k WHERE k.work_id = w.work_id)" for table in KEEPERS)
    # Nearly all works have a title; check the other tables only for the rest.
    statement = f"""
        WITH bare AS MATERIALIZED (SELECT w.work_id FROM works w
          WHERE NOT EXISTS (SELECT 1 FROM titles k WHERE k.work_id = w.work_id)),
        unused AS (SELECT w.work_id FROM bare w WHERE NOT ({used}))
        UPDATE works w SET unused_since = CASE WHEN u.work_id IS NULL THEN NULL ELSE now() END
        FROM works o LEFT JOIN unused u ON u.work_id = o.work_id
        WHERE o.work_id = w.work_id AND (w.unused_since IS NULL) <> (u.work_id IS NULL)"""
    execute(connection, statement)
    statement = f"SELECT work_id FROM works WHERE unused_since < now() - interval '{KEPT_DAYS} days'"
    gone = list(execute(connection, statement).scalars())
    if gone:
        execute(connection, "DELETE FROM fetches WHERE kind IN ('movie', 'series') AND item = ANY(:gone)", gone=gone)
        for table in (*DERIVED, "works"):
            execute(connection, f"DELETE FROM {table} WHERE work_id = ANY(:gone)", gone=gone)
    return len(gone)


def forget_old_models(connection: Connection, *, in_use: str | None, filling: str) -> list[str]:
    """Delete the vectors of models not used for a month, except ``filling``, which is being computed; return them."""
    # Last use: the activation of the successor, or the creation of a model that was never activated.
    statement = f"""
        SELECT model_key FROM embedding_models m WHERE model_key <> :filling AND model_key IS DISTINCT FROM :in_use
        AND coalesce((SELECT min(n.activated_at) FROM embedding_models n WHERE n.activated_at > m.activated_at),
          m.created_at) < now() - interval '{KEPT_DAYS} days'"""
    old = list(execute(connection, statement, filling=filling, in_use=in_use).scalars())
    for table in ("embeddings", "discovery_vectors", "embedding_models"):
        execute(connection, f"DELETE FROM {table} WHERE model_key = ANY(:old)", old=old)
    return old
