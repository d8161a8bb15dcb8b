"""Content features of titles: people, genres and years.

Embedded descriptions miss names (two films by one director need not read alike) and time, and people choose by both. A
title resembles a history in one field when they share rare names: the cosine of tf-idf rows, summed over the history
with its signed weights. This is linear, so a history is folded into one profile of names instead of comparing in pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

import numpy as np
import pandas as pd
from numpy.dtypes import StringDType
from numpy.typing import NDArray

from aperture_dagster.taste.ranking.histories import Doubles, Rows, entries_of, first_of, list_column, number_column

# Lists of names of many titles (genres, keywords, people) as numbers, made once by hashing.


SEPARATOR = "\x1f"
"""Between the names in a text."""


@dataclass(frozen=True, slots=True, eq=False)
class NameLists:
    """A list of names for each of n titles, all lists in one: a library has a million names, mostly the same ones."""

    names: list[str]
    lengths: Rows
    """Number of names of each title, shape (n,)."""

    @classmethod
    def of(cls, lists: Sequence[Sequence[str]]) -> NameLists:
        """Join the lists of n titles."""
        lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
        return cls(list(chain.from_iterable(lists)), lengths)

    def at_most(self, count: int) -> NameLists:
        """Return the first ``count`` names of each title."""
        return self if self.lengths.max(initial=0) <= count else NameLists.of([one[:count] for one in self])

    def __iter__(self) -> Iterator[list[str]]:
        """Yield the names of one title after the other."""
        end = 0
        for length in self.lengths.tolist():
            end += length
            yield self.names[end - length : end]


class PackedNames:
    """The same as text, of which nothing but the text is kept in memory until it is needed."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._lengths: list[Rows] = []

    def add(self, texts: Sequence[str]) -> None:
        """Add titles: one text for each, with a :data:`SEPARATOR` between its names, none of which is empty."""
        lengths = np.fromiter(map(str.count, texts, repeat(SEPARATOR)), np.int64, count=len(texts))
        self._lengths.append(lengths + np.fromiter(map(bool, texts), np.int64, count=len(texts)))
        self._texts.append(SEPARATOR.join(filter(None, texts)))

    def unpack(self) -> NameLists:
        """Return the lists. One split of all texts takes a tenth of the time of one for each title."""
        whole = SEPARATOR.join(filter(None, self._texts))
        lengths = np.concatenate([np.zeros(0, dtype=np.int64), *self._lengths])
        return NameLists(whole.split(SEPARATOR) if whole else [], lengths)


@dataclass(frozen=True, slots=True, eq=False)
class Names:
    """Which titles have which names: one entry for each pair, title by title."""

    n: int
    """Number of titles."""
    distinct: NDArray[Any]
    """The names, shape (names,)."""
    first: Rows
    """Where the entries of each title begin, shape (n + 1,)."""
    codes: NDArray[np.int32]
    """Position in ``distinct`` of each entry's name."""
    counts: Rows
    """Number of titles with each name, shape (names,)."""


def count_names(*columns: NameLists | Sequence[Sequence[str]]) -> Names:
    """Return the names of titles from one or more lists per title; a name counts once per title."""
    lists = [one if isinstance(one, NameLists) else NameLists.of(one) for one in columns]
    n = len(lists[0].lengths)
    flat = list(chain.from_iterable(one.names for one in lists)) if len(lists) > 1 else lists[0].names
    rows = np.concatenate([np.repeat(np.arange(n), one.lengths) for one in lists])
    names = np.empty(len(flat), dtype=object)
    names[:] = flat
    codes, distinct = pd.factorize(names)
    # A sort of whole numbers: it brings the entries in order, and what a title lists twice next to each other.
    pairs = np.sort(rows * max(len(distinct), 1) + codes)
    fresh = np.ones(len(pairs), dtype=bool)
    fresh[1:] = pairs[1:] != pairs[:-1]
    rows, codes = np.divmod(pairs[fresh], max(len(distinct), 1))
    counts = np.bincount(codes, minlength=len(distinct))
    # Copied: the few that are kept would hold on to the memory of all.
    return Names(n, np.asarray(distinct, dtype=StringDType()), first_of(rows, n), codes.astype(np.int32), counts)


FIELDS: dict[str, tuple[str, ...]] = {
    "people": ("directors", "creators", "cast"),
    "genres": ("genres",),
}
"""Columns of the item table that make up each field; missing columns are skipped."""
MAX_CAST = 5
FEW = 4
"""With less than this fraction of the titles, such as the series of a library, their entries are looked up."""


@dataclass(frozen=True, slots=True, eq=False)
class TfIdf:
    """A sparse matrix (titles, names) with rows of length 1."""

    names: int
    first: Rows
    """Where the entries of each title begin, shape (n + 1,)."""
    columns: NDArray[np.int32]
    values: Doubles

    def affinity(self, weights: Doubles, rows: Rows | None = None) -> Doubles:
        """Return Σ_h w_h · cosine(title, h) for signed weights that are 0 outside of the history; both shape (n,).

        With ``rows``, for these titles only, in their order.
        """
        history = np.flatnonzero(weights)
        own, owner = entries_of(self.first, history)
        weighted = self.values[own] * weights[history][owner]
        profile = np.bincount(self.columns[own], weights=weighted, minlength=self.names)
        if rows is not None and FEW * len(rows) < len(weights):
            entries, owner = entries_of(self.first, rows)
            shared = self.values[entries] * profile[self.columns[entries]]
            return np.bincount(owner, weights=shared, minlength=len(rows)).astype(np.float64)
        found = np.zeros(len(weights))
        named = np.flatnonzero(np.diff(self.first))
        if len(named):
            found[named] = np.add.reduceat(self.values * profile[self.columns], self.first[named])
        return found if rows is None else found[rows]

    def between(self, rows: Rows, others: Rows) -> Doubles:
        """Return the cosine of every pair, shape (rows, others)."""
        entries, owner = entries_of(self.first, rows)
        named, column = np.unique(self.columns[entries], return_inverse=True)
        one = np.zeros((len(rows), len(named)))
        one[owner, column] = self.values[entries]
        entries, owner = entries_of(self.first, others)
        column = np.full(self.names, -1, dtype=np.int64)
        column[named] = np.arange(len(named))
        column = column[self.columns[entries]]
        shared = np.flatnonzero(column >= 0)
        # Few of the others share a name at all, unless there are few names.
        is_similar = np.zeros(len(others), dtype=bool)
        is_similar[owner[shared]] = True
        similar = np.flatnonzero(is_similar)
        two = np.zeros((len(similar), len(named)))
        two[(np.cumsum(is_similar) - 1)[owner[shared]], column[shared]] = self.values[entries[shared]]
        found = np.zeros((len(rows), len(others)))
        found[:, similar] = one @ two.T
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Content features of a library, computed once by ``content_features``."""

    fields: dict[str, TfIdf]
    years: Doubles
    """Year of each title, NaN where unknown, shape (n,)."""

    def era(self, weights: Doubles, window: float) -> Doubles:
        """Return how close each title's year is to the years of liked titles, at least 0, shape (n,).

        This is the square root of the weight of liked titles in a window around its year, whose standard deviation is
        ``window`` years; titles without a year get the mean.
        """
        known = np.isfinite(self.years)
        liked = np.maximum(weights, 0.0) * known
        if not liked.any():
            return np.zeros(len(weights))
        years = np.where(known, self.years, 0.0).astype(np.int64)
        low, high = int(years[known].min()), int(years[known].max())
        mass = np.bincount(years[known] - low, weights=liked[known])
        distance = np.arange(high - low + 1)
        near_by = np.exp(-0.5 * ((distance[:, None] - distance[None, :]) / window) ** 2)
        near = np.zeros(len(weights))
        near[known] = np.sqrt((near_by @ mass)[years[known] - low])
        near[~known] = near[known].mean()
        return near


def content_features(items: pd.DataFrame, names: Mapping[str, PackedNames] | None = None) -> Features:
    """Return the features of an item table; every column is optional (see ``FIELDS``, and ``year``).

    ``names`` has columns of lists that are not in the table.
    """
    packed = names or {}

    def lists_of(column: str) -> NameLists:
        # A million names: they become objects when their turn comes, and are not kept.
        lists = packed[column].unpack() if column in packed else NameLists.of(list_column(items, column))
        return lists.at_most(MAX_CAST) if column == "cast" else lists

    fields: dict[str, TfIdf] = {}
    for field, columns in FIELDS.items():
        lists = [lists_of(column) for column in columns if column in packed or column in items]
        fields[field] = weigh_names(count_names(*lists or [[[]] * len(items)]))
    years = number_column(items, "year")
    # Treat typos such as 0 or 19999 as unknown: the table of years in `era` would span all of them.
    years = np.where((years < 1850) | (years > 2200), np.nan, years)
    return Features(fields=fields, years=years)


def weigh_names(names: Names) -> TfIdf:
    """Return tf-idf rows of length 1. Names that only one title has are left out, since they connect nothing."""
    connects = names.counts > 1
    kept = connects[names.codes]
    column_of = np.cumsum(connects) - 1
    rows, columns = np.repeat(np.arange(names.n), np.diff(names.first))[kept], column_of[names.codes[kept]]
    idf = np.log(names.n / names.counts[connects])
    values = idf[columns]
    lengths = np.sqrt(np.bincount(rows, weights=values**2, minlength=names.n))
    values /= np.maximum(lengths[rows], 1e-9)
    return TfIdf(int(connects.sum()), first_of(rows, names.n), columns.astype(np.int32), values)


def signed_root(values: NDArray[Any]) -> Doubles:
    """Return the root of the absolute value, with the sign: in the long tails of sums, a few outliers would lead."""
    numbers = np.asarray(values, dtype=np.float64)
    return np.sign(numbers) * np.sqrt(np.abs(numbers))
