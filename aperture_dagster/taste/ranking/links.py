"""Scores from lists such as "recommended from this title": which titles lead to which, and how strongly."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.taste.ranking.histories import Doubles, Floats, Rows, first_of, number_column, positions

LINK_DEPTH = 40
"""Lowest rank in a list that still counts: TMDb's lists end there. A link without a rank counts as the last."""
BLOCK = 4_096
"""Titles processed at a time, whose links stay in the processor."""


BRIDGE = 0.5
"""Strength of a link that goes through a title outside the library, compared with the product of its two steps."""


@dataclass(frozen=True, slots=True, eq=False)
class Links:
    """Links between titles, each pair of rows at most once per direction, in the order of the titles they lead to.

    The first n rows are the library's. The others are titles outside it that several of the library's lead to: through
    them, two titles of the library are tied although neither leads to the other.
    """

    first: Rows
    """Where the links to each title begin, shape (n + 1,)."""
    start: NDArray[np.int32]
    """The title that leads there, shape (links,)."""
    strength: Floats
    """How strongly it does, shape (links,)."""

    titles: int
    """Number of titles in the library, n."""

    @property
    def n(self) -> int:
        """Number of titles, with those outside the library."""
        return len(self.first) - 1

    def spread(self, weights: NDArray[Any]) -> Floats:
        """Return for each title the strength of its links times the weights of their starts; both shape (n, users)."""
        by_user = np.zeros((weights.shape[1], self.n), dtype=np.float32)
        by_user[:, : self.titles] = weights.T
        scores = self._step(by_user)
        if self.n > self.titles:
            scores[:, : self.titles] += BRIDGE * self._step(scores, start=self.titles)[:, : self.titles]
        return scores[:, : self.titles].T

    def _step(self, by_user: Floats, start: int = 0) -> Floats:
        """Follow every link once, for weights of shape (users, rows); those of rows before ``start`` count as 0."""
        scores = np.zeros_like(by_user)
        ends = np.flatnonzero(np.diff(self.first))
        for begin in range(0, len(ends), BLOCK):
            some = ends[begin : begin + BLOCK]
            links = slice(self.first[some[0]], self.first[some[-1] + 1])
            begins = self.first[some] - links.start
            starts, strength = self.start[links], self.strength[links]
            if start:
                strength = np.where(starts >= start, strength, np.float32(0.0))
            for user, own in enumerate(by_user):
                scores[user, some] = np.add.reduceat(own[starts] * strength, begins)
        return scores

    def between(self, rows: Rows, others: Rows) -> Doubles:
        """Return how strongly each of ``others`` leads to each of ``rows``, shape (rows, others)."""
        place = np.full(self.n, -1, dtype=np.int64)
        place[others] = np.arange(len(others))
        found = np.zeros((len(rows), len(others)))
        for number, row in enumerate(rows):
            self._add(found[number], row, place, 1.0)
            own = slice(self.first[row], self.first[row + 1])
            for middle, strength in zip(self.start[own].tolist(), self.strength[own].tolist(), strict=True):
                if middle >= self.titles:
                    self._add(found[number], middle, place, BRIDGE * strength)
        return found

    def _add(self, line: Doubles, row: int, place: Rows, factor: float) -> None:
        """Add how strongly others lead to a row; each is at most once among its starts."""
        own = slice(self.first[row], self.first[row + 1])
        column = place[self.start[own]]
        line[column[column >= 0]] += factor * self.strength[own][column >= 0]


def links_of(edges: pd.DataFrame, index: Mapping[int, int], n: int, depth: int = LINK_DEPTH) -> Links:
    """Build the links of an edge table (``work_id``, ``recommended_work_id``, ``rank``) between the n titles.

    A negative ``recommended_work_id`` stands for a title outside the library; it counts if several titles lead to it.

    An edge counts in both directions, because being recommended from B ties A to B just as much. It counts less the
    lower its rank (at most ``depth``), and is divided by the square root of the title's degree, so that titles on every
    list do not lead. Of several edges of a pair, the best counts.
    """
    rank = edges["rank"].to_numpy()
    if rank.dtype.kind != "i":
        rank = np.rint(np.nan_to_num(number_column(edges, "rank"), nan=float(depth)))
    rank = np.clip(rank, 1, depth + 1).astype(np.uint8)
    outside = edges.loc[edges["recommended_work_id"] < 0, "recommended_work_id"].value_counts(sort=False)
    beside = np.sort(outside.index.to_numpy()[outside.to_numpy() > 1]).tolist()
    titles, n = n, n + len(beside)
    places = {**index, **dict(zip(beside, range(titles, n), strict=True))} if beside else index
    start, end = (positions(edges[name], places).astype(np.int32) for name in ("work_id", "recommended_work_id"))
    # A million edges: from here on, what is not needed any more goes at once, and numbers change in place.
    del edges
    keep = (start >= 0) & (end >= 0) & (start != end) & (rank <= depth)
    start, end, rank = start[keep], end[keep], rank[keep]
    # One number for end, start and rank, in this order, is sorted much faster than three.
    ranks = depth + 1
    pair = np.concatenate([end, start], dtype=np.int64)
    pair *= n
    pair[: len(start)] += start
    pair[len(start) :] += end
    pair *= ranks
    pair[: len(start)] += rank
    pair[len(start) :] += rank
    del start, end, keep
    pair.sort()
    rank = np.remainder(pair, ranks, out=np.empty(len(pair), dtype=np.uint8), casting="unsafe")
    pair //= ranks
    best = np.ones(len(pair), dtype=bool)
    best[1:] = pair[1:] != pair[:-1]
    if not best.all():
        pair, rank = pair[best], rank[best]
    end, start = (np.empty(len(pair), dtype=np.int32) for _ in range(2))
    np.divmod(pair, max(n, 1), out=(end, start), casting="unsafe")
    del pair
    strength = (1.0 / np.log2(1.0 + np.maximum(np.arange(ranks), 1.0)))[rank]
    degree = np.bincount(end, weights=strength, minlength=n)
    strength /= np.sqrt(np.maximum(degree, 1.0))[end]
    return Links(first_of(end, n), start, strength.astype(np.float32), titles)
