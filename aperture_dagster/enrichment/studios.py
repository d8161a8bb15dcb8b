"""Companies and networks of the library's titles, and their logos."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from aperture_dagster.postgres.bulk import WriteCounts
from aperture_dagster.postgres.queries import execute, read_rows
from aperture_dagster.worklist.fetches import make_due
from aperture_dagster.worklist.source import Source


@dataclass(frozen=True, slots=True)
class StoredLogo:
    """A logo that has been downloaded."""

    kind: str
    studio_id: int
    name: str
    file_name: str
    picture_kind: str
    sha256: str
    shown_sha256: str | None


def gather_studios(connection: Connection) -> WriteCounts:
    """Update the studios from the TMDb metadata of the library's titles. Studios without titles are kept."""
    statement = """
        WITH named AS (SELECT k.kind, (s->>'id')::bigint AS studio_id, s->>'name' AS name,
          s->>'logo_path' AS logo_path, m.work_id FROM tmdb_metadata m
          CROSS JOIN LATERAL (VALUES ('company', m.companies), ('network', m.networks)) AS k (kind, studios)
          CROSS JOIN LATERAL jsonb_array_elements(k.studios) s WHERE jsonb_typeof(s->'id') = 'number'
          AND EXISTS (SELECT 1 FROM present_titles t WHERE t.work_id = m.work_id)),
        studios AS MATERIALIZED (SELECT kind, studio_id, max(name) AS name, max(logo_path) AS logo_path,
          count(DISTINCT work_id)::int AS titles FROM named GROUP BY kind, studio_id),
        written AS (INSERT INTO studio_logos AS old (kind, studio_id, name, logo_path, titles)
          SELECT kind, studio_id, name, logo_path, titles FROM studios
          ON CONFLICT (kind, studio_id) DO UPDATE SET name = excluded.name, logo_path = excluded.logo_path,
          titles = excluded.titles, updated_at = now() WHERE (old.name, old.logo_path, old.titles)
          IS DISTINCT FROM (excluded.name, excluded.logo_path, excluded.titles) RETURNING (xmax = 0) AS is_new),
        left_over AS (UPDATE studio_logos SET titles = 0, updated_at = now() WHERE titles > 0
          AND (kind, studio_id) NOT IN (SELECT kind, studio_id FROM studios) RETURNING 1)
        SELECT (SELECT count(*) FROM written WHERE is_new), (SELECT count(*) FROM written WHERE NOT is_new),
        (SELECT count(*) FROM left_over)"""
    inserted, changed, left_over = execute(connection, statement).one()
    return WriteCounts(inserted=inserted, updated=changed + left_over)


def ask_for_changed_logos(
    connection: Connection, source: Source, *, lost: Iterable[tuple[str, int]], now: datetime
) -> None:
    """Make logos due now that have changed since the last attempt, or whose files are ``lost``.

    Failed downloads keep their retry time: a changed logo does not fix the service.
    """
    _update_studios(connection, "stored_path = NULL, tried_path = NULL, file_name = NULL", lost)
    statement = """
        SELECT kind, studio_id FROM studio_logos
        WHERE logo_path IS NOT NULL AND logo_path IS DISTINCT FROM tried_path"""
    changed = [(row.kind, row.studio_id) for row in execute(connection, statement)]
    make_due(connection, source, changed, now=now)


def note_tried(connection: Connection, studios: Iterable[tuple[str, int]]) -> None:
    """Record that these studios' logos were requested, whatever the outcome."""
    _update_studios(connection, "tried_path = logo_path", studios)


def note_stored(connection: Connection, rows: Iterable[dict[str, Any]]) -> int:
    """Record downloaded logos and return their number. Each row has ``kind``, ``studio_id``, ``stored_path``,
    ``file_name``, ``picture_kind``, ``sha256`` and ``bytes``.
    """
    rows = list(rows)
    columns = ("stored_path", "file_name", "picture_kind", "sha256", "bytes")
    assignments = ", ".join(f"{name} = :{name}" for name in columns)
    _update(connection, f"{assignments}, tried_path = :stored_path, updated_at = now()", rows)
    return len(rows)


def note_shown(connection: Connection, logo: StoredLogo) -> None:
    """Record that the media server shows this picture."""
    _update(connection, "shown_sha256 = :sha256", [asdict(logo)])


def _update_studios(connection: Connection, assignments: str, studios: Iterable[tuple[str, int]]) -> None:
    _update(connection, assignments, [{"kind": kind, "studio_id": studio_id} for kind, studio_id in studios])


def _update(connection: Connection, assignments: str, rows: list[dict[str, Any]]) -> None:
    """Update the studio of each row, which has its key and the values of the assignments."""
    if rows:
        statement = f"UPDATE studio_logos SET {assignments} WHERE kind = :kind AND studio_id = :studio_id"
        connection.execute(text(statement), rows)


def stored_logos(connection: Connection) -> list[StoredLogo]:
    """List all downloaded logos, studios with the most titles first."""
    statement = """
        SELECT kind, studio_id, name, file_name, picture_kind, sha256, shown_sha256 FROM studio_logos
        WHERE file_name IS NOT NULL ORDER BY titles DESC, kind, studio_id"""
    return [StoredLogo(*row) for row in execute(connection, statement)]


def studio_table(connection: Connection) -> list[dict[str, Any]]:
    """List the 25 studios with the most titles, for the asset's page."""
    statement = """
        SELECT name, kind, titles, file_name, picture_kind, bytes, CASE WHEN logo_path IS NULL THEN 'none at TMDb'
        WHEN stored_path IS NULL THEN 'missing' WHEN stored_path = logo_path THEN 'stored' ELSE 'outdated' END AS logo
        FROM studio_logos WHERE titles > 0 ORDER BY titles DESC, name LIMIT 25"""
    return read_rows(connection, statement)


def missing_logos(connection: Connection, source: Source, limit: int = 20) -> list[dict[str, Any]]:
    """List studios without their current logo: ``name``, ``titles``, ``reason``; failures first, then by titles."""
    statement = """
        SELECT s.name, s.titles, CASE WHEN s.logo_path IS NULL THEN 'TMDb has no logo'
        WHEN f.outcome = 'error' THEN f.detail ELSE 'not downloaded yet' END AS reason
        FROM studio_logos s LEFT JOIN fetches f ON (f.source, f.kind, f.item) = (:source, s.kind, s.studio_id)
        WHERE s.titles > 0 AND (s.stored_path IS NULL OR s.stored_path <> s.logo_path)
        ORDER BY s.logo_path IS NULL, s.titles DESC, s.name LIMIT :n"""
    return read_rows(connection, statement, source=source.name, n=limit)
