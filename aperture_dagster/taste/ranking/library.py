"""Input of the ranking: the titles of a library, and the weighted titles of a user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from aperture_dagster.taste.ranking.features import Features, PackedNames, content_features
from aperture_dagster.taste.ranking.histories import Doubles, Floats, Rows, index_of, number_column
from aperture_dagster.taste.ranking.taste import centre

# What is known of every title without any history: the world's ratings and votes.


Scores = NDArray[np.float64]


def bayesian_average(vote_average: ArrayLike, vote_count: ArrayLike) -> Scores:
    """Shrink vote averages (0-10) towards the library's mean: (v·R + m·C) / (v + m), IMDb's "weighted rating".

    C is the vote-weighted mean of the library (6.5 if nothing has votes), m its median number of votes (at least 10).

    Args:
        vote_average: shape (n,), 0-10; NaN and 0 (TMDb's "no votes") are unknown.
        vote_count: shape (n,); NaN with a known average counts as m / 10 votes.

    Returns:
        shape (n,), 0-10, without NaN: an unknown title gets C.
    """
    average, votes = np.asarray(vote_average, dtype=np.float64), np.asarray(vote_count, dtype=np.float64)
    known = np.isfinite(average) & (average > 0) & ~(np.isfinite(votes) & (votes <= 0))
    counted = known & np.isfinite(votes)
    prior_votes = max(float(np.median(votes[counted])), 10.0) if counted.any() else 10.0
    weight = np.where(known, np.where(np.isfinite(votes), np.maximum(votes, 0.0), prior_votes / 10.0), 0.0)
    voted = weight * np.where(known, np.clip(average, 0.0, 10.0), 0.0)
    prior_mean = float(voted.sum() / weight.sum()) if weight.sum() > 0 else 6.5
    return (voted + prior_votes * prior_mean) / (weight + prior_votes)


def log_votes(vote_count: ArrayLike) -> Scores:
    """Return log(1 + votes), shape (n,), without NaN.

    A title without a count gets the lower quartile of the library, because well-known titles rarely lack one.
    """
    votes = np.asarray(vote_count, dtype=np.float64)
    known = np.isfinite(votes)
    logged = np.log1p(np.maximum(votes, 0.0))
    usual = float(np.quantile(logged[known], 0.25)) if known.any() else 0.0
    return np.where(known, logged, usual)


@dataclass(frozen=True, slots=True)
class Priors:
    """User-independent data about every title; each array has shape (n,)."""

    rating: Scores
    """Bayesian vote average, 0-10."""
    votes: Scores
    """log(1 + votes), or its replacement; see ``log_votes``."""
    trend: Scores
    """log(1 + TMDb's popularity); an unknown one is the media type's mean."""


def priors(items: pd.DataFrame) -> Priors:
    """Return the priors of an item table, per media type (series gather fewer votes than films)."""
    average, votes = number_column(items, "vote_average"), number_column(items, "vote_count")
    fame = number_column(items, "popularity")
    rating, logged, trend = np.zeros(len(items)), np.zeros(len(items)), np.log1p(np.maximum(fame, 0.0))
    for rows in media_rows(items).values():
        rating[rows] = bayesian_average(average[rows], votes[rows])
        logged[rows] = log_votes(votes[rows])
        known = np.isfinite(trend[rows])
        trend[rows] = np.where(known, trend[rows], trend[rows][known].mean() if known.any() else 0.0)
    return Priors(rating=rating, votes=logged, trend=trend)


def media_rows(items: pd.DataFrame) -> dict[str, NDArray[np.int64]]:
    """Return the rows of each media type; in a table without the column, all titles are films."""
    if "media_type" not in items.columns:
        return {"movie": np.arange(len(items))} if len(items) else {}
    media_types = items["media_type"].astype(str).to_numpy()
    return {media_type: np.flatnonzero(media_types == media_type) for media_type in sorted(set(media_types))}


NO_ROWS: Rows = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class UserTitles:
    """The titles of one user with a non-zero weight, largest first: rows of the item table and signed weights."""

    rows: Rows
    weights: Doubles

    def largest(self, limit: int) -> UserTitles:
        """Return the titles with the largest weights, at most so many."""
        return UserTitles(self.rows[:limit], self.weights[:limit])


NO_TITLES = UserTitles(NO_ROWS, np.zeros(0))


@dataclass(frozen=True, slots=True, eq=False)
class Library:
    """Data shared by all users: n rows in the order of the item table."""

    work_ids: Rows
    index: dict[int, int]
    """Row of each work id."""
    rows: dict[str, Rows]
    """Rows of each media type."""
    centred: Floats
    features: Features
    priors: Priors
    collections: Doubles
    """Number of the collection of each title, NaN for none."""
    released: Doubles
    """Year and part of the year in which each title came out: its end where only the year is known, else NaN."""


def library_of(
    items: pd.DataFrame,
    vectors: NDArray[Any] | None = None,
    mask: NDArray[np.bool_] | None = None,
    names: Mapping[str, PackedNames] | None = None,
) -> Library:
    """Centre the vectors, and compute features and priors of all titles (arguments as in ``RankingInputs``).

    ``names`` has columns of lists of names that are not in the table.

    Raises:
        ValueError: when vectors or mask do not fit the items, or a work_id occurs twice.
    """
    table = items.reset_index(drop=True)
    if vectors is None:
        vectors = np.zeros((len(table), 1), dtype=np.float32)
    if len(vectors) != len(table):
        raise ValueError(f"{len(vectors)} vectors for {len(table)} items")
    released = number_column(table, "released")
    return Library(
        work_ids=table["work_id"].to_numpy(dtype=np.int64),
        index=index_of(table["work_id"]),
        rows=media_rows(table),
        centred=centre(np.asarray(vectors), mask),
        features=content_features(table, names),
        priors=priors(table),
        collections=number_column(table, "collection"),
        released=np.where(np.isfinite(released), released, number_column(table, "year") + 1.0),
    )
