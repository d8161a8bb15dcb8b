"""Similarity to a history by vectors, and the liked titles that explain a recommendation."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aperture_dagster.ranking.histories import Floats, Rows

BLOCK_VALUES, BLOCK_WIDTH = 262_144, 1_024
"""Similarities computed at a time, and of how many titles of the history: a megabyte, which stays in the processor."""
REASON_MINIMUM = 0.05
"""Similarity below which a liked title explains nothing."""


def history_similarity(
    vectors: NDArray[Any], history: Rows, weights: NDArray[Any], *, candidates: Rows | None = None
) -> Floats:
    """Return Σ_h w_h · sim(candidate, h)³, shape (candidates,) or (candidates, users).

    The power gives more weight to the few titles that are really similar, where a plain sum would amount to one mean
    vector. It is odd and keeps the sign, so that disliked titles push similar ones away.

    Args:
        vectors: unit (or zero) rows, shape (n, d), centred.
        history: rows of the titles in the history, shape (h,).
        weights: signed weights, shape (h,) for one user, or (h, users) for many whose titles are pooled in ``history``.
        candidates: rows to score; default: all.
    """
    weights = np.asarray(weights, dtype=np.float32)
    rows = np.arange(len(vectors)) if candidates is None else np.asarray(candidates, dtype=np.int64)
    matrix = np.asarray(vectors, dtype=np.float32)
    scores = np.zeros((len(rows), *weights.shape[1:]), dtype=np.float32)
    if not len(history):
        return scores
    columns = np.ascontiguousarray(matrix[history].T)
    height = max(BLOCK_VALUES // min(len(history), BLOCK_WIDTH), 16)
    buffers = np.empty((2, BLOCK_WIDTH * height), dtype=np.float32)
    for start in range(0, len(rows), height):
        chosen = matrix[rows[start : start + height]]
        for low in range(0, len(history), BLOCK_WIDTH):
            part = columns[:, low : low + BLOCK_WIDTH]
            near, power = (one[: len(chosen) * part.shape[1]].reshape(len(chosen), -1) for one in buffers)
            np.matmul(chosen, part, out=near)
            np.multiply(near, near, out=power)
            np.multiply(power, near, out=power)
            scores[start : start + height] += power @ weights[low : low + BLOCK_WIDTH]
    return scores


def nearest_liked(
    vectors: NDArray[Any], recommended: Rows, liked: Rows, *, k: int = 3, bonus: NDArray[Any] | None = None
) -> list[list[int]]:
    """Return, for each recommended title, the rows of at most ``k`` liked titles, most similar first: its "because".

    A liked title below ``REASON_MINIMUM`` is left out, unless it is the only one with a positive similarity: a weak
    reason is better than none. A title without a vector has none. Earlier liked titles win ties. ``bonus``, shape
    (recommended, liked), is added to the similarity when sorting: vectors of texts find similar words, but people also
    expect the same sort of title.
    """
    if not len(liked) or not len(recommended):
        return [[] for _ in recommended]
    matrix = np.asarray(vectors, dtype=np.float32)
    near = matrix[recommended] @ matrix[liked].T
    order = np.argsort(-(near if bonus is None else near + bonus), axis=1, kind="stable")[:, :k]
    reasons: list[list[int]] = []
    for row, best in enumerate(order):
        values = near[row, best]
        keep = [int(liked[column]) for column, value in zip(best, values, strict=True) if value >= REASON_MINIMUM]
        if not keep and values.max() > 1e-6:
            keep = [int(liked[best[int(values.argmax())]])]
        reasons.append(keep)
    return reasons
