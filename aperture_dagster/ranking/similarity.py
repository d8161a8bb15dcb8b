"""How near a title is to what was liked: summed over the history, by the nearest liked titles, and which these are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

BLOCK_VALUES = 8_000_000
"""Similarities held at a time: 32 MB of float32, whatever the size of library and history."""


def history_similarity(
    vectors: NDArray[Any],
    liked: NDArray[np.int64],
    weights: NDArray[Any],
    *,
    power: int = 3,
    candidates: NDArray[np.int64] | None = None,
) -> Floats:
    """Return Σ_h w_h · sim(candidate, h)^power for one or many users at once.

    A high odd power lets the few truly near titles speak, where a plain sum would be one mean vector; and it keeps the
    sign, so that what was disliked pushes away what is near to it.

    Args:
        vectors: unit (or zero) rows, shape (n, d), centred.
        liked: rows of the history's titles, shape (h,).
        weights: signed weights, shape (h,) for one user or (h, users) for many whose titles are pooled in ``liked``.
        power: the exponent, at least 1.
        candidates: rows to score, default all.

    Returns:
        shape (candidates,) or (candidates, users). Memory is bounded by ``BLOCK_VALUES``.

    Raises:
        ValueError: for a power below 1, or weights that do not fit the history.
    """
    if power < 1:
        raise ValueError(f"power must be at least 1, not {power}")
    weights = np.asarray(weights, dtype=np.float32)
    if len(weights) != len(liked):
        raise ValueError(f"{len(weights)} weights for a history of {len(liked)} titles")
    rows = np.arange(len(vectors)) if candidates is None else np.asarray(candidates, dtype=np.int64)
    matrix = np.asarray(vectors, dtype=np.float32)
    history = np.ascontiguousarray(matrix[liked].T)
    scores = np.zeros((len(rows), *weights.shape[1:]), dtype=np.float32)
    if not len(liked):
        return scores
    step = max(BLOCK_VALUES // len(liked), 16)
    for start in range(0, len(rows), step):
        near = matrix[rows[start : start + step]] @ history
        raised = near
        for _ in range(power - 1):
            raised = raised * near
        scores[start : start + step] = raised @ weights
    return scores


def nearest_k_similarity(
    vectors: NDArray[Any],
    liked: NDArray[np.int64],
    weights: NDArray[Any] | None = None,
    *,
    k: int = 5,
    candidates: NDArray[np.int64] | None = None,
) -> Floats:
    """Return the mean of the k largest (weighted) similarities to liked titles, shape (candidates,).

    Args:
        vectors: unit (or zero) rows, shape (n, d), centred.
        liked: rows of the liked titles, shape (h,); empty gives zeros.
        weights: positive factor of each liked title, shape (h,); default 1.
        k: how many.
        candidates: rows to score, default all.
    """
    matrix = np.asarray(vectors, dtype=np.float32)
    rows = np.arange(len(matrix)) if candidates is None else np.asarray(candidates, dtype=np.int64)
    scores = np.zeros(len(rows), dtype=np.float32)
    if not len(liked):
        return scores
    history = np.ascontiguousarray(matrix[liked].T)
    factors = np.ones(len(liked), dtype=np.float32) if weights is None else np.asarray(weights, dtype=np.float32)
    k = min(k, len(liked))
    step = max(BLOCK_VALUES // len(liked), 16)
    for start in range(0, len(rows), step):
        near = (matrix[rows[start : start + step]] @ history) * factors
        top = near if k == len(liked) else np.partition(near, len(liked) - k, axis=1)[:, -k:]
        scores[start : start + step] = top.mean(axis=1)
    return scores


def nearest_liked(
    vectors: NDArray[Any],
    recommended: NDArray[np.int64],
    liked: NDArray[np.int64],
    *,
    k: int = 3,
    minimum: float = 0.05,
    kinship: NDArray[Any] | None = None,
) -> list[list[int]]:
    """Return for each recommended title the rows of the liked titles that it is nearest to: the "because".

    Args:
        vectors: unit (or zero) rows, shape (n, d), centred.
        recommended: rows, shape (r,).
        liked: rows, shape (h,); earlier ones win ties.
        k: how many reasons at most.
        minimum: similarity below which a title is no reason. The nearest one is given even so, when it is at all near
            (above zero): a weak reason is better than none.
        kinship: what else ties them, added to the similarity to choose among the near, shape (r, h). A text alone finds
            words; a person also expects the same sort of title.

    Returns:
        r lists of 0 to k rows, nearest first; empty for a title without a vector.
    """
    if not len(liked) or not len(recommended):
        return [[] for _ in recommended]
    matrix = np.asarray(vectors, dtype=np.float32)
    near = matrix[recommended] @ matrix[liked].T
    order = np.argsort(-(near if kinship is None else near + kinship), axis=1, kind="stable")[:, :k]
    reasons: list[list[int]] = []
    for row, places in enumerate(order):
        values = near[row, places]
        keep = [int(liked[p]) for p, v in zip(places, values, strict=True) if v >= minimum]
        if not keep and values.max() > 1e-6:
            keep = [int(liked[places[int(values.argmax())]])]
        reasons.append(keep)
    return reasons
