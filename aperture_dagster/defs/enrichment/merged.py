"""The merged view of all sources."""

from typing import Any

import dagster as dg

from aperture_dagster.automation import on_upstream_change
from aperture_dagster.defs.catalogue import movies, series
from aperture_dagster.defs.enrichment.sources import GROUP, SOURCE_ASSETS
from aperture_dagster.defs.reporting import is_brief, materialized
from aperture_dagster.enrichment.merge import SERVER, MergePlan
from aperture_dagster.enrichment.queries import count_values, coverage, enriched_sample, write_enriched
from aperture_dagster.enrichment.sources import SOURCES, merge_plan
from aperture_dagster.instance.failures import MissingPrerequisite, operator_errors
from aperture_dagster.instance.markdown import markdown_table
from aperture_dagster.model.wording import titled
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.versions import change_version
from aperture_dagster.settings import Settings

# Headings that are as narrow as the figures below them.
SCORES = {"TMDb": "vote_average", "IMDb": "imdb_rating", "RT": "rotten_tomatoes", "MDB": "mdblist_score"}
PLAN = merge_plan()


def _lineage(plan: MergePlan) -> dg.TableColumnLineage:
    """Name for each column of the view the columns that it may be made from."""
    tables = {SERVER: ("movies", "series")} | {source.name: (source.table,) for source in SOURCES}
    return dg.TableColumnLineage(
        {
            column: [
                dg.TableColumnDep(dg.AssetKey(asset), one.own or column)
                for source, one in candidates
                for asset in tables[source]
            ]
            for column, candidates in plan.columns.items()
        }
    )


@dg.asset(
    group_name=GROUP,
    deps=[movies, series, *SOURCE_ASSETS],
    kinds={"postgres"},
    # What the media server knows is merged at once, and no source that fails keeps the others from it.
    automation_condition=on_upstream_change(additional=dg.AssetSelection.assets(*SOURCE_ASSETS), first=False),
    # Everything is merged again when it changes.
    code_version=PLAN.recipe(),
    metadata={"dagster/table_name": "enriched_metadata", "dagster/column_lineage": _lineage(PLAN)},
)
def enriched_metadata(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], database: dg.ResourceParam[Database]
) -> dg.MaterializeResult:
    """All that is known about each title in the library, one row per work, merged from the media server, TMDb, OMDb and
    MDBList.

    For every column the sources have a fixed order, and each value is stored with its source. Made after each
    of them, and only rows that differ are written.
    """
    with operator_errors(context, settings), database.transaction() as connection:
        counts, merged = write_enriched(connection, PLAN)
        shares = coverage(connection)
        works = int(shares.pop("works"))
        if not works:
            raise MissingPrerequisite("There are no titles yet: run sync_movies and sync_series first.")
        metadata: dict[str, Any] = {
            "dagster/row_count": works,
            "rows_written": counts.written,
            "added": counts.inserted,
            "changed": counts.updated,
            "merged": merged,
            "unchanged": max(works - merged, 0),
        }
        filled = [{"titles with": name, "share": f"{share:.0%}"} for name, share in shares.items()]
        if not is_brief(context):
            metadata["coverage"] = markdown_table(filled)
        if counts.written and not is_brief(context):
            metadata["merged_last"] = markdown_table([_scores(row) for row in enriched_sample(connection)])
            metadata["where_values_came_from"] = markdown_table(_provenance(PLAN, count_values(connection)), whole=True)
        version = change_version(connection, "enriched_metadata")
    return materialized(context, metadata, version=version)


def _scores(row: dict[str, Any]) -> dict[str, Any]:
    """Return a title's row of the page: its scores by service."""
    return {"title": titled(row)} | {name: row[column] for name, column in SCORES.items()}


def _provenance(plan: MergePlan, counts: dict[tuple[str, str], int]) -> list[dict[str, Any]]:
    """List for each column the order of its sources (a plus combines), and how many titles have a value from each."""
    names = [SERVER, *(source.name for source in SOURCES)]
    names += sorted({source for _, source in counts} - set(names))
    rows = []
    for column, candidates in plan.columns.items():
        labels = [(f"{source}.{one.own or column}", one.joined) for source, one in candidates]
        joined = " + ".join(label for label, is_joined in labels if is_joined)
        order = " → ".join([joined] * bool(joined) + [label for label, is_joined in labels if not is_joined])
        rows.append({"column": column, **{name: counts.get((column, name)) for name in names}, "order": order})
    return rows
