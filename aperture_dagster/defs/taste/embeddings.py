"""Vectors of the titles."""

import dagster as dg

from aperture_dagster.automation import on_upstream_change
from aperture_dagster.defs.enrichment import enriched_metadata
from aperture_dagster.defs.failures import MissingPrerequisite, operator_errors
from aperture_dagster.defs.media_server import movies, series
from aperture_dagster.defs.reporting import materialized, table
from aperture_dagster.instance.pools import EMBEDDER
from aperture_dagster.ranking.text import RECIPE, title_text
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.embedder import Embedder
from aperture_dagster.resources.providers import Embedders
from aperture_dagster.settings import Settings
from aperture_dagster.storage.tidying import forget_old_models
from aperture_dagster.storage.vectors import (
    activate_model,
    active_model,
    missing_vectors,
    model_table,
    register_model,
    stored_hashes,
    text_hash,
    text_rows,
    write_vectors,
)
from aperture_dagster.storage.versions import content_version
from aperture_dagster.worklist.progress import Progress

# Vectors may cost money: no more than these are lost when the service gives up.
BATCH = 500


@dg.asset(
    group_name="taste",
    deps=[movies, series, enriched_metadata],
    kinds={"numpy", "postgres"},
    # Texts are made from the view alone; the catalogue only says which works are in the library.
    automation_condition=on_upstream_change(ignoring=dg.AssetSelection.assets(movies, series)),
    pool=EMBEDDER,
    metadata={"dagster/table_name": "embeddings"},
)
def embeddings(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    embedders: dg.ResourceParam[Embedders],
) -> dg.MaterializeResult:
    """A vector for each title in the library, one row per model and work, made from its merged text.

    Only new and changed texts are embedded. Another model is filled beside the old one, which stays in use until the
    new one is complete.
    """
    with operator_errors(context, settings):
        embedder = embedders.get()
        sent_before = embedder.requests
        model_key = f"{embedder.name}-recipe{RECIPE}"
        with database.transaction() as connection:
            before = active_model(connection)
            register_model(connection, model_key, embedder.dimensions)
        embedded, refused = _embed_changed(context, database, embedder, model_key)
        with database.transaction() as connection:
            missing = missing_vectors(connection, model_key)
            # What the model refuses today it will refuse tomorrow: the others do not wait for it. Some of these may
            # have a vector of an earlier text.
            switched = missing <= len(refused) and activate_model(connection, model_key)
            in_use = active_model(connection)
            forgotten = forget_old_models(connection, in_use=in_use, filling=model_key)
            models = model_table(connection)
            version = content_version(connection, "embeddings", columns=["work_id", "text_hash"], model_key=in_use)
    if forgotten:
        context.log.info(f"Removed the vectors of {', '.join(forgotten)}, which had not been used for a month.")
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


def _embed_changed(
    context: dg.AssetExecutionContext, database: Database, embedder: Embedder, model_key: str
) -> tuple[int, list[dict[str, str]]]:
    """Embed new and changed texts in batches; return how many, and the titles that the model refuses, with reasons."""
    with database.transaction() as connection:
        known = stored_hashes(connection, model_key)
    embedded = last = 0
    refused: list[dict[str, str]] = []
    progress = Progress(context.log, "titles embedded")
    while True:
        with database.transaction() as connection:
            rows = next(text_rows(connection, after=last, batch=BATCH), None)
        if rows is None:
            break
        last = rows[-1]["work_id"]
        titles = {row["work_id"]: row["title"] for row in rows}
        texts = {row["work_id"]: title_text(row) for row in rows}
        hashes = {work_id: text_hash(text, model_key) for work_id, text in texts.items()}
        changed = [work_id for work_id in texts if known.get(work_id) != hashes[work_id]]
        if changed:
            embedding = embedder.embed([texts[work_id] for work_id in changed])
            refused += [{"title": titles[changed[place]], "why": why} for place, why in embedding.refused.items()]
            taken = [place for place in range(len(changed)) if place not in embedding.refused]
            works = [changed[place] for place in taken]
            with database.transaction() as connection:
                write_vectors(
                    connection, model_key, works, [hashes[work_id] for work_id in works], embedding.vectors[taken]
                )
            embedded += len(works)
        progress.add(len(changed))
    if not last:
        raise MissingPrerequisite("There is nothing to embed: materialize enriched_metadata first.")
    if refused:
        context.log.warning(
            f"The model refuses the texts of {len(refused):,} titles, which have no vector. "
            f"The first is {refused[0]['title']}: {refused[0]['why']}"
        )
    return embedded, refused
