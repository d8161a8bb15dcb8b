"""Collaborative filtering: EASE on watch histories.

EASE (Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data") is a ridge regression of every title on all
others with a zero diagonal. With P = (XᵀX + λI)⁻¹, its solution is B = I - P · diag(1/diag P), and a user's scores are
xB. A household has far fewer users than titles, so P itself is not computed: by Woodbury's identity,
P = (I - Xᵀ(XXᵀ + λI)⁻¹X) / λ, which needs only a matrix of users x users.

Few people also watched few titles. What the titles are about fills the gaps: each dimension of their vectors becomes
one more row of X (Jeunen, Van Balen and Goethals 2020, "Closed-Form Models for Collaborative Filtering with
Side-Information").
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aperture_dagster.ranking.histories import Doubles, Floats, Rows
from aperture_dagster.ranking.sparse import find

MAX_ITEMS = 6_000
"""Maximum number of titles for the item-side solution: its matrix takes 288 MB at this size."""
MAX_DUAL_USERS = 3_000
"""Maximum number of users for the user-side solution; beyond it, the item-side matrix is smaller."""
MAX_DIMENSIONS = 512
"""Dimensions of the vectors that take part. What a text is about is spread over all of them; some models have 3,000."""
BLOCK_USERS = 2_048
"""Users processed at a time on the item side."""
BLOCK_ITEMS = 2_048
"""Titles processed at a time on the user side."""


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
    block_of_p: Callable[[Rows, Rows], Doubles]
    """Returns P for some of the m rows and columns."""
    has_content: bool = False
    """Whether it has also learned from what the titles are about."""

    def score(self, histories: NDArray[Any]) -> Floats:
        """Return xB, shape (users, n), for histories of the same shape; a title's own value does not contribute."""
        scores = np.zeros(histories.shape, dtype=np.float32)
        if len(self.items):
            known = np.asarray(histories, dtype=np.float64)[:, self.items]
            scores[:, self.items] = known - self.times_p(known) / self.diagonal
        return scores

    def weights(self, titles: Rows, history: Rows) -> Doubles:
        """Return how much each title of a history adds to the score of each of ``titles``, shape (titles, history).

        It is the block of B, transposed; a title adds nothing to itself.
        """
        found = np.zeros((len(titles), len(history)))
        (listed, to), (watched, of) = self._columns(titles), self._columns(history)
        if len(to) and len(of):
            block = -self.block_of_p(to, of) / self.diagonal[to][:, None]
            found[np.ix_(listed, watched)] = np.where(to[:, None] == of[None, :], 0.0, block)
        return found

    def _columns(self, rows: Rows) -> tuple[Rows, Rows]:
        """Return which of some rows of the item table the model knows, by position, and their columns in it."""
        columns = find(self.items, rows)
        known = np.flatnonzero(columns >= 0)
        return known, columns[known]


def fit_ease(
    user: Rows,
    row: Rows,
    value: NDArray[Any],
    *,
    users: int,
    n: int,
    ridge: float,
    vectors: Floats | None = None,
    content: float = 0.0,
) -> Ease:
    """Fit EASE exactly, on the smaller of the two sides (users or items), with λ = ``ridge`` > 0.

    ``user``, ``row`` (of the title) and ``value`` (about 1) describe one pair each. The model is restricted to titles
    that anyone watched (on the item side: to the ``MAX_ITEMS`` most watched); with fewer than two users it is empty.

    With ``content``, each of the d dimensions of the titles' ``vectors``, shape (n, d), counts as one more user, who
    watched each title to that degree, times √(content · λ). Then all titles take part. The rows of the vectors have a
    length of 1 at most, so with a content of 1 they weigh as much as the ridge. The first ``MAX_DIMENSIONS`` stand for
    all.
    """
    watched = np.bincount(row, minlength=n)
    active = len(np.unique(user))
    items = np.flatnonzero(watched)
    if active < 2:
        return Ease(items[:0], np.zeros(0), active, lambda known: known, lambda to, of: np.zeros((len(to), len(of))))
    described, share = None, 1.0
    if vectors is not None and content > 0 and vectors.any():
        items, described = np.arange(n), vectors[:, :MAX_DIMENSIONS]
        share = described.shape[1] / vectors.shape[1]
    rows = users if described is None else users + described.shape[1]
    user_side = rows <= min(len(items), MAX_DUAL_USERS)
    if not user_side and len(items) > MAX_ITEMS:
        items = np.sort(np.argsort(-watched, kind="stable")[:MAX_ITEMS])
        described = None if described is None else described[items]
    column_of = np.full(n, -1, dtype=np.int64)
    column_of[items] = np.arange(len(items))
    column = column_of[row]
    keep = column >= 0
    solve = _solve_user_side if user_side else _solve_item_side
    pairs = user[keep], column[keep], np.asarray(value, dtype=np.float32)[keep]
    scale = np.float32(np.sqrt(content * ridge / share))
    diagonal, times_p, block_of_p = solve(*pairs, users, len(items), ridge, described, scale)
    return Ease(items, diagonal, active, times_p, block_of_p, described is not None)


_Solution = tuple[Doubles, Callable[[Doubles], Doubles], Callable[[Rows, Rows], Doubles]]
"""Diagonal of P, product with P, and a block of P."""


def _solve_user_side(
    user: Rows, column: Rows, value: Floats, users: int, m: int, ridge: float, vectors: Floats | None, scale: np.float32
) -> _Solution:
    watched = np.zeros((users, m), dtype=np.float32)
    watched[user, column] = value
    blocks = [slice(start, start + BLOCK_ITEMS) for start in range(0, m, BLOCK_ITEMS)]

    def rows(of: slice | Rows) -> Floats:
        """Return all rows of X for some items; those of the vectors are not kept twice."""
        return watched[:, of] if vectors is None else np.concatenate([watched[:, of], vectors[of].T * scale])

    gram = ridge * np.eye(users if vectors is None else users + vectors.shape[1])
    for block in blocks:
        wide = rows(block)
        gram += wide @ wide.T
    kernel = np.asarray(np.linalg.inv(gram), dtype=np.float64).astype(np.float32)
    diagonal = np.empty(m)
    for block in blocks:
        wide = rows(block)
        diagonal[block] = (1.0 - np.einsum("ui,ui->i", wide, kernel @ wide)) / ridge

    def times_p(known: Doubles) -> Doubles:
        inner = sum(known[:, block].astype(np.float32) @ rows(block).T for block in blocks) @ kernel
        found = np.empty(known.shape)
        for block in blocks:
            found[:, block] = (known[:, block] - inner @ rows(block)) / ridge
        return found

    def block_of_p(to: Rows, of: Rows) -> Doubles:
        # The result is the same either way; beginning with the fewer titles takes less.
        one, other = rows(to).T, rows(of)
        product = (one @ kernel) @ other if len(to) < len(of) else one @ (kernel @ other)
        return ((to[:, None] == of[None, :]) - product) / ridge

    return diagonal, times_p, block_of_p


def _solve_item_side(
    user: Rows, column: Rows, value: Floats, users: int, m: int, ridge: float, vectors: Floats | None, scale: np.float32
) -> _Solution:
    gram = ridge * np.eye(m)
    for start in range(0, users, BLOCK_USERS):
        inside = (user >= start) & (user < start + BLOCK_USERS)
        block = np.zeros((min(BLOCK_USERS, users - start), m), dtype=np.float32)
        block[user[inside] - start, column[inside]] = value[inside]
        gram += block.T @ block
    if vectors is not None:
        described = vectors * scale
        gram += described @ described.T
    inverse = np.asarray(np.linalg.inv(gram), dtype=np.float64)
    diagonal, inverse = np.diag(inverse).copy(), inverse.astype(np.float32)
    return diagonal, lambda known: known @ inverse, lambda to, of: inverse[np.ix_(to, of)].astype(np.float64)


def ridge_for(users: int, scale: float = 5.0) -> float:
    """Return the ridge for this many users and values of about 1: ``scale`` times the square root of their number.

    The constant was chosen on users 1-200 of the benchmark's data, where quality is flat within a factor of two.
    """
    return float(np.clip(scale * np.sqrt(max(users, 1)), 3.0 * scale, 100.0 * scale))
