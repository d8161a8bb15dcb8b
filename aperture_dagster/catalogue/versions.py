"""Versions of titles and episodes that listings omit: published copies are recorded here by those who publish them."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from aperture_dagster.postgres.queries import execute


def record_published_copies(connection: Connection, copies: Mapping[str, int]) -> int:
    """Record the server ids of published copies with the row of the original; return the rows written.

    A copy keeps the row to which its watch states refer, also when it shows another original of the work now.
    """
    statement = """
        INSERT INTO item_versions AS old (server_item_id, item_id, primary_item_id, is_published)
        SELECT id, nextval('item_id_seq'), original, true
        FROM unnest(CAST(:ids AS text[]), CAST(:originals AS bigint[])) AS copy (id, original)
        WHERE NOT EXISTS (SELECT 1 FROM item_versions v WHERE v.server_item_id = copy.id
          AND v.primary_item_id = copy.original AND v.is_published) ORDER BY id
        ON CONFLICT (server_item_id) DO UPDATE SET primary_item_id = excluded.primary_item_id, is_published = true
        RETURNING 1"""
    if not copies:
        return 0
    return len(execute(connection, statement, ids=list(copies), originals=list(copies.values())).all())
