"""What others watched: EASE on the histories at hand, and lists of "recommended from this title" as a second witness.

EASE (Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data") is one ridge regression of every title on all
others with a zero diagonal. With P = (XᵀX + λI)⁻¹ its solution is B = I - P · diag(1/diag P), and a user's scores are
xB. A household has far fewer users than titles, so P is never formed there: by Woodbury's identity
P = (I - Xᵀ(XXᵀ + λI)⁻¹X) / λ, which needs a matrix of users x users only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.ranking.histories import number_column, places

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

MAX_ITEMS = 6_000
"""Titles in the item-side form at most: its matrix is 288 MB at this size."""
MAX_DUAL_USERS = 3_000
"""Users up to which the user-side form is taken: beyond it the item side is the smaller matrix."""
BLOCK_USERS = 2_048
"""Users whose rows are held at a time on the item side."""


@dataclass(frozen=True, slots=True, eq=False)
class Ease:
    """A fitted EASE model over ``items`` (rows of the item table); the rest of the library scores 0.

    Either ``gram_inverse`` (item side) or ``rows`` and ``kernel`` (user side) is set.
    """

    n: int
    items: NDArray[np.int64]
    lam: float
    diagonal: Doubles
    """Diagonal of P, shape (m,)."""
    users: int
    gram_inverse: Floats | None = None
    rows: Floats | None = None
    kernel: Doubles | None = None

    def score(self, histories: NDArray[Any]) -> Floats:
        """Return xB for each row of ``histories``, shape (users, n) -> (users, n).

        A title's own value never speaks for itself (zero diagonal).
        """
        scores = np.zeros((len(histories), self.n), dtype=np.float32)
        if not len(self.items):
            return scores
        known = np.asarray(histories, dtype=np.float64)[:, self.items]
        if self.gram_inverse is not None:
            projected = known @ self.gram_inverse
        else:
            assert self.rows is not None and self.kernel is not None
            projected = (known - ((known @ self.rows.T) @ self.kernel) @ self.rows) / self.lam
        scores[:, self.items] = known - projected / self.diagonal
        return scores


def fit_ease(interactions: NDArray[Any], lam: float, *, max_items: int = MAX_ITEMS) -> Ease:
    """Fit EASE to a matrix of users by titles: see ``fit_ease_pairs``.

    Args:
        interactions: shape (users, n), 0 where nothing was watched, else how much it counts (about 1).
        lam: ridge, above 0.
        max_items: on the item side only this many of the most watched titles are kept.

    Raises:
        ValueError: for a ridge of 0 or less, or an array that is no matrix.
    """
    matrix = np.asarray(interactions)
    if matrix.ndim != 2:
        raise ValueError(f"interactions must be a matrix (users, titles), not {matrix.shape}")
    user, row = np.nonzero(matrix)
    users, n = matrix.shape
    return fit_ease_pairs(user, row, matrix[user, row], users, n, lam, max_items=max_items)


def fit_ease_pairs(
    user: NDArray[np.int64],
    row: NDArray[np.int64],
    value: NDArray[Any],
    users: int,
    n: int,
    lam: float,
    *,
    max_items: int = MAX_ITEMS,
) -> Ease:
    """Fit EASE to what each user watched, exactly, by whichever side is smaller.

    Args:
        user: place of the user of each pair, 0 to users - 1, shape (pairs,).
        row: row of the title of each pair, 0 to n - 1, shape (pairs,).
        value: how much each pair counts (about 1), shape (pairs,).
        users: how many users there are.
        n: how many titles there are.
        lam: ridge, above 0.
        max_items: on the item side only this many of the most watched titles are kept.

    Returns:
        The model, restricted to titles that anyone watched; empty (scores of 0) with fewer than two users.

    Raises:
        ValueError: for a ridge of 0 or less.
    """
    if lam <= 0:
        raise ValueError(f"the ridge must be above 0, not {lam}")
    watched = np.bincount(row, minlength=n)
    items = np.flatnonzero(watched)
    active = len(np.unique(user))
    if active < 2:
        return Ease(n=n, items=np.zeros(0, dtype=np.int64), lam=lam, diagonal=np.zeros(0), users=active)
    user_side = users <= min(len(items), MAX_DUAL_USERS)
    if not user_side and len(items) > max_items:
        items = np.sort(np.argsort(-watched, kind="stable")[:max_items])
    column = np.full(n, -1, dtype=np.int64)
    column[items] = np.arange(len(items))
    place, value = column[row], np.asarray(value, dtype=np.float32)
    keep = place >= 0
    user, place, value = user[keep], place[keep], value[keep]
    if user_side:
        rows = np.zeros((users, len(items)), dtype=np.float32)
        rows[user, place] = value
        wide = rows.astype(np.float64)
        kernel = np.asarray(np.linalg.inv(wide @ wide.T + lam * np.eye(users)), dtype=np.float64)
        diagonal = (1.0 - np.einsum("ui,ui->i", wide, kernel @ wide)) / lam
        return Ease(n=n, items=items, lam=lam, diagonal=diagonal, users=active, rows=rows, kernel=kernel)
    gram = lam * np.eye(len(items))
    for start in range(0, users, BLOCK_USERS):
        inside = (user >= start) & (user < start + BLOCK_USERS)
        block = np.zeros((min(BLOCK_USERS, users - start), len(items)), dtype=np.float32)
        block[user[inside] - start, place[inside]] = value[inside]
        gram += block.T @ block
    inverse = np.asarray(np.linalg.inv(gram), dtype=np.float64)
    diagonal = np.diag(inverse).copy()
    return Ease(n=n, items=items, lam=lam, diagonal=diagonal, users=active, gram_inverse=inverse.astype(np.float32))


def ridge_for(users: int) -> float:
    """Return the ridge for this many users and values of about 1.

    It grows with the root of their number. The constant was chosen on users 1-200 of the benchmark's data, where
    quality is flat within a factor of two.
    """
    return float(np.clip(5.0 * np.sqrt(max(users, 1)), 15.0, 500.0))


def recommended_from(edges: pd.DataFrame, index: dict[int, int], weights: NDArray[Any], *, depth: int = 20) -> Floats:
    """Score titles by the lists "recommended from this title" of what a user watched.

    An edge counts in both directions (being recommended from B ties A to B just as much), less the lower it stands in
    its list, and is divided by the root of how many edges reach the title, so that the ever-recommended do not lead.

    Args:
        edges: ``work_id``, ``recommended_work_id``, ``rank`` (1 is first; missing counts as the end of the list).
        index: row of each work id.
        weights: signed taste weights, shape (n, users) or (n,).
        depth: ranks beyond it are left out.

    Returns:
        The same shape as ``weights``; zeros without edges.
    """
    weights = np.asarray(weights, dtype=np.float32)
    scores = np.zeros_like(weights)
    if not len(edges) or not {"work_id", "recommended_work_id"} <= set(edges.columns):
        return scores
    start, end = places(edges["work_id"], index), places(edges["recommended_work_id"], index)
    rank = np.maximum(np.nan_to_num(number_column(edges, "rank"), nan=float(depth)), 1.0)
    keep = (start >= 0) & (end >= 0) & (start != end) & (rank <= depth)
    start, end = start[keep], end[keep]
    strength = (1.0 / np.log2(1.0 + rank[keep])).astype(np.float32)
    start, end = np.concatenate([start, end]), np.concatenate([end, start])
    strength = np.concatenate([strength, strength])
    degree = np.bincount(end, weights=strength, minlength=len(weights)).astype(np.float32)
    strength = strength / np.sqrt(np.maximum(degree[end], 1.0))
    shape = (-1,) + (1,) * (weights.ndim - 1)
    np.add.at(scores, end, weights[start] * strength.reshape(shape))
    return scores
