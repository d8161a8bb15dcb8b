"""Input of the ranking: the titles of a library, and the weighted titles of a user."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.taste.ranking.features import Features, content_features
from aperture_dagster.taste.ranking.histories import Doubles, Floats, Rows, index_of, number_column
from aperture_dagster.taste.ranking.names import PackedNames
from aperture_dagster.taste.ranking.priors import Priors, media_rows, priors
from aperture_dagster.taste.ranking.taste import centre

NO_ROWS: Rows = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class UserTitles:
    """The titles of one user with a non-zero weight, largest first: rows of the item table and signed weights."""

    rows: Rows
    weights: Doubles

    def largest(self, limit: int) -> "UserTitles":
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
