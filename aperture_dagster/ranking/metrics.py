"""Measures of ranked lists: of their quality against what was held out, and of what they are made of."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aperture_dagster.ranking.histories import Rows

FIRST = 10
"""Number of titles that most measures look at: what fits on a screen."""


def ndcg_at(recommended: Sequence[Any], relevant: Collection[Any], k: int = FIRST) -> float:
    """Return the normalised discounted cumulative gain of the first k, 0-1 (a hit gains 1/log2(rank + 1)).

    NaN when nothing is relevant.
    """
    if not relevant:
        return float("nan")
    wanted = set(relevant)
    gain = sum(1.0 / np.log2(rank + 2) for rank, work in enumerate(recommended[:k]) if work in wanted)
    best = sum(1.0 / np.log2(rank + 2) for rank in range(min(k, len(wanted))))
    return float(gain / best)


def hit_rate_at(recommended: Sequence[Any], relevant: Collection[Any], k: int = FIRST) -> float:
    """Return 1.0 when any of the first k is relevant, else 0.0; NaN when nothing is relevant."""
    if not relevant:
        return float("nan")
    wanted = set(relevant)
    return float(any(work in wanted for work in recommended[:k]))


def recall_at(recommended: Sequence[Any], relevant: Collection[Any], k: int = 20) -> float:
    """Return the share of the relevant titles among the first k, 0-1; NaN when nothing is relevant."""
    if not relevant:
        return float("nan")
    wanted = set(relevant)
    return len(wanted & set(recommended[:k])) / len(wanted)


def mean_popularity(lists: Iterable[Rows], votes: NDArray[Any], k: int = FIRST) -> float:
    """Return the mean of ``votes[row]`` over the first k of all lists; NaN without lists."""
    together = np.concatenate([np.zeros(0, dtype=np.int64), *(entry[:k] for entry in lists)])
    return float(np.nanmean(np.asarray(votes, dtype=np.float64)[together])) if len(together) else float("nan")


def coverage(lists: Iterable[Rows], n: int, k: int = FIRST) -> float:
    """Return the share of the n titles that appear among the first k of any list, 0-1."""
    shown = {int(row) for entry in lists for row in entry[:k]}
    return len(shown) / n if n else float("nan")


def overlap(lists: Iterable[Rows], k: int = FIRST) -> float:
    """Return the mean share of the first k that two users have in common, 0-1, over all pairs of users.

    A shorter list counts as if it were filled with titles that nobody else has. NaN with fewer than two lists.
    """
    firsts = [entry[:k] for entry in lists]
    people = len(firsts)
    if people < 2:
        return float("nan")
    # A title on c lists is common to c (c - 1) / 2 of the pairs.
    _, times = np.unique(np.concatenate(firsts), return_counts=True)
    return float((times * (times - 1.0)).sum() / (people * (people - 1.0)) / k)


def intra_list_diversity(vectors: NDArray[Any], rows: Rows, k: int = FIRST) -> float:
    """Return 1 minus the mean cosine of all pairs among the first k, about 0-1; NaN with fewer than two vectors."""
    matrix = np.asarray(vectors, dtype=np.float64)[np.asarray(rows[:k], dtype=np.int64)]
    matrix = matrix[np.linalg.norm(matrix, axis=1) > 1e-6]
    m = len(matrix)
    if m < 2:
        return float("nan")
    matrix = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    total = float((matrix @ matrix.T).sum()) - m
    return 1.0 - total / (m * (m - 1))
