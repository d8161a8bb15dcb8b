"""Scores from lists such as "recommended from this title": which titles lead to which, and how strongly."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.ranking.histories import Doubles, Floats, Rows, number_column, positions

LINK_DEPTH = 40
"""Lowest rank in a list that still counts: TMDb's lists end there. A link without a rank counts as the last."""
BLOCK_USERS = 16
"""Users processed at a time: for 400,000 links, 26 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class Links:
    """Links between n titles in both directions, sorted by ``end``, each pair of rows once per direction."""

    n: int
    start: Rows
    end: Rows
    strength: Floats
    """0-1, by rank, divided by the square root of the degree of ``end``."""

    def spread(self, weights: NDArray[Any]) -> Floats:
        """Return for each title the strength of its links times the weights of their starts; both shape (n, users)."""
        scores = np.zeros(weights.shape, dtype=np.float32)
        ends, first = np.unique(self.end, return_index=True)
        for begin in range(0, weights.shape[1], BLOCK_USERS):
            block = np.asarray(weights[:, begin : begin + BLOCK_USERS], dtype=np.float32)
            scores[ends, begin : begin + BLOCK_USERS] = np.add.reduceat(
                block[self.start] * self.strength[:, None], first, axis=0
            )
        return scores

    def contributions(self, row: int, weights: Doubles) -> tuple[Rows, Doubles]:
        """Return the rows that are linked to ``row`` and have a positive weight (shape (n,)), and what each adds."""
        low, high = np.searchsorted(self.end, [row, row + 1])
        starts = self.start[low:high]
        adds = self.strength[low:high] * weights[starts]
        return starts[adds > 0], adds[adds > 0]

    def between(self, rows: Rows, others: Rows) -> Doubles:
        """Return how strongly each of ``others`` leads to each of ``rows``, shape (rows, others)."""
        found = np.zeros((len(rows), len(others)))
        order = np.argsort(others, kind="stable")
        for number, row in enumerate(rows):
            low, high = np.searchsorted(self.end, [row, row + 1])
            place = np.searchsorted(others, self.start[low:high], sorter=order)
            known = place < len(others)
            known[known] = others[order[place[known]]] == self.start[low:high][known]
            found[number, order[place[known]]] = self.strength[low:high][known]
        return found


def links_of(edges: pd.DataFrame, index: dict[int, int], n: int, depth: int = LINK_DEPTH) -> Links:
    """Build the links of an edge table (``work_id``, ``recommended_work_id``, ``rank``) between the n titles.

    An edge counts in both directions, because being recommended from B ties A to B just as much. It counts less the
    lower its rank (at most ``depth``), and is divided by the square root of the title's degree, so that titles on every
    list do not lead. Of several edges of a pair, the best counts.
    """
    start, end = positions(edges["work_id"], index), positions(edges["recommended_work_id"], index)
    rank = np.maximum(np.nan_to_num(number_column(edges, "rank"), nan=float(depth)), 1.0)
    keep = (start >= 0) & (end >= 0) & (start != end) & (rank <= depth)
    start, end, rank = start[keep], end[keep], rank[keep]
    start, end, rank = np.concatenate([start, end]), np.concatenate([end, start]), np.concatenate([rank, rank])
    order = np.lexsort((rank, start, end))
    start, end, rank = start[order], end[order], rank[order]
    best = np.ones(len(end), dtype=bool)
    best[1:] = (end[1:] != end[:-1]) | (start[1:] != start[:-1])
    start, end, strength = start[best], end[best], 1.0 / np.log2(1.0 + rank[best])
    degree = np.bincount(end, weights=strength)
    strength = strength / np.sqrt(np.maximum(degree[end], 1.0))
    return Links(n=n, start=start, end=end, strength=strength.astype(np.float32))
