"""The merged view of all sources: write it, and measure how complete it is."""

from __future__ import annotations

import functools
from typing import Any

from sqlalchemy import ARRAY, Connection

from aperture_dagster.catalogue.queries import PRESENT
from aperture_dagster.enrichment.answers import SOURCE_TABLES
from aperture_dagster.enrichment.merge import SERVER, MergePlan
from aperture_dagster.enrichment.tables import enriched_metadata, merges
from aperture_dagster.postgres.bulk import WriteCounts, upsert
from aperture_dagster.postgres.queries import execute, read_rows, read_value
from aperture_dagster.postgres.tables import written_columns

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
