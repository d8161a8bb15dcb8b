"""What a user is never recommended."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.ranking.histories import rows_where, tidy_histories

STARTED = 0.05
"""Share of a title from which it counts as started."""


def started(tidy: pd.DataFrame) -> NDArray[np.bool_]:
    """Which rows of a tidy history are of titles that were begun (5 % or more), finished or rated, shape (rows,).

    A mere favourite is none of these: marked to be watched one day, it may well be recommended.
    """
    begun = (tidy["plays"] > 0) | (tidy["completion"] >= STARTED) | (tidy["episodes_played"] > 0)
    return np.asarray(begun | tidy["rating"].notna(), dtype=bool)


def exclusions(
    items: pd.DataFrame,
    histories: pd.DataFrame,
    user_id: Hashable,
    *,
    as_of: datetime | pd.Timestamp,
    hidden: Collection[int] = (),
    visible: Collection[int] | None = None,
    age_ratings: NDArray[Any] | None = None,
    age_limit: float | None = None,
    block_unrated: bool = False,
) -> NDArray[np.bool_]:
    """Return the titles that one user is never recommended, shape (n,).

    Args:
        items: the item table.
        histories: of any users; only this user's rows count. Watched, started (5 %) and rated titles are excluded.
        user_id: whose.
        as_of: the present.
        hidden: work_ids that the user or the operator dismissed.
        visible: work_ids in libraries that the user may see; None means all.
        age_ratings: the parental level of each item, shape (n,), NaN where unknown.
        age_limit: the user's parental limit; levels above it are excluded. None means no limit.
        block_unrated: exclude titles of unknown level as well, when there is a limit.

    Raises:
        ValueError: when ``age_ratings`` does not fit the items.
    """
    works = items["work_id"].to_numpy(dtype=np.int64)
    if len(histories):
        histories = rows_where(histories, histories["user_id"] == user_id)
    own = tidy_histories(histories, as_of=as_of)
    mask = np.isin(works, own["work_id"].to_numpy(dtype=np.int64)[started(own)])
    mask |= np.isin(works, np.array(sorted(hidden), dtype=np.int64))
    if visible is not None:
        mask |= ~np.isin(works, np.array(sorted(visible), dtype=np.int64))
    if age_limit is not None and age_ratings is not None:
        levels = np.asarray(age_ratings, dtype=np.float64)
        if levels.shape != works.shape:
            raise ValueError(f"age_ratings {levels.shape} do not fit {len(works)} items")
        mask |= levels > age_limit
        if block_unrated:
            mask |= ~np.isfinite(levels)
    return mask
