"""Measures of ranked lists, against what was held out and by how popular they are."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aperture_dagster.taste.ranking.histories import Rows

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
