"""How good are lists: hold out what came last, and see how much of it the lists would have found."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.ranking.histories import rows_where


def leave_last_out(
    histories: pd.DataFrame, *, share: float = 0.2, time: str = "last_played_at"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split every user's history by time: the last ``share`` of the rows (rounded up) is held out.

    Rows of the same moment keep the order in which they came; missing dates count as earliest.

    Returns:
        What may be known, and what was held out.

    Raises:
        ValueError: for a share outside 0-1.
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"share must be within 0 and 1, not {share}")
    ordered = histories.sort_values(time, kind="stable", na_position="first")
    by_user = ordered.groupby("user_id", sort=False)
    size = np.asarray(by_user["user_id"].transform("size"), dtype=np.float64)
    from_the_end = size - np.asarray(by_user.cumcount(), dtype=np.float64)
    held = from_the_end <= np.ceil(size * share - 1e-9)
    return rows_where(ordered, ~held), rows_where(ordered, held)


def ndcg_at(recommended: Sequence[Any], relevant: Collection[Any], k: int = 10) -> float:
    """Return the normalised discounted cumulative gain of the first k, 0-1 (gain 1 for a hit, 1/log2(rank + 1)).

    NaN when nothing is relevant: such a user says nothing about a list.
    """
    if not relevant:
        return float("nan")
    wanted = set(relevant)
    gain = sum(1.0 / np.log2(rank + 2) for rank, work in enumerate(recommended[:k]) if work in wanted)
    best = sum(1.0 / np.log2(rank + 2) for rank in range(min(k, len(wanted))))
    return float(gain / best)


def hit_rate_at(recommended: Sequence[Any], relevant: Collection[Any], k: int = 10) -> float:
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


def mean_popularity(lists: Iterable[NDArray[np.int64]], votes: NDArray[Any], k: int = 10) -> float:
    """Return the mean of ``votes[row]`` over the first k of all lists; NaN without any."""
    rows = [np.asarray(entry[:k], dtype=np.int64) for entry in lists]
    together = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)
    return float(np.nanmean(np.asarray(votes, dtype=np.float64)[together])) if len(together) else float("nan")


def coverage(lists: Iterable[NDArray[np.int64]], n: int, k: int = 10) -> float:
    """Return the share of the n titles that appear among the first k of any list, 0-1."""
    shown = {int(row) for entry in lists for row in entry[:k]}
    return len(shown) / n if n else float("nan")


def intra_list_diversity(vectors: NDArray[Any], rows: NDArray[np.int64], k: int = 10) -> float:
    """Return 1 less the mean cosine of all pairs among the first k, about 0-1; NaN for fewer than two with a vector."""
    matrix = np.asarray(vectors, dtype=np.float64)[np.asarray(rows[:k], dtype=np.int64)]
    matrix = matrix[np.linalg.norm(matrix, axis=1) > 1e-6]
    m = len(matrix)
    if m < 2:
        return float("nan")
    matrix = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    total = float((matrix @ matrix.T).sum()) - m
    return 1.0 - total / (m * (m - 1))
