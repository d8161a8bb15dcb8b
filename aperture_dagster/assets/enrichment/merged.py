"""The one merged view of all sources."""

import dagster as dg

from aperture_dagster.assets.common import MissingPrerequisite, operator_errors, table
from aperture_dagster.assets.enrichment.mdblist import mdblist_scores
from aperture_dagster.assets.enrichment.omdb import omdb_ratings
from aperture_dagster.assets.enrichment.tmdb import tmdb_metadata
from aperture_dagster.assets.media_server import movies, series
from aperture_dagster.automation import fresh_within_half_a_day, when_a_source_said_something_new
from aperture_dagster.resources.providers import Database
from aperture_dagster.settings import Settings

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
    automation_condition=when_a_source_said_something_new,
    freshness_policy=fresh_within_half_a_day,
)
def enriched_metadata(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], database: dg.ResourceParam[Database]
) -> dg.MaterializeResult:
    """The one merged view of each title in the library, one row per work: a stated precedence for every column, and
    for every value the source that it came from. Written only where it came out differently.
    """
    from aperture_dagster.library.merge import PRECEDENCE, TOGETHER
    from aperture_dagster.storage.enrichment import coverage, enriched_sample, provenance, write_enriched

    with operator_errors(context, settings), database.transaction() as connection:
        counts = write_enriched(connection)
        covered = coverage(connection)
        shown = enriched_sample(connection)
        came_from = provenance(connection)
        if not covered["works"]:
            raise MissingPrerequisite("There are no titles yet: run sync_movies and sync_series first.")
    works = int(covered.pop("works"))
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": works,
            "rows_written": counts.written,
            "added": counts.inserted,
            "changed": counts.updated,
            "dagster/column_lineage": _lineage(PRECEDENCE),
            "precedence": table(
                [
                    {"column": column, "asked_in_this_order": _order(order, TOGETHER.get(column, ()))}
                    for column, order in PRECEDENCE.items()
                ]
            ),
            "where_values_came_from": table(came_from),
            "merged_last": table(shown),
        }
        | {f"with_{name}": round(share, 4) for name, share in covered.items()}
    )


def _order(candidates: tuple[tuple[str, str], ...], together: tuple[str, ...]) -> str:
    """The sources of a column in their order; those whose values are put together stand with a plus."""
    joined = " + ".join(f"{source}.{name}" for source, name in candidates if source in together)
    alone = [f"{source}.{name}" for source, name in candidates if source not in together]
    return " → ".join([joined, *alone] if joined else alone)


def _lineage(precedence: dict[str, tuple[tuple[str, str], ...]]) -> dg.TableColumnLineage:
    """Where each column comes from, for the UI."""
    made_from: dict[str, list[dg.TableColumnDep]] = {}
    for column, order in precedence.items():
        for source, name in order:
            deps = (dg.TableColumnDep(asset, MADE_FROM.get(name, name)) for asset in ASSETS_OF[source])
            made_from.setdefault(column, []).extend(deps)
    return dg.TableColumnLineage(made_from)
