"""Vectors of titles, per model. The most recently activated model is in use."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Connection

from aperture_dagster.catalogue.queries import PRESENT
from aperture_dagster.postgres.bulk import INTEGER, WriteCounts, driver_cursor, read_packed
from aperture_dagster.postgres.queries import execute, read_rows, read_value
from aperture_dagster.taste.ranking.text import LISTS_OF_NAMES, TEXT_COLUMNS

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


def count_texts(connection: Connection) -> int:
    """Count the works of the library that have a text."""
    return read_value(connection, f"SELECT count(*) FROM enriched_metadata e WHERE {PRESENT}")


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


def delete_vectors(connection: Connection, works: Sequence[int], vectors: VectorTable) -> None:
    """Delete the vectors of these works, of every model."""
    execute(connection, f"DELETE FROM {vectors} WHERE work_id = ANY(:works)", works=list(works))


def missing_vectors(connection: Connection, model_key: str) -> int:
    """Count the works of the library that have no vector of the model."""
    statement = f"""
        SELECT count(*) FROM enriched_metadata e WHERE {PRESENT} AND NOT EXISTS
        (SELECT 1 FROM embeddings v WHERE v.model_key = :key AND v.work_id = e.work_id)"""
    return read_value(connection, statement, key=model_key)
