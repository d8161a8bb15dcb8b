"""Titles of the library that are like another one, by the vectors in use."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from aperture_dagster.model.memory import give_back_memory
from aperture_dagster.postgres.bulk import INTEGER, read_packed
from aperture_dagster.postgres.queries import execute, read_value
from aperture_dagster.taste.vectors import STORED, active_model

if TYPE_CHECKING:
    import numpy as np

BLOCK = 512
"""Rows that are computed at a time."""
LOOK_SECONDS = 60.0
"""How long vectors are used before it is looked up whether any has changed."""
STEPS = 127
State = tuple[str, int, datetime | None]


@dataclass(frozen=True, slots=True)
class _Vectors:
    """The vectors of the library, of length 1 and without their mean, which all texts have in common.

    A number takes one byte, in ``STEPS`` steps up to the largest of its row: enough to tell what is near.
    """

    works: np.ndarray
    rows: np.ndarray
    steps: np.ndarray
    mean: np.ndarray


class Alike:
    """Finds like titles, with vectors that are read again once any of them has changed."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._lock = now, threading.Lock()
        self._state: State | None = None
        self._looked_at = -LOOK_SECONDS
        self._vectors: _Vectors | None = None

    def nearest(self, connection: Connection, work_id: int, limit: int) -> list[int]:
        """Return the works of the library that are most like a title, of library or pool; empty without a vector."""
        model = active_model(connection)
        if model is None:
            return []
        vectors, own = self._read(connection, model), _vector_of(connection, model, work_id)
        return [] if vectors is None or own is None else _nearest(vectors, own, work_id, limit)

    def _read(self, connection: Connection, model: str) -> _Vectors | None:
        with self._lock:
            is_recent = 0 <= self._now() - self._looked_at < LOOK_SECONDS
            if is_recent and self._state is not None and self._state[0] == model:
                return self._vectors
            statement = "SELECT count(*), max(updated_at) FROM embeddings WHERE model_key = :model"
            count, latest = execute(connection, statement, model=model).one()
            state = (model, count, latest)
            if state != self._state:
                self._vectors, self._state = _read_vectors(connection, model) if count else None, state
                give_back_memory()
            self._looked_at = self._now()
            return self._vectors


def _read_vectors(connection: Connection, model: str) -> _Vectors:
    import numpy as np

    statement = "SELECT dimensions FROM embedding_models WHERE model_key = :model"
    size = read_value(connection, statement, model=model)
    columns = {"work_id": INTEGER, "vector": ("byteasend", (STORED, (size,)))}
    query = "SELECT work_id, vector FROM embeddings WHERE model_key = %s"
    stored = list(read_packed(connection, query, columns, (model,)))
    works = np.concatenate([block["work_id"] for block in stored])
    mean = np.zeros(size, dtype=np.float32)
    for part in _parts(stored):
        mean += part.sum(axis=0)
    # Less than the whole of it for very few titles, of which nothing would be left.
    mean *= len(works) / (len(works) ** 2 + 5.0)
    rows, steps, at = np.zeros((len(works), size), dtype=np.int8), np.zeros(len(works), dtype=np.float32), 0
    for part in _parts(stored):
        place = slice(at, at + len(part))
        # What has no vector keeps none.
        part[part.any(axis=1)] -= mean
        _normalise(part)
        steps[place] = np.abs(part).max(axis=1) / STEPS
        rows[place] = np.rint(part / np.where(steps[place] > 0, steps[place], 1.0)[:, None])
        at += len(part)
    return _Vectors(works, rows, steps, mean)


def _parts(stored: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the rows of stored blocks, of length 1."""
    import numpy as np

    for block in stored:
        for at in range(0, len(block), BLOCK):
            part = block["vector"][at : at + BLOCK].astype(np.float32)
            _normalise(part)
            yield part


def _vector_of(connection: Connection, model: str, work_id: int) -> np.ndarray | None:
    import numpy as np

    statement = """
        SELECT vector FROM embeddings WHERE (model_key, work_id) = (:model, :work)
        UNION ALL SELECT vector FROM discovery_vectors WHERE (model_key, work_id) = (:model, :work) LIMIT 1"""
    stored = read_value(connection, statement, model=model, work=work_id)
    return None if stored is None else np.frombuffer(bytes(stored), dtype=STORED).astype(np.float32)


def _nearest(vectors: _Vectors, own: np.ndarray, work_id: int, limit: int) -> list[int]:
    import numpy as np

    if own.shape != vectors.mean.shape or not np.isfinite(own).all():
        return []
    wanted = own[None, :].copy()
    _normalise(wanted)
    wanted -= vectors.mean
    _normalise(wanted)
    blocks = (vectors.rows[at : at + BLOCK].astype(np.float32) for at in range(0, len(vectors.rows), BLOCK))
    # Not a product of BLAS, whose threads wait for each other on a small machine.
    near = np.concatenate([np.einsum("nd,d->n", block, wanted[0]) for block in blocks])
    near *= vectors.steps
    near[vectors.works == work_id] = -np.inf
    order = np.argsort(-near, kind="stable")[:limit]
    return [int(vectors.works[place]) for place in order if near[place] > 0]


def _normalise(rows: np.ndarray) -> None:
    """Give rows length 1 in place; those that are not finite, or without a direction, length 0."""
    import numpy as np

    with np.errstate(invalid="ignore", over="ignore"):
        lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    present = np.isfinite(lengths) & (lengths > 1e-6)
    rows[~present] = 0.0
    rows /= np.where(present, lengths, 1.0)[:, None]
