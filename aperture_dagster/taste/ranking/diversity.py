"""Diversify a list with maximal marginal relevance (MMR) on vectors."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def mmr(relevance: NDArray[Any], vectors: NDArray[Any], limit: int, *, diversity: float) -> NDArray[np.int64]:
    """Select ``limit`` candidates greedily: relevant, and different from those already selected.

    Each step takes the candidate with the largest (1 - diversity) · relevance - diversity · (highest similarity to any
    selected one) (Carbonell and Goldstein 1998), with relevance (finite, shape (c,)) scaled to 0-1. ``diversity`` is
    0-1: 0 sorts by relevance, 1 ignores it after the first. ``vectors`` are unit rows, shape (c, d); a zero row is
    similar to nothing. Ties go to the lower position, so the result is deterministic.
    """
    scores = np.asarray(relevance, dtype=np.float64)
    limit = max(min(limit, len(scores)), 0)
    order = np.argsort(-scores, kind="stable")
    if not limit:
        return order[:0].astype(np.int64)
    span = scores.max() - scores.min()
    scaled = (scores - scores.min()) / span if span > 0 else np.ones_like(scores)
    matrix = np.asarray(vectors, dtype=np.float32)
    selected = np.zeros(limit, dtype=np.int64)
    nearest = np.zeros(len(scores))
    free = np.ones(len(scores), dtype=bool)
    pick = int(order[0])
    for place in range(limit):
        if place:
            pick = int(np.argmax(np.where(free, (1.0 - diversity) * scaled - diversity * nearest, -np.inf)))
        selected[place] = pick
        free[pick] = False
        nearest = np.maximum(nearest, np.clip(matrix @ matrix[pick], 0.0, 1.0))
    return selected
