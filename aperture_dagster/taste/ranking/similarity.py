"""Similarity to a history by vectors."""

from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aperture_dagster.taste.ranking.histories import Floats, Rows

BLOCK = 384
"""Titles compared at a time: their similarities to as many others are half a megabyte, which stays in the processor."""


def history_similarity(
    vectors: NDArray[Any], history: Rows, weights: NDArray[Any], *, candidates: Rows | None = None
) -> Floats:
    """Return Σ_h w_h · sim(candidate, h)³, shape (candidates,) or (candidates, users).

    The power gives more weight to the few titles that are really similar, where a plain sum would amount to one mean
    vector. It is odd and keeps the sign, so that disliked titles push similar ones away.

    Args:
        vectors: unit (or zero) rows, shape (n, d), centred.
        history: rows of the titles in the history, each once, shape (h,).
        weights: signed weights, shape (h,) for one user, or (h, users) for many whose titles are pooled in ``history``.
        candidates: rows to score, each once; default: all.
    """
    matrix, weights = np.asarray(vectors, dtype=np.float32), np.asarray(weights, dtype=np.float32)
    rows = np.arange(len(matrix)) if candidates is None else np.asarray(candidates, dtype=np.int64)
    by_user = weights[:, None] if weights.ndim == 1 else weights
    if not by_user.size:
        return np.zeros((len(rows), *weights.shape[1:]), dtype=np.float32)
    # Titles of the same users come together, so that a block of them concerns few users.
    order = np.lexsort(((by_user != 0).argmax(axis=1), (by_user != 0).sum(axis=1)))
    history, by_user = np.asarray(history, dtype=np.int64)[order], by_user[order]
    place = np.full(len(matrix), -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    is_candidate = place[history] >= 0
    both, beside = (_blocks(matrix, history[one], by_user[one]) for one in (is_candidate, ~is_candidate))
    is_watched = np.zeros(len(matrix), dtype=bool)
    is_watched[history] = True
    ordered = np.concatenate([history[is_candidate], rows[~is_watched[rows]]])
    scores = np.zeros((by_user.shape[1], len(rows)), dtype=np.float32)
    buffers = np.empty((2, BLOCK * BLOCK), dtype=np.float32)

    def add(block: _Block, cubes: Floats, start: int) -> None:
        scores[block.users, start : start + cubes.shape[1]] += block.weights @ cubes

    for number, block in enumerate(both):
        for other in both[number:]:
            # One similarity serves both titles.
            cubes = _cubes(block.vectors, other.vectors, buffers)
            add(block, cubes, other.start)
            if other is not block:
                add(other, cubes.T, block.start)
        for other in beside:
            add(other, _cubes(other.vectors, block.vectors, buffers), block.start)
    for start in range(int(is_candidate.sum()), len(ordered), BLOCK):
        found = matrix[ordered[start : start + BLOCK]]
        for block in chain(both, beside):
            add(block, _cubes(block.vectors, found, buffers), start)
    arranged = np.empty_like(scores)
    arranged[:, place[ordered]] = scores
    return arranged.T.reshape(len(rows), *weights.shape[1:])


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """Some titles of a history, their vectors (b, d), the u users who have weights for them, and these (u, b)."""

    start: int
    """Place of the first one among them all."""
    vectors: Floats
    users: Rows
    weights: Floats


def _blocks(matrix: Floats, history: Rows, weights: Floats) -> list[_Block]:
    found: list[_Block] = []
    for start in range(0, len(history), BLOCK):
        rows, own = history[start : start + BLOCK], weights[start : start + BLOCK]
        users = np.flatnonzero(own.any(axis=0))
        found.append(_Block(start, matrix[rows], users, np.ascontiguousarray(own[:, users].T)))
    return found


def _cubes(one: Floats, other: Floats, buffers: Floats) -> Floats:
    """Return the cubes of the similarities, shape (one, other), in the first of two buffers."""
    near, power = (buffer[: len(one) * len(other)].reshape(len(one), len(other)) for buffer in buffers)
    np.matmul(one, other.T, out=near)
    np.multiply(near, near, out=power)
    np.multiply(power, near, out=near)
    return near
