"""Collaborative filtering: EASE on watch histories.

EASE (Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data") is a ridge regression of every title on all
others with a zero diagonal. With P = (XᵀX + λI)⁻¹, its solution is B = I - P · diag(1/diag P), and a user's scores are
xB. A household has far fewer users than titles, so P itself is not computed: by Woodbury's identity,
P = (I - XᵀKX) / λ with K = (XXᵀ + λI)⁻¹, a matrix of users x users.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aperture_dagster.taste.ranking.histories import Doubles, Floats, Rows
from aperture_dagster.taste.ranking.sparse import find

RIDGE = 5.0
"""Of one person whose values are about 1; quality is flat within a factor of two (benchmark's data, users 1-200)."""


@dataclass(frozen=True, slots=True, eq=False)
class Ease:
    """A fitted EASE model over ``items`` (rows of the item table). All other titles score 0."""

    items: Rows
    users: int
    """Number of users with at least one title."""
    watched: Floats
    """X, shape (users, m)."""
    kernel: Floats
    """K, shape (users, users)."""
    diagonal: Doubles
    """Diagonal of P, shape (m,)."""
    ridge: float

    def score(self, histories: NDArray[Any]) -> Floats:
        """Return xB, shape (users, n), for histories of the same shape; a title's own value does not contribute."""
        scores = np.zeros(histories.shape, dtype=np.float32)
        if len(self.items):
            known = np.asarray(histories, dtype=np.float32)[:, self.items]
            times_p = (known - (known @ self.watched.T) @ self.kernel @ self.watched) / self.ridge
            scores[:, self.items] = known - times_p / self.diagonal
        return scores

    def weights(self, titles: Rows, history: Rows) -> Doubles:
        """Return how much each title of a history adds to the score of each of ``titles``, shape (titles, history).

        It is the block of B, transposed; a title adds nothing to itself.
        """
        found = np.zeros((len(titles), len(history)))
        (listed, to), (seen, of) = self._columns(titles), self._columns(history)
        if not len(to) or not len(of):
            return found
        # Outside the diagonal, which is zero, P is - XᵀKX / λ; beginning with the fewer titles takes less.
        one, other = self.watched[:, to].T, self.watched[:, of]
        product = (one @ self.kernel) @ other if len(to) < len(of) else one @ (self.kernel @ other)
        block = product / self.ridge / self.diagonal[to][:, None]
        found[np.ix_(listed, seen)] = np.where(to[:, None] == of[None, :], 0.0, block)
        return found

    def _columns(self, rows: Rows) -> tuple[Rows, Rows]:
        """Return which of some rows of the item table the model knows, by position, and their columns in it."""
        columns = find(self.items, rows)
        known = np.flatnonzero(columns >= 0)
        return known, columns[known]


def fit_ease(user: Rows, row: Rows, value: NDArray[Any], *, ridge: float) -> Ease:
    """Fit EASE exactly, with λ = ``ridge`` > 0.

    ``user``, ``row`` (of the title) and ``value`` (about 1) describe one pair each. The model is restricted to titles
    that anyone watched; with fewer than two users it is empty.
    """
    people, person = np.unique(user, return_inverse=True)
    items, column = np.unique(row, return_inverse=True)
    if len(people) < 2:
        none = np.zeros((0, 0), dtype=np.float32)
        return Ease(items[:0], len(people), none, none, np.zeros(0), ridge)
    watched = np.zeros((len(people), len(items)), dtype=np.float32)
    watched[person, column] = value
    gram = ridge * np.eye(len(people)) + watched @ watched.T
    kernel = np.asarray(np.linalg.inv(gram), dtype=np.float64).astype(np.float32)
    diagonal = (1.0 - np.einsum("ui,ui->i", watched, kernel @ watched)) / ridge
    return Ease(items, len(people), watched, kernel, diagonal.astype(np.float64), ridge)


def ridge_for(users: int, value: NDArray[Any]) -> float:
    """Return the ridge for this many users: it grows with the square root of their number.

    It follows the scale of the values, too: plays without a rating have half the value of the best rating.
    """
    square = float(np.mean(value**2)) if len(value) else 1.0
    return float(np.clip(np.sqrt(max(users, 1)), 3.0, 100.0)) * RIDGE * square
