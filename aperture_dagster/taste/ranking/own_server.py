"""The evaluation of a media server's own lists, on the histories of its users.

A hit is a title of which the user watched at least half, or that they rated well. Candidates are the titles that were
in the library by the user's last known activity and that the user may see. A title counts as added when the server says
so, or when somebody first played it, if that was earlier: a library that was imported again has later dates.
"""

import hashlib
from collections.abc import Hashable, Iterable, Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.taste.ranking.evaluation import World, world_of
from aperture_dagster.taste.ranking.histories import positions, tidy_histories
from aperture_dagster.taste.ranking.library import Library
from aperture_dagster.taste.ranking.taste import taste_weights

LEAST_LIKING = 0.25
"""Liking of an unrated title of which half was watched; see ``taste_weights``."""
MOST_USERS = 200
"""Users whose lists are judged at most; co-watch still learns from everybody."""


def sample_of(users: Iterable[str], limit: int = MOST_USERS) -> list[str]:
    """Return at most so many users, the same ones each time, in order."""
    chosen = sorted(users, key=lambda user: hashlib.sha256(user.encode()).digest())[:limit]
    return sorted(chosen)


def worlds_of_server(
    items: pd.DataFrame,
    library: Library,
    histories: pd.DataFrame,
    *,
    added: Mapping[int, datetime],
    hidden: Mapping[Hashable, NDArray[np.bool_]],
    as_of: datetime,
) -> dict[str, World]:
    """Return the world of each media type: what is known, and what users watched later.

    Args:
        items: The titles of the library, as in ``RankingInputs``.
        library: The same titles.
        histories: Those of everybody, likewise.
        added: When each work was added to the library, where known.
        hidden: Per user who is asked, the titles that they may not see, shape (n,).
        as_of: The present.
    """
    tidy = tidy_histories(histories, as_of=as_of)
    # Both are sorted by user and work.
    liking = taste_weights(tidy, as_of=as_of)["liking"].to_numpy(dtype=np.float64)
    from_when = _from_when(library, tidy, added)
    worlds: dict[str, World] = {}
    for media_type, rows in library.rows.items():
        others = np.ones(len(library.work_ids), dtype=bool)
        others[rows] = False

        def unavailable(user: Any, known: pd.Timestamp, _: pd.Timestamp, others: NDArray[np.bool_] = others) -> Any:
            return others | hidden[user] | (from_when > known.timestamp())

        worlds[media_type] = world_of(items, library, tidy, liking >= LEAST_LIKING, unavailable, users=hidden.keys())
    return worlds


def _from_when(library: Library, tidy: pd.DataFrame, added: Mapping[int, datetime]) -> NDArray[np.float64]:
    """Return the second (UTC) from which each title was there, shape (n,); minus infinity where nothing is known."""
    seconds = np.array([added[work].timestamp() if work in added else -np.inf for work in library.work_ids.tolist()])
    played = tidy.loc[tidy["last_played_at"].notna()]
    rows = positions(played["work_id"], library.index)
    moments = played["last_played_at"].map(pd.Timestamp.timestamp).to_numpy(dtype=np.float64)
    np.minimum.at(seconds, rows[rows >= 0], moments[rows >= 0])
    return seconds
