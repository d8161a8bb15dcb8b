"""Metadata from each source, and the merged view of all of them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import ARRAY, Connection, Table, text

from aperture_dagster.catalogue.queries import PRESENT
from aperture_dagster.enrichment.merge import SERVER, MergePlan
from aperture_dagster.enrichment.tables import enriched_metadata, merges, tmdb_collections
from aperture_dagster.postgres.bulk import WriteCounts, upsert
from aperture_dagster.postgres.queries import execute, read_rows, read_value
from aperture_dagster.postgres.tables import metadata, written_columns
from aperture_dagster.worklist.queue import Source

# Title sources, by name, with their tables.
SOURCE_TABLES: dict[str, Table] = {
    table.info["source"]: table for table in metadata.tables.values() if "source" in table.info
}
# A row of the view for a title without metadata.
NO_VALUES: dict[str, Any] = {
    name: [] if isinstance(enriched_metadata.columns[name].type, ARRAY) else None
    for name in written_columns(enriched_metadata)
}
MERGE_BATCH = 1000

# The works of the library with their sources; the oldest present copy represents each work.
_WORKS = """
    FROM (SELECT DISTINCT ON (work_id) {columns}, t.xmin AS version, t.ctid AS place FROM titles t
      WHERE removed_at IS NULL AND {scope} ORDER BY work_id, item_id) s """ + " ".join(
    f"LEFT JOIN {table.name} {source} ON {source}.work_id = s.work_id" for source, table in SOURCE_TABLES.items()
)
# The versions of the rows that a merge reads: xmin and ctid change with every update. format() keeps the positions of
# missing rows.
_VERSIONS = ", ".join(f"{source}.xmin, {source}.ctid" for source in SOURCE_TABLES)
_MADE_FROM = (
    f"format('%s|%s %s{'|%s %s' * len(SOURCE_TABLES)}', CAST(:recipe AS text), s.version, s.place, {_VERSIONS})"
)


def write_answers(connection: Connection, source: str, rows: Iterable[dict[str, Any]]) -> WriteCounts:
    """Write the rows of a title source; equal rows are not written."""
    return upsert(connection, SOURCE_TABLES[source], rows)


def write_collections(connection: Connection, rows: Iterable[dict[str, Any]]) -> WriteCounts:
    """Write collections from TMDb; equal rows are not written."""
    return upsert(connection, tmdb_collections, rows)


def write_enriched(connection: Connection, plan: MergePlan) -> tuple[WriteCounts, int]:
    """Merge the metadata of works whose source rows have changed since the last merge, in batches.

    Returns the rows written, and the number of works that were merged. Inputs are recorded as row versions instead of
    times, so that late commits and clock changes cannot hide a change.
    """
    counts, recipe = WriteCounts(), plan.recipe()
    statement = f"""
        SELECT s.work_id {_WORKS.format(columns="work_id", scope="TRUE")}
        LEFT JOIN merges m ON m.work_id = s.work_id LEFT JOIN enriched_metadata e ON e.work_id = s.work_id
        WHERE m.made_from IS DISTINCT FROM {_MADE_FROM} OR e.work_id IS NULL ORDER BY 1"""
    works = list(execute(connection, statement, recipe=recipe).scalars())
    columns = [
        f'{source}."{name}" AS "{source}.{name}"'
        for source, table in SOURCE_TABLES.items()
        for name in written_columns(table)
    ]
    statement = f"""
        SELECT s.*, {_MADE_FROM} AS made_from, {", ".join(columns)}
        {_WORKS.format(columns="t.*", scope="work_id = ANY(:works)")} ORDER BY s.work_id"""
    for start in range(0, len(works), MERGE_BATCH):
        found = read_rows(connection, statement, works=works[start : start + MERGE_BATCH], recipe=recipe)
        rows = []
        for parts in map(_by_source, found):
            identity = {name: parts[SERVER][name] for name in ("work_id", "media_type")}
            rows.append(NO_VALUES | identity | plan.merge(parts))
        counts += upsert(connection, enriched_metadata, rows)
        upsert(connection, merges, [{name: row[name] for name in ("work_id", "made_from")} for row in found])
    return counts, len(works)


def _by_source(row: dict[str, Any]) -> dict[str, Any]:
    parts: dict[str, dict[str, Any]] = {source: {} for source in (SERVER, *SOURCE_TABLES)}
    for name, value in row.items():
        source, column = _source_and_column(name)
        parts[source][column] = value
    return {source: part if part["work_id"] is not None else None for source, part in parts.items()}


@functools.cache
def _source_and_column(name: str) -> tuple[str, str]:
    source, dot, column = name.partition(".")
    return (source, column) if dot else (SERVER, name)


def coverage(connection: Connection) -> dict[str, float]:
    """Return the share of works (0-1) with keywords, overview, cast, votes, critics and awards, and their number."""
    statement = f"""
        SELECT avg((cardinality(e.keywords) > 0)::int) AS keywords, avg((e.overview IS NOT NULL)::int) AS overview,
        avg((cardinality(e."cast") > 0)::int) AS "cast", avg((e.vote_count IS NOT NULL)::int) AS votes,
        avg((e.rotten_tomatoes IS NOT NULL OR e.metacritic IS NOT NULL)::int) AS critics,
        avg((e.awards IS NOT NULL)::int) AS awards, count(*) AS works FROM enriched_metadata e WHERE {PRESENT}"""
    return {name: float(value or 0) for name, value in read_rows(connection, statement)[0].items()}


def unmerged_titles(connection: Connection) -> int:
    """Count the works of the library that have not been merged yet."""
    statement = """
        SELECT count(DISTINCT work_id) FROM present_titles t
        WHERE NOT EXISTS (SELECT 1 FROM enriched_metadata e WHERE e.work_id = t.work_id)"""
    return read_value(connection, statement)


# Lists of titles from outside, and which works of the library are on them.


@dataclass(frozen=True, slots=True)
class ListedTitle:
    """An entry of a list: a title by its ids."""

    tmdb_id: int | None = None
    imdb_id: str | None = None


@dataclass(frozen=True, slots=True)
class ListPage:
    """A page of a list: its entries of one media type in the list's order, and whether another page follows."""

    titles: tuple[ListedTitle, ...]
    has_more: bool


@dataclass(frozen=True, slots=True)
class SuggestedTitle:
    """An entry of a list of suggestions, with what the list says about the title; None where it says nothing."""

    tmdb_id: int | None = None
    imdb_id: str | None = None
    tvdb_id: int | None = None
    votes: int | None = None
    language: str | None = None
    released: date | None = None
    is_adult: bool = False


@dataclass(frozen=True, slots=True)
class SuggestedPage:
    """A page of a list of suggestions, of one media type, and whether another page follows."""

    entries: tuple[SuggestedTitle, ...]
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoverFilters:
    """What titles to look for on TMDb: those with all of these traits (by TMDb's ids), by number of votes.

    People are for films only. ``within_days`` looks for what came out in the last days, by popularity.
    """

    genre_ids: tuple[int, ...] = ()
    keyword_ids: tuple[int, ...] = ()
    person_ids: tuple[int, ...] = ()
    language: str | None = None
    minimum_votes: int = 0
    within_days: int | None = None

    @property
    def key(self) -> str:
        """A text that is the same for equal filters."""
        parts = {
            "genres": ",".join(map(str, sorted(self.genre_ids))),
            "keywords": ",".join(map(str, sorted(self.keyword_ids))),
            "people": ",".join(map(str, sorted(self.person_ids))),
            "language": self.language,
            "votes": self.minimum_votes,
            "days": self.within_days,
        }
        return "&".join(f"{name}={value}" for name, value in parts.items() if value)


@dataclass(frozen=True, slots=True)
class WorkIds:
    """The ids of a work at other services."""

    work_id: int
    tmdb_id: int | None = None
    imdb_id: str | None = None


def works_listed(pages: Iterable[ListPage], library: Sequence[WorkIds], *, wanted: int) -> tuple[list[int], int]:
    """Find the works of the library on a list, by TMDb id, then by IMDb id, and never by title.

    Args:
        pages: of the list; no more are taken than needed.
        library: works of the list's media type. If two share an id, the one with the lower ``work_id`` is found.
        wanted: how many works are enough.

    Returns:
        The works in the list's order, each once, and the number of entries looked at.
    """
    by_tmdb: dict[int, int] = {}
    by_imdb: dict[str, int] = {}
    for work in sorted(library, key=lambda work: work.work_id):
        if work.tmdb_id is not None:
            by_tmdb.setdefault(work.tmdb_id, work.work_id)
        if work.imdb_id is not None:
            by_imdb.setdefault(work.imdb_id, work.work_id)
    # A dictionary keeps the order, and each work once.
    found: dict[int, None] = {}
    entries = 0
    for page in pages:
        for title in page.titles:
            entries += 1
            work_id = by_tmdb.get(title.tmdb_id) if title.tmdb_id is not None else None
            if work_id is None and title.imdb_id is not None:
                work_id = by_imdb.get(title.imdb_id)
            if work_id is not None:
                found.setdefault(work_id)
        if len(found) >= wanted or not page.has_more:
            break
    return list(found)[:wanted], entries


# Companies and networks of the library's titles, and their logos.


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
        UPDATE fetches f SET due_at = :now FROM studio_logos s WHERE f.source = :source AND f.kind = s.kind
        AND f.item = s.studio_id AND f.outcome IN ('ok', 'not_found') AND f.due_at > :now
        AND s.logo_path IS NOT NULL AND s.logo_path IS DISTINCT FROM s.tried_path"""
    execute(connection, statement, source=source.name, now=now)


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
