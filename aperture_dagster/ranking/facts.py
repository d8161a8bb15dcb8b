"""Taste in plain facts: who made it, which studio, what it is about, which genre and which years.

Embedded descriptions miss names (two films by one director need not read alike) and time, and people choose by both. A
title is near to a history by a kind of fact when it shares rare names with it: cosine of tf-idf rows, summed over the
history with its signed weights. Because that is linear, a history is first folded into one profile of names, and no
title is ever compared with another: the cost is the number of names, not titles times history.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.ranking.histories import list_column, number_column

Doubles = NDArray[np.float64]

FIELDS: dict[str, tuple[str, ...]] = {
    "people": ("directors", "creators", "cast"),
    "studios": ("companies", "networks"),
    "keywords": ("keywords",),
    "genres": ("genres",),
}
"""Which columns of the item table make each kind of fact; columns that are not there are skipped."""
MAX_CAST = 5
ERA_YEARS = 4.0
"""Width (standard deviation) of the window around the years of what was liked."""


@dataclass(frozen=True, slots=True, eq=False)
class Names:
    """A sparse matrix (titles, names) in rows of length 1, as three arrays: where, what, how much."""

    n: int
    names: int
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: Doubles

    def affinity(self, weights: Doubles) -> Doubles:
        """Return Σ_h w_h · cosine(title, h) for all titles, shape (n,).

        Args:
            weights: signed weight of each title, shape (n,), 0 where it is not in the history.
        """
        if not len(self.rows):
            return np.zeros(self.n)
        spread = self.values * weights[self.rows]
        profile = np.bincount(self.columns, weights=spread, minlength=self.names)
        shared = self.values * profile[self.columns]
        return np.bincount(self.rows, weights=shared, minlength=self.n).astype(np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """The facts of a library, made once by ``facts_of``."""

    n: int
    fields: dict[str, Names]
    years: Doubles
    """Year of each title, NaN where unknown, shape (n,)."""
    genres: NDArray[np.float32]
    """1 where a title has a genre, shape (n, genres)."""

    def era(self, weights: Doubles) -> Doubles:
        """Return how near each title's year is to the years of what was liked, at least 0, shape (n,).

        The root of the weight that lies within a few years of the title; a title without a year gets the mean.
        """
        known = np.isfinite(self.years)
        liked = np.maximum(weights, 0.0) * known
        if not liked.any():
            return np.zeros(self.n)
        years = np.where(known, self.years, 0.0).astype(np.int64)
        low, high = int(years[known].min()), int(years[known].max())
        mass = np.bincount(years[known] - low, weights=liked[known], minlength=high - low + 1)
        distance = np.arange(high - low + 1)
        window = np.exp(-0.5 * ((distance[:, None] - distance[None, :]) / ERA_YEARS) ** 2)
        near = np.zeros(self.n)
        near[known] = np.sqrt((window @ mass)[years[known] - low])
        near[~known] = near[known].mean()
        return near

    def genre_kinship(self, rows: NDArray[np.int64], others: NDArray[np.int64]) -> Doubles:
        """Return the cosine of the genres of every pair, shape (rows, others); 0 for a title without genres."""
        one, two = self.genres[rows].astype(np.float64), self.genres[others].astype(np.float64)
        lengths = np.sqrt(one.sum(axis=1))[:, None] * np.sqrt(two.sum(axis=1))[None, :]
        return (one @ two.T) / np.maximum(lengths, 1.0)

    def novelty(self, rows: NDArray[np.int64]) -> Doubles:
        """Return how little of each title's genres is in a history: 1 less their mean share in it, shape (n,).

        Titles without genres get 0.5, and so does everything when there is no history.
        """
        counts = self.genres.sum(axis=1)
        if not len(rows):
            return np.full(self.n, 0.5)
        usual = self.genres[rows].mean(axis=0)
        return np.where(counts > 0, 1.0 - (self.genres @ usual) / np.maximum(counts, 1.0), 0.5)


def facts_of(items: pd.DataFrame) -> Facts:
    """Return the facts of an item table; every column is optional (see ``FIELDS``, and ``year``)."""
    fields: dict[str, Names] = {}
    for field, columns in FIELDS.items():
        lists: list[Sequence[str]] = [[] for _ in range(len(items))]
        for column in columns:
            if column in items.columns:
                limit = MAX_CAST if column == "cast" else None
                found = list_column(items, column)
                lists = [[*known, *more[:limit]] for known, more in zip(lists, found, strict=True)]
        fields[field] = name_matrix(lists)
    years = number_column(items, "year")
    # A year of 0 or 19999 is a slip of the hand, and would make the table of years as long.
    years = np.where((years < 1850) | (years > 2200), np.nan, years)
    return Facts(n=len(items), fields=fields, years=years, genres=_indicator(list_column(items, "genres")))


def name_matrix(lists: Sequence[Sequence[str]]) -> Names:
    """Return tf-idf rows of length 1; names that only one title has are left out, for they connect nothing."""
    n = len(lists)
    unique = [dict.fromkeys(entry) for entry in lists]
    counts = Counter(chain.from_iterable(unique))
    place = {name: column for column, name in enumerate(sorted(name for name, c in counts.items() if c > 1))}
    idf = np.array([np.log(n / counts[name]) for name in place]) if place else np.zeros(0)
    rows = np.array([row for row, entry in enumerate(unique) for name in entry if name in place], dtype=np.int64)
    columns = np.array([place[name] for entry in unique for name in entry if name in place], dtype=np.int64)
    values = idf[columns] if len(columns) else np.zeros(0)
    lengths = np.sqrt(np.bincount(rows, weights=values**2, minlength=n)) if len(rows) else np.zeros(n)
    return Names(n, len(place), rows, columns, values / np.maximum(lengths[rows], 1e-9))


def signed_root(values: NDArray[Any]) -> Doubles:
    """Return the root with the sign kept: sums over a history have long tails in which a few odd titles would lead."""
    numbers = np.asarray(values, dtype=np.float64)
    return np.sign(numbers) * np.sqrt(np.abs(numbers))


def _indicator(lists: Sequence[Sequence[str]]) -> NDArray[np.float32]:
    place = {name: column for column, name in enumerate(sorted(set(chain.from_iterable(lists))))}
    matrix = np.zeros((len(lists), len(place)), dtype=np.float32)
    for row, entry in enumerate(lists):
        for name in entry:
            matrix[row, place[name]] = 1.0
    return matrix
