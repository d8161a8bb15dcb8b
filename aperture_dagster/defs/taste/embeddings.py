"""Vectors of the titles."""

import dagster as dg

from aperture_dagster.automation import on_upstream_change
from aperture_dagster.defs.catalogue import movies, series
from aperture_dagster.defs.enrichment import enriched_metadata
from aperture_dagster.defs.enrichment.assets import SOURCE_ASSETS
from aperture_dagster.defs.reporting import materialized, table
from aperture_dagster.instance.failures import operator_errors
from aperture_dagster.instance.pools import EMBEDDER
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.taste.embedders import Embedders
from aperture_dagster.taste.embedding import embed_library
from aperture_dagster.taste.ranking.text import RECIPE


@dg.asset(
    group_name="taste",
    deps=[movies, series, enriched_metadata],
    kinds={"numpy", "postgres"},
    # Texts are made from the view alone; the catalogue only says which works are in the library.
    # Each source changes the view, and a title would be embedded, and all lists renewed, after each.
    automation_condition=on_upstream_change(
        ignoring=dg.AssetSelection.assets(movies, series), after=[asset.key for asset in SOURCE_ASSETS], first=False
    ),
    pool=EMBEDDER,
    code_version=RECIPE,
    metadata={"dagster/table_name": "embeddings"},
)
def embeddings(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    embedders: dg.ResourceParam[Embedders],
) -> dg.MaterializeResult:
    """A vector for each title in the library, by which similar titles are found: one row per model and work.

    Made from the merged text of the title when that is new or has changed, on this machine unless you configure a
    service. Vectors of a new model are stored beside the old ones, which stay in use until all are there.
    """
    with operator_errors(context, settings):
        embedder = embedders.get()
        sent_before = embedder.requests
        done = embed_library(context.log, database, embedder)
    metadata = {
        "dagster/row_count": next(row["works"] for row in done.models if row["model"] == done.model_key),
        "embedded": done.embedded,
        "rows_written": done.embedded,
        "missing": done.missing,
        "refused": len(done.refused),
        "dimensions": embedder.dimensions,
        "model": done.model_key,
        "model_in_use": done.in_use or "none yet",
        "requests": embedder.requests - sent_before,
        "models": table(done.models),
    }
    if done.refused:
        metadata["refused_titles"] = table(done.refused[:25])
    return materialized(context, metadata, version=done.version)
