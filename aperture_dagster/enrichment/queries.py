"""Metadata from each source, and the merged view of all of them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import ARRAY, Connection, Table

from aperture_dagster.catalogue.queries import PRESENT
from aperture_dagster.enrichment.merge import SERVER, MergePlan
from aperture_dagster.enrichment.tables import enriched_metadata, merges, tmdb_collections
from aperture_dagster.postgres.bulk import WriteCounts, upsert
from aperture_dagster.postgres.queries import execute, read_rows, read_value
from aperture_dagster.postgres.tables import metadata, written_columns

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


def enriched_sample(connection: Connection) -> list[dict[str, Any]]:
    """List the 20 most recently merged titles, for the asset's page."""
    statement = """
        SELECT title, year, media_type, array_to_string(genres, ', ') AS genres,
        array_to_string(keywords[1:6], ', ') AS keywords, vote_average, vote_count, imdb_rating, rotten_tomatoes,
        metacritic, mdblist_score, awards
        FROM enriched_metadata ORDER BY updated_at DESC, vote_count DESC NULLS LAST LIMIT 20"""
    return read_rows(connection, statement)


def count_values(connection: Connection) -> dict[tuple[str, str], int]:
    """Count the values of the merged view by column and source."""
    statement = f"""
        SELECT s.key AS column, s.value AS source, count(*) AS titles FROM enriched_metadata e,
        jsonb_each_text(e.sources) s WHERE {PRESENT} GROUP BY 1, 2"""
    return {(column, source): titles for column, source, titles in execute(connection, statement)}


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


def value_ranges(source: str) -> dict[str, tuple[float, float]]:
    """Return the plausible range of each numeric column of a source."""
    return {column.name: column.info["range"] for column in SOURCE_TABLES[source].columns if "range" in column.info}


def values_out_of_range(connection: Connection, source: str) -> list[dict[str, Any]]:
    """Count the values of each numeric column of a source and those out of range, with minimum and maximum."""
    table = SOURCE_TABLES[source].name
    parts = [
        f"SELECT '{column}' AS column, count({column}) AS values, min({column})::float8 AS least, "
        f"max({column})::float8 AS greatest, "
        f"count(*) FILTER (WHERE NOT {column} BETWEEN {low} AND {high}) AS out_of_range FROM {table}"
        for column, (low, high) in value_ranges(source).items()
    ]
    return read_rows(connection, " UNION ALL ".join(parts)) if parts else []


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
