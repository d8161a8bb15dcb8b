"""Collaborative filtering: EASE on watch histories, and scores from "recommended from this title" lists.

EASE (Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data") is a ridge regression of every title on all
others with a zero diagonal. With P = (XᵀX + λI)⁻¹, its solution is B = I - P · diag(1/diag P), and a user's scores are
xB. A household has far fewer users than titles, so P itself is not computed: by Woodbury's identity,
P = (I - Xᵀ(XXᵀ + λI)⁻¹X) / λ, which needs only a matrix of users x users.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.ranking.histories import Doubles, Floats, Rows, number_column, positions

MAX_ITEMS = 6_000
"""Maximum number of titles for the item-side solution: its matrix takes 288 MB at this size."""
MAX_DUAL_USERS = 3_000
"""Maximum number of users for the user-side solution; beyond it, the item-side matrix is smaller."""
BLOCK_USERS = 2_048
"""Users processed at a time on the item side."""
EDGE_DEPTH = 20
"""Lowest rank in a "recommended from this title" list that still counts."""


@dataclass(frozen=True, slots=True, eq=False)
class Ease:
    """A fitted EASE model over ``items`` (rows of the item table). All other titles score 0."""

    items: Rows
    diagonal: Doubles
    """Diagonal of P, shape (m,)."""
    users: int
    """Number of users with at least one title."""
    times_p: Callable[[Doubles], Doubles]
    """Multiplies rows of shape (users, m) by P."""

    def score(self, histories: NDArray[Any]) -> Floats:
        """Return xB, shape (users, n), for histories of the same shape; a title's own value does not contribute."""
        scores = np.zeros(histories.shape, dtype=np.float32)
        if len(self.items):
            known = np.asarray(histories, dtype=np.float64)[:, self.items]
            scores[:, self.items] = known - self.times_p(known) / self.diagonal
        return scores


def fit_ease(user: Rows, row: Rows, value: NDArray[Any], *, users: int, n: int, ridge: float) -> Ease:
    """Fit EASE exactly, on the smaller of the two sides (users or items), with λ = ``ridge`` > 0.

    ``user``, ``row`` (of the title) and ``value`` (about 1) describe one pair each. The model is restricted to titles
    that anyone watched (on the item side: to the ``MAX_ITEMS`` most watched); with fewer than two users it is empty.
    """
    watched = np.bincount(row, minlength=n)
    items = np.flatnonzero(watched)
    active = len(np.unique(user))
    if active < 2:
        return Ease(items=items[:0], diagonal=np.zeros(0), users=active, times_p=lambda known: known)
    user_side = users <= min(len(items), MAX_DUAL_USERS)
    if not user_side and len(items) > MAX_ITEMS:
        items = np.sort(np.argsort(-watched, kind="stable")[:MAX_ITEMS])
    column_of = np.full(n, -1, dtype=np.int64)
    column_of[items] = np.arange(len(items))
    column = column_of[row]
    keep = column >= 0
    solve = _solve_user_side if user_side else _solve_item_side
    pairs = user[keep], column[keep], np.asarray(value, dtype=np.float32)[keep]
    diagonal, times_p = solve(*pairs, users, len(items), ridge)
    return Ease(items=items, diagonal=diagonal, users=active, times_p=times_p)


def _solve_user_side(
    user: Rows, column: Rows, value: Floats, users: int, m: int, ridge: float
) -> tuple[Doubles, Callable[[Doubles], Doubles]]:
    rows = np.zeros((users, m), dtype=np.float32)
    rows[user, column] = value
    wide = rows.astype(np.float64)
    kernel = np.asarray(np.linalg.inv(wide @ wide.T + ridge * np.eye(users)), dtype=np.float64)
    diagonal = (1.0 - np.einsum("ui,ui->i", wide, kernel @ wide)) / ridge
    return diagonal, lambda known: (known - ((known @ rows.T) @ kernel) @ rows) / ridge


def _solve_item_side(
    user: Rows, column: Rows, value: Floats, users: int, m: int, ridge: float
) -> tuple[Doubles, Callable[[Doubles], Doubles]]:
    gram = ridge * np.eye(m)
    for start in range(0, users, BLOCK_USERS):
        inside = (user >= start) & (user < start + BLOCK_USERS)
        block = np.zeros((min(BLOCK_USERS, users - start), m), dtype=np.float32)
        block[user[inside] - start, column[inside]] = value[inside]
        gram += block.T @ block
    inverse = np.asarray(np.linalg.inv(gram), dtype=np.float64)
    diagonal, inverse = np.diag(inverse).copy(), inverse.astype(np.float32)
    return diagonal, lambda known: known @ inverse


def ridge_for(users: int) -> float:
    """Return the ridge for this many users and values of about 1; it grows with the square root of their number.

    The constant was chosen on users 1-200 of the benchmark's data, where quality is flat within a factor of two.
    """
    return float(np.clip(5.0 * np.sqrt(max(users, 1)), 15.0, 500.0))


def recommended_from(edges: pd.DataFrame, index: dict[int, int], weights: NDArray[Any]) -> Floats:
    """Score titles by the "recommended from this title" lists of the titles in a history, shape (n, users).

    An edge counts in both directions (being recommended from B ties A to B just as much). It counts less the lower its
    rank (missing: ``EDGE_DEPTH``), and is divided by the square root of the title's degree, so that titles on every
    list do not lead. ``weights`` are signed taste weights, shape (n, users).
    """
    scores = np.zeros(weights.shape, dtype=np.float32)
    start, end = positions(edges["work_id"], index), positions(edges["recommended_work_id"], index)
    rank = np.maximum(np.nan_to_num(number_column(edges, "rank"), nan=float(EDGE_DEPTH)), 1.0)
    keep = (start >= 0) & (end >= 0) & (start != end) & (rank <= EDGE_DEPTH)
    start, end = start[keep], end[keep]
    strength = (1.0 / np.log2(1.0 + rank[keep])).astype(np.float32)
    start, end = np.concatenate([start, end]), np.concatenate([end, start])
    strength = np.concatenate([strength, strength])
    degree = np.bincount(end, weights=strength, minlength=len(weights)).astype(np.float32)
    strength = strength / np.sqrt(np.maximum(degree[end], 1.0))
    np.add.at(scores, end, weights[start] * strength[:, None])
    return scores
