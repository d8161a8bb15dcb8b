"""The library as the ranking sees it, and the part of it that one user has watched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.ranking.facts import Facts, facts_of
from aperture_dagster.ranking.histories import index_of
from aperture_dagster.ranking.popularity import Priors, media_rows, priors
from aperture_dagster.ranking.taste import centre

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Rows = NDArray[np.int64]
NO_ROWS: Rows = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class OwnTitles:
    """The titles of one user that say something, weightiest first: rows of the item table and signed weights."""

    rows: Rows
    weights: Doubles

    def spread(self, n: int, kind_rows: Rows, other_type: float) -> Doubles:
        """Return the weights over the whole library, shape (n,), those of the other media type toned down."""
        whole = np.zeros(n)
        whole[self.rows] = self.weights * other_type
        same = np.zeros(n, dtype=bool)
        same[kind_rows] = True
        own_kind = same[self.rows]
        whole[self.rows[own_kind]] = self.weights[own_kind]
        return whole


NOTHING_OWN = OwnTitles(NO_ROWS, np.zeros(0))


@dataclass(frozen=True, slots=True, eq=False)
class Library:
    """What the titles are, whoever watches them: made by ``library_of``, n rows in the order of the item table."""

    work_ids: Rows
    index: dict[int, int]
    """Row of each work id."""
    rows: dict[str, Rows]
    """Rows of each media type."""
    centred: Floats
    facts: Facts
    known: Priors


def library_of(
    items: pd.DataFrame, vectors: NDArray[Any] | None = None, mask: NDArray[np.bool_] | None = None
) -> Library:
    """Centre the vectors, and collect the facts and priors of all titles.

    Args:
        items: the item table, see ``RankingInputs``.
        vectors: shape (n, d), or None.
        mask: shape (n,), True where a vector exists; default all.

    Raises:
        ValueError: when vectors or mask do not fit the items, or a work_id occurs twice.
    """
    table = items.reset_index(drop=True)
    if vectors is None:
        vectors = np.zeros((len(table), 1), dtype=np.float32)
    if len(vectors) != len(table):
        raise ValueError(f"{len(vectors)} vectors for {len(table)} items")
    return Library(
        work_ids=table["work_id"].to_numpy(dtype=np.int64),
        index=index_of(table["work_id"]),
        rows=media_rows(table),
        centred=centre(np.asarray(vectors), mask),
        facts=facts_of(table),
        known=priors(table),
    )
