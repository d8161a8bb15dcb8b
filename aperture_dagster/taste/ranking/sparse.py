"""Searches in sorted arrays, and sparse matrices: the entries of a row are ``first[row]`` to ``first[row + 1]``."""

import numpy as np
from numpy.typing import NDArray

from aperture_dagster.taste.ranking.histories import Rows


def find(known: NDArray[np.integer], wanted: NDArray[np.integer]) -> Rows:
    """Return the place in ``known`` (ascending, each once) of each wanted number, -1 for those that are not in it."""
    if not len(known):
        return np.full(len(wanted), -1, dtype=np.int64)
    places = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[places] == wanted, places, -1)


def first_of(rows: NDArray[np.integer], n: int) -> Rows:
    """Return where the entries of each of n rows begin, and the end of the last, shape (n + 1,).

    ``rows``, ascending, has the row of each entry.
    """
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(np.bincount(rows, minlength=n))])


def entries_of(first: Rows, rows: Rows) -> tuple[Rows, Rows]:
    """Return the entries of some rows, row by row, and the place in ``rows`` of the row of each."""
    low, counts = first[rows], first[rows + 1] - first[rows]
    owner = np.repeat(np.arange(len(rows)), counts)
    return np.arange(counts.sum()) + np.repeat(low - np.cumsum(counts) + counts, counts), owner
