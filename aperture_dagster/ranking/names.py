"""Lists of names of many titles (genres, keywords, people) as numbers, made once by hashing."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pandas as pd

from aperture_dagster.ranking.histories import Rows


@dataclass(frozen=True, slots=True, eq=False)
class Names:
    """Which titles have which names: one entry for each pair, sorted by title."""

    n: int
    """Number of titles."""
    distinct: list[str]
    rows: Rows
    """Title of each entry."""
    codes: Rows
    """Position in ``distinct`` of each entry's name."""
    counts: Rows
    """Number of titles with each name, shape (names,)."""

    def entries(self, rows: Rows) -> tuple[Rows, Rows]:
        """Return the entries of some titles, title by title, and the position in ``rows`` of the title of each."""
        return entries_of(self.rows, rows)


def entries_of(sorted_rows: Rows, rows: Rows) -> tuple[Rows, Rows]:
    """Return the positions of ``rows`` in ``sorted_rows``, row by row, and the place in ``rows`` of each."""
    low, high = np.searchsorted(sorted_rows, rows), np.searchsorted(sorted_rows, rows, side="right")
    counts = high - low
    owner = np.repeat(np.arange(len(rows)), counts)
    return np.arange(counts.sum()) + np.repeat(low - np.cumsum(counts) + counts, counts), owner


def count_names(*columns: Sequence[Sequence[str]]) -> Names:
    """Return the names of titles from one or more lists per title; a name counts once per title."""
    n = len(columns[0])
    flat = list(chain.from_iterable(chain.from_iterable(columns)))
    lengths = [np.fromiter(map(len, lists), dtype=np.int64, count=n) for lists in columns]
    rows = np.concatenate([np.repeat(np.arange(n), of_each) for of_each in lengths])
    names = np.empty(len(flat), dtype=object)
    names[:] = flat
    codes, distinct = pd.factorize(names)
    # A sort of whole numbers: it brings the entries in order, and leaves out what a title lists twice.
    pairs = np.unique(rows * max(len(distinct), 1) + codes)
    rows, codes = np.divmod(pairs, max(len(distinct), 1))
    return Names(n, distinct.tolist(), rows, codes, np.bincount(codes, minlength=len(distinct)))
