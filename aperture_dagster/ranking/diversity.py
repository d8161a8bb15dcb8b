"""Lists that are not ten times the same: maximal marginal relevance by vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def mmr(
    relevance: NDArray[Any], vectors: NDArray[Any], limit: int, *, diversity: float = 0.1, keep: int = 0
) -> NDArray[np.int64]:
    """Choose ``limit`` of the candidates greedily: relevant, and unlike what was chosen before.

    Each step takes the largest (1 - diversity) · relevance - diversity · max similarity to the chosen (Carbonell and
    Goldstein 1998), with relevance brought to 0-1 within the pool.

    Args:
        relevance: shape (c,), best or worst in any order; not finite counts as worst.
        vectors: unit (or zero) rows of the candidates, shape (c, d); a zero row is like nothing.
        limit: how many; fewer come back when there are fewer candidates.
        diversity: 0 is the order by relevance, 1 ignores relevance after the first.
        keep: how many of the most relevant stay at the front untouched.

    Returns:
        Positions of the chosen in their order. Ties go to the lower position, so that the result is deterministic.

    Raises:
        ValueError: when ``diversity`` is outside 0-1.
    """
    if not 0.0 <= diversity <= 1.0:
        raise ValueError(f"diversity must be within 0 and 1, not {diversity}")
    scores = np.asarray(relevance, dtype=np.float64).copy()
    scores[~np.isfinite(scores)] = np.nan
    low = np.nanmin(scores) if np.isfinite(scores).any() else 0.0
    scores = np.nan_to_num(scores, nan=low)
    limit = max(min(limit, len(scores)), 0)
    if limit == 0:
        return np.zeros(0, dtype=np.int64)
    order = np.argsort(-scores, kind="stable")
    if diversity == 0.0:
        return order[:limit].astype(np.int64)
    span = scores.max() - low
    scaled = (scores - low) / span if span > 0 else np.ones_like(scores)
    matrix = np.asarray(vectors, dtype=np.float32)
    chosen = np.zeros(limit, dtype=np.int64)
    likeness = np.zeros(len(scores))
    free = np.ones(len(scores), dtype=bool)
    for place in range(limit):
        if place < max(keep, 1):
            pick = int(order[place])
        else:
            gain = np.where(free, (1.0 - diversity) * scaled - diversity * likeness, -np.inf)
            pick = int(np.argmax(gain))
        chosen[place] = pick
        free[pick] = False
        likeness = np.maximum(likeness, np.clip(matrix @ matrix[pick], 0.0, 1.0))
    return chosen
