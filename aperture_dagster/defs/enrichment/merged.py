"""The one merged view of all sources."""

from typing import Any

import dagster as dg

from aperture_dagster.automation import on_upstream_change
from aperture_dagster.defs.enrichment.mdblist import mdblist_scores
from aperture_dagster.defs.enrichment.omdb import omdb_ratings
from aperture_dagster.defs.enrichment.tmdb import tmdb_metadata
from aperture_dagster.defs.failures import MissingPrerequisite, operator_errors
from aperture_dagster.defs.media_server import movies, series
from aperture_dagster.defs.reporting import materialized, table
from aperture_dagster.library.merge import PRECEDENCE, TOGETHER
from aperture_dagster.resources.providers import Database
from aperture_dagster.settings import Settings
from aperture_dagster.storage.versions import change_version

GROUP = "enrichment"
# The asset that each source of a value stands in.
ASSETS_OF = {
    "server": ("movies", "series"),
    "tmdb": ("tmdb_metadata",),
    "omdb": ("omdb_ratings",),
    "mdblist": ("mdblist_scores",),
}
# Columns of the precedence that are made from another one of their source.
MADE_FROM = {
    "release_year": "release_date",
    "cast_names": "cast",
    "company_names": "companies",
    "network_names": "networks",
}


@dg.asset(
    group_name=GROUP,
    deps=[movies, series, tmdb_metadata, omdb_ratings, mdblist_scores],
    kinds={"postgres"},
    automation_condition=on_upstream_change(
        optional=dg.AssetSelection.assets(tmdb_metadata, omdb_ratings, mdblist_scores)
    ),
    metadata={"dagster/table_name": "enriched_metadata"},
)
def enriched_metadata(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], database: dg.ResourceParam[Database]
) -> dg.MaterializeResult:
    """The one merged view of each title in the library, one row per work: a stated precedence for every column, and
    for every value the source that it came from. Written only where it came out differently.
    """
    from aperture_dagster.storage.enrichment import coverage, enriched_sample, provenance, write_enriched

    with operator_errors(context, settings), database.transaction() as connection:
        counts = write_enriched(connection)
        covered = coverage(connection)
        shown = enriched_sample(connection)
        came_from = provenance(connection)
        version = change_version(connection, "enriched_metadata")
        if not covered["works"]:
            raise MissingPrerequisite("There are no titles yet: run sync_movies and sync_series first.")
    works = int(covered.pop("works"))
    return materialized(
        context,
        {
            "dagster/row_count": works,
            "rows_written": counts.written,
            "added": counts.inserted,
            "changed": counts.updated,
            "dagster/column_lineage": _lineage(),
            "merged_last": table(shown),
            "where_values_came_from": table(_provenance(came_from)),
        }
        | {f"with_{name}": round(share, 4) for name, share in covered.items()},
        version=version,
    )


def _provenance(came_from: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each column the order in which the sources are asked, those that are put together with a plus between them;
    and how many titles have their value from which.
    """
    counted = {(row["column"], row["source"]): row["titles"] for row in came_from}
    sources = [*ASSETS_OF, *("+".join(sources) for sources in TOGETHER.values())]
    rows = []
    for column, candidates in PRECEDENCE.items():
        together = TOGETHER.get(column, ())
        joined = " + ".join(f"{source}.{name}" for source, name in candidates if source in together)
        alone = [f"{source}.{name}" for source, name in candidates if source not in together]
        order = " → ".join([joined, *alone] if joined else alone)
        counts = {source: counted.get((column, source)) for source in sources}
        rows.append({"column": column, **counts, "asked_in_this_order": order})
    return rows


def _lineage() -> dg.TableColumnLineage:
    """Where each column comes from, for the UI."""
    made_from: dict[str, list[dg.TableColumnDep]] = {}
    for column, order in PRECEDENCE.items():
        for source, name in order:
            deps = (dg.TableColumnDep(asset, MADE_FROM.get(name, name)) for asset in ASSETS_OF[source])
            made_from.setdefault(column, []).extend(deps)
    return dg.TableColumnLineage(made_from)
