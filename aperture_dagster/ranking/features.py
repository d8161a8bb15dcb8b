"""Content features of titles: people, studios, keywords, genres and years.

Embedded descriptions miss names (two films by one director need not read alike) and time, and people choose by both. A
title resembles a history in one field when they share rare names: the cosine of tf-idf rows, summed over the history
with its signed weights. This is linear, so a history is folded into one profile of names instead of comparing in pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.ranking.histories import Doubles, Rows, list_column, number_column
from aperture_dagster.ranking.names import Names, count_names, entries_of

FIELDS: dict[str, tuple[str, ...]] = {
    "people": ("directors", "creators", "cast"),
    "studios": ("companies", "networks"),
    "keywords": ("keywords",),
    "genres": ("genres",),
}
"""Columns of the item table that make up each field; missing columns are skipped."""
MAX_CAST = 5


@dataclass(frozen=True, slots=True, eq=False)
class TfIdf:
    """A sparse matrix (titles, names) with rows of length 1, as three arrays in coordinate format, sorted by row."""

    n: int
    names: int
    rows: Rows
    columns: Rows
    values: Doubles

    def affinity(self, weights: Doubles) -> Doubles:
        """Return Σ_h w_h · cosine(title, h) for signed weights that are 0 outside of the history; both shape (n,)."""
        history = np.flatnonzero(weights)
        own, owner = entries_of(self.rows, history)
        weighted = self.values[own] * weights[history][owner]
        profile = np.bincount(self.columns[own], weights=weighted, minlength=self.names)
        shared = self.values * profile[self.columns]
        return np.bincount(self.rows, weights=shared, minlength=self.n).astype(np.float64)

    def between(self, rows: Rows, others: Rows) -> Doubles:
        """Return the cosine of every pair, shape (rows, others)."""
        entries, owner = self._entries(rows)
        named, column = np.unique(self.columns[entries], return_inverse=True)
        one = np.zeros((len(rows), len(named)))
        one[owner, column] = self.values[entries]
        entries, owner = self._entries(others)
        column = np.searchsorted(named, self.columns[entries])
        shared = column < len(named)
        shared[shared] = named[column[shared]] == self.columns[entries[shared]]
        two = np.zeros((len(others), len(named)))
        two[owner[shared], column[shared]] = self.values[entries[shared]]
        return one @ two.T

    def _entries(self, rows: Rows) -> tuple[Rows, Rows]:
        """Return the entries of some rows, and the position in ``rows`` that each belongs to."""
        low, high = np.searchsorted(self.rows, rows), np.searchsorted(self.rows, rows, side="right")
        counts = high - low
        owner = np.repeat(np.arange(len(rows)), counts)
        return np.arange(counts.sum()) + np.repeat(low - np.cumsum(counts) + counts, counts), owner


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Content features of a library, computed once by ``content_features``."""

    fields: dict[str, TfIdf]
    years: Doubles
    """Year of each title, NaN where unknown, shape (n,)."""
    genres: NDArray[np.float32]
    """1 where a title has a genre, shape (n, genres)."""

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

    def genre_cosine(self, rows: Rows, others: Rows) -> Doubles:
        """Return the cosine of the genres of every pair, shape (rows, others); 0 for a title without genres."""
        one, two = self.genres[rows].astype(np.float64), self.genres[others].astype(np.float64)
        lengths = np.sqrt(one.sum(axis=1))[:, None] * np.sqrt(two.sum(axis=1))[None, :]
        return (one @ two.T) / np.maximum(lengths, 1.0)

    def novelty(self, rows: Rows) -> Doubles:
        """Return 1 minus the mean share that each title's genres have in a history (``rows``), shape (n,).

        Titles without genres get 0.5; so does every title when the history is empty.
        """
        counts = self.genres.sum(axis=1)
        if not len(rows):
            return np.full(len(counts), 0.5)
        usual = self.genres[rows].mean(axis=0)
        return np.where(counts > 0, 1.0 - (self.genres @ usual) / np.maximum(counts, 1.0), 0.5)


def content_features(items: pd.DataFrame) -> Features:
    """Return the features of an item table; every column is optional (see ``FIELDS``, and ``year``)."""
    fields: dict[str, TfIdf] = {}
    for field, columns in FIELDS.items():
        lists: list[Sequence[Sequence[str]]] = [list_column(items, column) for column in columns if column in items]
        if "cast" in columns and "cast" in items:
            lists[-1] = [names[:MAX_CAST] for names in lists[-1]]
        fields[field] = weigh_names(count_names(*lists or [[[]] * len(items)]))
    years = number_column(items, "year")
    # Treat typos such as 0 or 19999 as unknown: the table of years in `era` would span all of them.
    years = np.where((years < 1850) | (years > 2200), np.nan, years)
    genres = count_names(list_column(items, "genres"))
    has_genre = np.zeros((len(items), len(genres.distinct)), dtype=np.float32)
    column_of = np.empty(len(genres.distinct), dtype=np.int64)
    column_of[np.argsort(genres.distinct, kind="stable")] = np.arange(len(genres.distinct))
    has_genre[genres.rows, column_of[genres.codes]] = 1.0
    return Features(fields=fields, years=years, genres=has_genre)


def tf_idf(lists: Sequence[Sequence[str]]) -> TfIdf:
    """Return tf-idf rows of length 1. Names that only one title has are left out, since they connect nothing."""
    return weigh_names(count_names(lists))


def weigh_names(names: Names) -> TfIdf:
    """Return what :func:`tf_idf` does, of names that are counted already."""
    connects = names.counts > 1
    kept = connects[names.codes]
    column_of = np.cumsum(connects) - 1
    rows, columns = names.rows[kept], column_of[names.codes[kept]]
    idf = np.log(names.n / names.counts[connects])
    values = idf[columns]
    lengths = np.sqrt(np.bincount(rows, weights=values**2, minlength=names.n))
    return TfIdf(names.n, int(connects.sum()), rows, columns, values / np.maximum(lengths[rows], 1e-9))


def signed_root(values: NDArray[Any]) -> Doubles:
    """Return the root of the absolute value, with the sign: in the long tails of sums, a few outliers would lead."""
    numbers = np.asarray(values, dtype=np.float64)
    return np.sign(numbers) * np.sqrt(np.abs(numbers))
