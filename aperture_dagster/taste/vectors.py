"""Vectors of titles, per model. The most recently activated model is in use."""

from __future__ import annotations

import hashlib
import json
import logging
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Connection

from aperture_dagster.catalogue.queries import PRESENT
from aperture_dagster.model import Progress
from aperture_dagster.model.errors import MissingPrerequisite
from aperture_dagster.postgres.bulk import INTEGER, WriteCounts, driver_cursor, read_packed
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import content_version, execute, read_rows, read_value
from aperture_dagster.taste.embedder import Embedder
from aperture_dagster.taste.ranking.text import LISTS_OF_NAMES, RECIPE, TEXT_COLUMNS, title_text

if TYPE_CHECKING:
    import numpy as np

# The vectors of the library's works, and of titles outside it.
VectorTable = Literal["embeddings", "discovery_vectors"]
_BETWEEN_NAMES = "\x1f"
# float16, little-endian on every machine: backups move between them.
STORED, STORED_BYTES = "<f2", 2


def text_hash(content: str, model_key: str) -> str:
    """Return a hash of the model and a title's text. A vector is recomputed when its hash changes."""
    serialized = json.dumps({"model": model_key, "text": content})
    return hashlib.blake2b(serialized.encode(), digest_size=16).hexdigest()


def register_model(connection: Connection, model_key: str, dimensions: int) -> None:
    """Register a model. Its vectors are not used until :func:`activate_model`."""
    statement = "INSERT INTO embedding_models (model_key, dimensions) VALUES (:key, :dimensions) ON CONFLICT DO NOTHING"
    execute(connection, statement, key=model_key, dimensions=dimensions)


def activate_model(connection: Connection, model_key: str) -> bool:
    """Make the model the active one; return whether this is a change."""
    if active_model(connection) == model_key:
        return False
    # Later than all others, even if the clock has been set back.
    statement = """
        UPDATE embedding_models SET activated_at = greatest(clock_timestamp(),
        (SELECT max(activated_at) FROM embedding_models) + interval '1 microsecond') WHERE model_key = :key"""
    execute(connection, statement, key=model_key)
    return True


def active_model(connection: Connection) -> str | None:
    """Return the active model; None until the vectors of the first are complete."""
    statement = """
        SELECT model_key FROM embedding_models WHERE activated_at IS NOT NULL ORDER BY activated_at DESC LIMIT 1"""
    return read_value(connection, statement)


def forget_models(connection: Connection, model_keys: Sequence[str], *, vectors: Sequence[str]) -> None:
    """Delete those of the models that have no vectors left in the tables ``vectors``."""
    without = "".join(f" AND NOT EXISTS (SELECT 1 FROM {table} v WHERE v.model_key = m.model_key)" for table in vectors)
    execute(connection, f"DELETE FROM embedding_models m WHERE model_key = ANY(:keys){without}", keys=list(model_keys))


def text_rows(connection: Connection, *, after: int = 0, batch: int = 2000) -> Iterator[list[dict[str, Any]]]:
    """Yield what the texts of the library's works are made from (:func:`title_text`), in batches."""
    # Splitting a text takes half the time that the driver takes for an array.
    lists = [f'array_to_string(e."{name}", :between) AS "{name}"' for name in LISTS_OF_NAMES]
    columns = ", ".join([*(f'e."{name}"' for name in TEXT_COLUMNS if name not in LISTS_OF_NAMES), *lists])
    statement = f"""
        SELECT e.work_id, {columns} FROM enriched_metadata e WHERE e.work_id > :last AND {PRESENT}
        ORDER BY work_id LIMIT :n"""
    while rows := read_rows(connection, statement, last=after, n=batch, between=_BETWEEN_NAMES):
        after = rows[-1]["work_id"]
        for row in rows:
            for name in LISTS_OF_NAMES:
                row[name] = row[name].split(_BETWEEN_NAMES) if row[name] else []
        yield rows


def stored_hashes(connection: Connection, model_key: str, table: VectorTable = "embeddings") -> dict[int, str]:
    """Return the hash of the text behind each vector of a model, by work."""
    rows = execute(connection, f"SELECT work_id, text_hash FROM {table} WHERE model_key = :key", key=model_key)
    return {row.work_id: row.text_hash for row in rows}


def write_vectors(
    connection: Connection,
    model_key: str,
    work_ids: Sequence[int],
    hashes: Sequence[str],
    vectors: np.ndarray,
    table: VectorTable = "embeddings",
) -> WriteCounts:
    """Write vectors (float32, (n, d)) of works, replacing older ones."""
    connection.exec_driver_sql(
        "CREATE TEMPORARY TABLE incoming_vectors (work_id bigint, text_hash text, vector bytea) ON COMMIT DROP"
    )
    with (
        driver_cursor(connection) as cursor,
        cursor.copy("COPY incoming_vectors (work_id, text_hash, vector) FROM STDIN WITH (FORMAT BINARY)") as copy,
    ):
        copy.write(_binary_rows(work_ids, hashes, vectors))
    statement = f"""
        WITH written AS (INSERT INTO {table} (model_key, work_id, text_hash, vector)
          SELECT :key, work_id, text_hash, vector FROM incoming_vectors ON CONFLICT (model_key, work_id) DO UPDATE
          SET text_hash = excluded.text_hash, vector = excluded.vector, updated_at = now()
          RETURNING (xmax = 0) AS fresh)
        SELECT count(*) FILTER (WHERE fresh), count(*) FILTER (WHERE NOT fresh) FROM written"""
    inserted, updated = execute(connection, statement, key=model_key).one()
    connection.exec_driver_sql("DROP TABLE incoming_vectors")
    return WriteCounts(inserted, updated)


def _binary_rows(work_ids: Sequence[int], hashes: Sequence[str], vectors: np.ndarray) -> bytes:
    """Return rows of ``incoming_vectors`` as COPY reads them, all at once: value by value takes longer than a model."""
    size, whole = vectors.shape[1] * STORED_BYTES, vectors.astype(STORED).tobytes()
    parts = [b"PGCOPY\n\xff\r\n\0" + bytes(8)]
    for place, work_id, text_hash in zip(range(len(vectors)), work_ids, hashes, strict=True):
        encoded = text_hash.encode()
        parts += [
            struct.pack(">hiqi", 3, 8, work_id, len(encoded)),
            encoded,
            struct.pack(">i", size),
            whole[place * size : (place + 1) * size],
        ]
    return b"".join([*parts, struct.pack(">h", -1)])


def read_vectors(
    connection: Connection, model_key: str, work_ids: Iterable[int], table: VectorTable = "embeddings"
) -> tuple[np.ndarray, np.ndarray]:
    """Read vectors of works in the given order: float16 (n, d), as they are stored, and a mask (n,) of those found.

    The others are zero.
    """
    import numpy as np

    from aperture_dagster.taste.ranking.histories import find

    works = np.fromiter(work_ids, dtype=np.int64)
    order = np.argsort(works, kind="stable")
    known = works[order]
    statement = "SELECT dimensions FROM embedding_models WHERE model_key = :key"
    dimensions = execute(connection, statement, key=model_key).scalar_one()
    vectors = np.zeros((len(works), dimensions), dtype=np.float16)
    mask = np.zeros(len(works), dtype=bool)
    columns = {"work_id": INTEGER, "vector": ("byteasend", (STORED, (dimensions,)))}
    query = f"SELECT work_id, vector FROM {table} WHERE model_key = %s"
    for block in read_packed(connection, query, columns, (model_key,)):
        places = find(known, block["work_id"])
        found = places >= 0
        rows = order[places[found]]
        vectors[rows] = block["vector"][found]
        mask[rows] = True
    return vectors, mask


def model_table(connection: Connection) -> list[dict[str, Any]]:
    """List all models with the number of the library's works that each covers, for the asset's page."""
    statement = f"""
        SELECT m.model_key AS model, m.dimensions, (SELECT count(*) FROM embeddings e
          WHERE e.model_key = m.model_key AND {PRESENT}) AS works, m.activated_at::text AS in_use_since
        FROM embedding_models m ORDER BY m.activated_at DESC NULLS LAST"""
    return read_rows(connection, statement)


def missing_vectors(connection: Connection, model_key: str) -> int:
    """Count the works of the library that have no vector of the model."""
    statement = f"""
        SELECT count(*) FROM enriched_metadata e WHERE {PRESENT} AND NOT EXISTS
        (SELECT 1 FROM embeddings v WHERE v.model_key = :key AND v.work_id = e.work_id)"""
    return read_value(connection, statement, key=model_key)


# Embed the texts of titles that are new or changed.


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
) -> tuple[int, list[dict[str, str]], int]:
    """Embed new and changed texts in batches.

    Args:
        log: for progress, and titles that the model refuses.
        database: where the vectors are stored.
        embedder: of the texts.
        model_key: of the vectors; the model is registered.
        rows_after: returns the titles after a work id, at most so many, by work id.
        vectors: the table of the vectors.

    Returns:
        How many were embedded, the titles that the model refuses, with reasons, and how many titles there are.
    """
    with database.transaction() as connection:
        known = stored_hashes(connection, model_key, vectors)
    embedded = last = seen = 0
    refused: list[dict[str, str]] = []
    progress = Progress(log, "titles embedded")
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
        progress.add(len(changed))
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
    embedded, refused, titles = embed_changed(log, database, embedder, model_key, _library_rows)
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
