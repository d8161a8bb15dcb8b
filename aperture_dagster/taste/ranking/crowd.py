"""What people outside the household watched together, as a compact table of neighbours.

EASE (below) is fitted once to a sample of the people, and of each title only the strongest
neighbours are kept. The table names titles by their ids elsewhere, so it fits every library.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.taste.ranking.histories import Doubles, Floats, Rows, find, first_of, positions
from aperture_dagster.taste.ranking.library import NO_ROWS
from aperture_dagster.taste.ranking.links import Links
from aperture_dagster.taste.ranking.taste import taste_weights

# Collaborative filtering: EASE on watch histories.
#
# EASE (Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data") is a ridge regression of every title on all
# others with a zero diagonal. With P = (XᵀX + λI)⁻¹, its solution is B = I - P · diag(1/diag P), and a user's scores
# are xB. A household has far fewer users than titles, so P itself is not computed: by Woodbury's identity, P = (I -
# XᵀKX) / λ with K = (XXᵀ + λI)⁻¹, a matrix of users x users.


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


MAX_TITLES = 6_000
"""Titles of a table at most, the most liked ones."""
NEIGHBOURS = 50
"""Neighbours kept per title of either sign: those that speak most for, and most against. With ratings, NDCG@10 of the
benchmark's households with a crowd is .152; .147 without those against, .143 with 100 for, and .139 with all for."""
SMALLEST_CROWD = 4
"""With at least so many titles per person, EASE is fitted by people, as for a household; with more people by titles."""
_BLOCK = 256
"""Titles whose weights are computed at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Crowd:
    """The neighbours of a library's titles: e pairs of work ids, and how strongly the first speaks for the second."""

    sources: Rows
    targets: Rows
    strengths: Floats
    people: int
    """Number of people that the table was made from."""

    def links(self, index: Mapping[int, int], n: int) -> Links:
        """Return the pairs between the n titles of an item table; ``index`` has the row of each work."""
        start, end = positions(self.sources, index), positions(self.targets, index)
        known = np.flatnonzero((start >= 0) & (end >= 0))
        known = known[np.argsort(end[known], kind="stable")]
        return Links(first_of(end[known], n), start[known].astype(np.int32), self.strengths[known], n)


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """Of m titles, the ``counts[i]`` strongest neighbours of each, one title after the other."""

    titles: Rows
    """Ids of the titles as given to :func:`fit_neighbours`, shape (m,)."""
    counts: Rows
    """Number of neighbours of each title, shape (m,)."""
    neighbours: Rows
    """Places in ``titles``, shape (e,)."""
    strengths: Floats
    """Shape (e,), largest first within a title; negative where the title speaks against its neighbour."""
    people: int
    """Number of people that the table was made from; 0 if it is empty."""

    def on(self, works: NDArray[np.int64]) -> Crowd:
        """Return the pairs of a library, given the work id of each title, shape (m,); -1 for one that it lacks."""
        source, target = np.repeat(works, self.counts), works[self.neighbours]
        keep = (source >= 0) & (target >= 0) & (source != target)
        return Crowd(source[keep], target[keep], self.strengths[keep], self.people)


def likings_of(histories: pd.DataFrame, *, as_of: datetime | pd.Timestamp) -> pd.DataFrame:
    """Return what people of histories (``user_id``, ``work_id``, ``plays``, ``rating``) liked, and their ``liking``."""
    learned = taste_weights(histories, as_of=as_of)
    return learned.loc[learned["liking"] > 0, ["user_id", "work_id", "liking"]]


def neighbours_of(histories: pd.DataFrame, *, as_of: datetime | pd.Timestamp) -> Neighbours:
    """Fit the table to histories that fit into memory, as for :func:`likings_of`."""
    liked = likings_of(histories, as_of=as_of)
    person, _ = pd.factorize(liked["user_id"])
    return fit_neighbours(person, liked["work_id"].to_numpy(np.int64), liked["liking"].to_numpy(np.float64))


def fit_neighbours(
    person: NDArray[np.integer],
    title: NDArray[np.integer],
    value: NDArray[np.floating],
    *,
    count: int = NEIGHBOURS,
    max_titles: int = MAX_TITLES,
) -> Neighbours:
    """Fit EASE to pairs of person (0 and up) and title (any id), each with a value of about 1.

    Only the ``max_titles`` most liked titles take part. Of each, the ``count`` neighbours with the largest positive
    weights and the ``count`` with the most negative ones are kept. With fewer than two people the table is empty.
    """
    titles, counts = np.unique(np.asarray(title, dtype=np.int64), return_counts=True)
    if len(titles) > max_titles:
        titles = titles[np.sort(np.argsort(-counts, kind="stable")[:max_titles])]
    ridge = ridge_for(len(np.unique(person)), value)
    row = find(titles, title)
    keep = row >= 0
    person, row, value = person[keep], row[keep], value[keep]
    people = len(np.unique(person))
    if people < 2:
        return Neighbours(titles[:0], NO_ROWS, NO_ROWS, NO_ROWS.astype(np.float32), people=0)
    # The smaller matrix is inverted: of people by people, or of titles by titles.
    of_people = people * SMALLEST_CROWD <= len(titles)
    blocks = (_blocks_by_people if of_people else _blocks_by_titles)(person, row, value, ridge=ridge, n=len(titles))
    neighbours, strengths = [], []
    for line in chain.from_iterable(blocks):
        best = np.unique(np.concatenate([_first(-line, count), _first(line, count)]))
        best = best[np.lexsort((best, -line[best]))]
        neighbours.append(best)
        strengths.append(line[best].astype(np.float32))
    return Neighbours(
        titles=titles,
        counts=np.array([len(one) for one in neighbours], dtype=np.int64),
        neighbours=np.concatenate([NO_ROWS, *neighbours]),
        strengths=np.concatenate([NO_ROWS, *strengths]).astype(np.float32),
        people=people if sum(map(len, neighbours)) else 0,
    )


# Both yield blocks of rows of B: how much each title of the block adds to the score of every title, shape (block, n).


def _blocks_by_people(
    person: NDArray[np.integer], row: Rows, value: NDArray[np.floating], *, ridge: float, n: int
) -> Iterator[Doubles]:
    ease = fit_ease(np.asarray(person, dtype=np.int64), row, value, ridge=ridge)
    every = np.arange(n)
    for start in range(0, n, _BLOCK):
        yield ease.weights(every, every[start : start + _BLOCK]).T


def _blocks_by_titles(
    person: NDArray[np.integer], row: Rows, value: NDArray[np.floating], *, ridge: float, n: int
) -> Iterator[Doubles]:
    inverse = gram(person, row, value, n)
    inverse[np.diag_indices(n)] += ridge
    invert(inverse)
    diagonal = inverse.diagonal().copy()
    for start in range(0, n, _BLOCK):
        weights = inverse[start : start + _BLOCK] / -diagonal
        weights[np.arange(len(weights)), start + np.arange(len(weights))] = 0.0
        yield weights


def gram(person: NDArray[np.integer], row: Rows, value: NDArray[np.floating], n: int) -> Doubles:
    """Return XᵀX, shape (n, n), of pairs of person and row (0 to n - 1), each with a value.

    X itself, of people by titles, is never in memory, so any number of people needs no more than that.
    """
    order = np.argsort(person, kind="stable")
    row, value = row[order], np.asarray(value, dtype=np.float64)[order]
    ends = np.flatnonzero(np.diff(person[order], append=-1)) + 1
    found = np.zeros((n, n))
    start = 0
    for end in ends.tolist():
        own, values = row[start:end], value[start:end]
        found[own[:, None], own] += values[:, None] * values
        start = end
    return found


_PANEL, _STRIP = 512, 1_024
"""Rows of a matrix that are eliminated, and updated, at a time by :func:`invert`."""


def invert(matrix: Doubles) -> None:
    """Invert a symmetric positive definite matrix in its own memory, by block Gauss-Jordan elimination.

    LAPACK's inverse needs three more matrices of the same size; of 6,000 titles, each has 288 MB.
    """
    n = len(matrix)
    for start in range(0, n, _PANEL):
        panel = slice(start, min(start + _PANEL, n))
        pivot = np.linalg.inv(matrix[panel, panel])
        column = matrix[:, panel].copy()
        column[panel] = 0.0
        rows = pivot @ matrix[panel]
        for top in range(0, n, _STRIP):
            strip = slice(top, min(top + _STRIP, n))
            matrix[strip] -= column[strip] @ rows
            matrix[strip, panel] = -column[strip] @ pivot
        matrix[panel] = rows
        matrix[panel, panel] = pivot


def _first(values: Doubles, count: int) -> Rows:
    """Return the places of the ``count`` smallest values that are negative."""
    found = np.argpartition(values, count)[:count] if count < len(values) else np.arange(len(values))
    return found[values[found] < 0]
