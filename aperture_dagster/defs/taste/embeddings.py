"""Vectors of the titles."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from aperture_dagster.automation import on_upstream_change
from aperture_dagster.defs.catalogue import movies, series
from aperture_dagster.defs.enrichment import enriched_metadata
from aperture_dagster.defs.enrichment.sources import SOURCE_ASSETS
from aperture_dagster.defs.reporting import materialized, table
from aperture_dagster.instance.failures import MissingPrerequisite, operator_errors
from aperture_dagster.instance.pools import EMBEDDER
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.versions import content_version
from aperture_dagster.settings import Settings
from aperture_dagster.taste.embedders import Embedders
from aperture_dagster.taste.embedding import embed_changed, model_key_of
from aperture_dagster.taste.ranking.text import RECIPE
from aperture_dagster.taste.vectors import (
    activate_model,
    active_model,
    missing_vectors,
    model_table,
    register_model,
    text_rows,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dg.asset(
    group_name="taste",
    deps=[movies, series, enriched_metadata],
    kinds={"numpy", "postgres"},
    # Texts are made from the view alone; the catalogue only says which works are in the library.
    # Each source changes the view, and a title would be embedded after each.
    automation_condition=on_upstream_change(
        ignoring=dg.AssetSelection.assets(movies, series), after=[asset.key for asset in SOURCE_ASSETS]
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
        model_key = model_key_of(embedder)
        with database.transaction() as connection:
            before = active_model(connection)
            register_model(connection, model_key, embedder.dimensions)
        embedded, refused, titles = embed_changed(context.log, database, embedder, model_key, _library_rows)
        if not titles:
            raise MissingPrerequisite("There is nothing to embed: materialize enriched_metadata first.")
        with database.transaction() as connection:
            missing = missing_vectors(connection, model_key)
            # What the model refuses today it will refuse tomorrow: the others do not wait for it. Some of these may
            # have a vector of an earlier text.
            switched = missing <= len(refused) and activate_model(connection, model_key)
            in_use = active_model(connection)
            models = model_table(connection)
            version = content_version(connection, "embeddings", columns=["work_id", "text_hash"], model_key=in_use)
    if switched and before is not None:
        context.log.info(f"{model_key} is complete and replaces {before}.")
    metadata = {
        "dagster/row_count": next(row["works"] for row in models if row["model"] == model_key),
        "embedded": embedded,
        "rows_written": embedded,
        "missing": missing,
        "refused": len(refused),
        "dimensions": embedder.dimensions,
        "model": model_key,
        "model_in_use": in_use or "none yet",
        "requests": embedder.requests - sent_before,
        "models": table(models),
    }
    if refused:
        metadata["refused_titles"] = table(refused[:25])
    return materialized(context, metadata, version=f"{in_use}:{version}")


def _library_rows(connection: "Connection", after: int, batch: int) -> list[dict[str, Any]]:
    return next(text_rows(connection, after=after, batch=batch), [])
