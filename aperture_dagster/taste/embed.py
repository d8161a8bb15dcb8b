"""Embed the texts of titles that are new or changed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.model import Progress
from aperture_dagster.model.errors import MissingPrerequisite
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import content_version
from aperture_dagster.taste.embedder import Embedder
from aperture_dagster.taste.ranking.text import RECIPE, title_text
from aperture_dagster.taste.vectors import (
    VectorTable,
    activate_model,
    active_model,
    count_texts,
    missing_vectors,
    model_table,
    register_model,
    stored_hashes,
    text_hash,
    text_rows,
    write_vectors,
)

# Vectors may cost money: no more than these are lost when the service gives up.
BATCH = 500


def model_key_of(embedder: Embedder) -> str:
    """Return the key of vectors that this embedder makes by the recipe in use."""
    return f"{embedder.name}-recipe{RECIPE}"


def model_in_use(connection: Connection) -> str:
    """Return the model whose vectors are in use; MissingPrerequisite if none is complete yet."""
    model_key = active_model(connection)
    if model_key is None:
        raise MissingPrerequisite("No title has a vector yet: materialize embeddings first.")
    return model_key


def embed_changed(
    log: logging.Logger,
    database: Database,
    embedder: Embedder,
    model_key: str,
    rows_after: Callable[[Connection, int, int], list[dict[str, Any]]],
    vectors: VectorTable = "embeddings",
    *,
    total: int | None = None,
) -> tuple[int, list[dict[str, str]], int]:
    """Embed new and changed texts in batches.

    Args:
        log: for progress, and titles that the model refuses.
        database: where the vectors are stored.
        embedder: of the texts.
        model_key: of the vectors; the model is registered.
        rows_after: returns the titles after a work id, at most so many, by work id.
        vectors: the table of the vectors.
        total: how many titles there are, for progress.

    Returns:
        How many were embedded, the titles that the model refuses, with reasons, and how many titles there are.
    """
    with database.transaction() as connection:
        known = stored_hashes(connection, model_key, vectors)
    embedded = last = seen = 0
    refused: list[dict[str, str]] = []
    progress = Progress(log, "titles embedded or unchanged", total)
    while True:
        with database.transaction() as connection:
            rows = rows_after(connection, last, BATCH)
        if not rows:
            break
        seen += len(rows)
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
                    connection,
                    model_key,
                    works,
                    [hashes[work_id] for work_id in works],
                    embedding.vectors[taken],
                    vectors,
                )
            embedded += len(works)
        progress.add(len(rows))
    if refused:
        log.warning(
            f"The model refuses the texts of {len(refused):,} titles, which have no vector. "
            f"The first is {refused[0]['title']}: {refused[0]['why']}"
        )
    return embedded, refused, seen


@dataclass(frozen=True, slots=True)
class EmbeddedLibrary:
    """How far the library is embedded: the model, the one in use (None if none is complete), and a hash of its vectors.

    ``missing`` titles have no vector, ``refused`` ones are those that the model does not take, with reasons; ``models``
    are all that have vectors.
    """

    model_key: str
    in_use: str | None
    version: str
    embedded: int
    missing: int
    refused: list[dict[str, str]]
    models: list[dict[str, Any]]


def embed_library(log: logging.Logger, database: Database, embedder: Embedder) -> EmbeddedLibrary:
    """Embed the titles of the library that are new or changed, and use the model once its vectors are complete.

    Raises:
        MissingPrerequisite: there are no titles.
    """
    model_key = model_key_of(embedder)
    with database.transaction() as connection:
        before = active_model(connection)
        register_model(connection, model_key, embedder.dimensions)
        total = count_texts(connection)
    embedded, refused, titles = embed_changed(log, database, embedder, model_key, _library_rows, total=total)
    if not titles:
        raise MissingPrerequisite("There is nothing to embed: materialize enriched_metadata first.")
    with database.transaction() as connection:
        missing = missing_vectors(connection, model_key)
        # What the model refuses today it will refuse tomorrow: the others do not wait for it. Some of these may have a
        # vector of an earlier text.
        switched = missing <= len(refused) and activate_model(connection, model_key)
        in_use = active_model(connection)
        models = model_table(connection)
        version = content_version(connection, "embeddings", columns=["work_id", "text_hash"], model_key=in_use)
    if switched and before is not None:
        log.info(f"{model_key} is complete and replaces {before}.")
    return EmbeddedLibrary(model_key, in_use, f"{in_use}:{version}", embedded, missing, refused, models)


def _library_rows(connection: Connection, after: int, batch: int) -> list[dict[str, Any]]:
    return next(text_rows(connection, after=after, batch=batch), [])
