"""Which copies published libraries show on the media server, by their ids there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from aperture_dagster.postgres.queries import execute

if TYPE_CHECKING:
    from sqlalchemy import Connection


def write_copies(connection: Connection, copies: Mapping[str, int]) -> int:
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


def note_shown(connection: Connection, folders: Mapping[str, str]) -> None:
    """Record that published libraries show copies, by their ids on the server: the folders of the libraries."""
    statement = """
        INSERT INTO published_copies AS old (server_item_id, list_key)
        SELECT id, l.list_key FROM unnest(CAST(:ids AS text[]), CAST(:folders AS text[])) AS copy (id, folder)
        JOIN published_libraries l USING (folder) ORDER BY id
        ON CONFLICT (server_item_id) DO UPDATE SET list_key = excluded.list_key
        WHERE old.list_key <> excluded.list_key"""
    if folders:
        execute(connection, statement, ids=list(folders), folders=list(folders.values()))
