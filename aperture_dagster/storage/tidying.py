"""Removal of works and vectors that nothing refers to. Histories and their titles are never removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from aperture_dagster.storage.tables import metadata

if TYPE_CHECKING:
    from sqlalchemy import Connection

# Days before an unused work or model is removed: an identification may be corrected back, a model tried again.
KEPT_DAYS = 30
_REFERRING = [
    table
    for table in metadata.sorted_tables
    if any(key.target_fullname == "works.work_id" for key in table.foreign_keys)
]
# What was made or fetched for a work can be again, and goes with it.
DERIVED = tuple(table.name for table in _REFERRING if table.info.keys() & {"derived", "source"})
# Everything else keeps a work: its items, and what people did with it or were shown of it.
KEEPERS = tuple(table.name for table in _REFERRING if table.name not in DERIVED)


def forget_unused_works(connection: Connection) -> int:
    """Remove works that nothing has referred to for a month, and what was fetched for them; returns how many.

    Such a work is left behind when an identification is corrected. The first look at it starts the month.
    """
    # Nobody gives a work a title meanwhile.
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('catalogue'))")
    used = " OR ".join(f"EXISTS (SELECT 1 FROM {table} k WHERE k.work_id = w.work_id)" for table in KEEPERS)
    connection.exec_driver_sql(
        # Nearly all works have a title; only the others are looked for everywhere.
        "WITH bare AS MATERIALIZED (SELECT w.work_id FROM works w "
        " WHERE NOT EXISTS (SELECT 1 FROM titles k WHERE k.work_id = w.work_id)), "
        f"unused AS (SELECT w.work_id FROM bare w WHERE NOT ({used})) "
        "UPDATE works w SET unused_since = CASE WHEN u.work_id IS NULL THEN NULL ELSE now() END FROM works o "
        "LEFT JOIN unused u ON u.work_id = o.work_id "
        "WHERE o.work_id = w.work_id AND (w.unused_since IS NULL) <> (u.work_id IS NULL)"
    )
    gone = list(
        connection.execute(
            text("SELECT work_id FROM works WHERE unused_since < now() - make_interval(days => :days)"),
            {"days": KEPT_DAYS},
        ).scalars()
    )
    if gone:
        for table in DERIVED:
            connection.execute(text(f"DELETE FROM {table} WHERE work_id = ANY(:works)"), {"works": gone})
        connection.execute(
            text("DELETE FROM fetches WHERE kind IN ('movie', 'series') AND item = ANY(:works)"), {"works": gone}
        )
        connection.execute(text("DELETE FROM works WHERE work_id = ANY(:works)"), {"works": gone})
    return len(gone)


def forget_old_models(connection: Connection, *, in_use: str | None, filling: str) -> list[str]:
    """Remove the vectors of models that have not been in use for a month; returns the models.

    Args:
        in_use: the active model, None before there is one.
        filling: the model that is being filled.
    """
    old = list(
        connection.execute(
            text(
                "SELECT model_key FROM embedding_models m WHERE model_key <> :filling "
                "AND model_key IS DISTINCT FROM :in_use "
                # One that was replaced was in use until its successor was; one that never was, at best until now.
                "AND coalesce((SELECT min(n.activated_at) FROM embedding_models n "
                "  WHERE n.activated_at > m.activated_at), m.created_at) < now() - make_interval(days => :days)"
            ),
            {"filling": filling, "in_use": in_use, "days": KEPT_DAYS},
        ).scalars()
    )
    for table in ("embeddings", "embedding_models"):
        connection.execute(text(f"DELETE FROM {table} WHERE model_key = ANY(:old)"), {"old": old})
    return old
