"""A folder of histories and titles to evaluate the lists on, with the vectors of the built-in embedder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.taste.embedder import StaticEmbedder
from aperture_dagster.taste.movielens import read_films, read_ratings
from aperture_dagster.taste.ranking.evaluation import LIKED, World, world_of
from aperture_dagster.taste.ranking.library import library_of
from aperture_dagster.taste.ranking.text import title_text


def world_of_folder(folder: Path, vectors: NDArray[np.float32] | None = None) -> World:
    """Read a folder (see ``resources.movielens``), embed the titles unless given ``vectors``, and split the histories.

    A hit was rated at least 4 of 5. Films from after a user's last year of activity could not be watched.

    Raises:
        CrowdError: a file is missing, malformed, or holds nothing that can be used.
    """
    items, histories = read_folder(folder)
    library = library_of(items, embed(items) if vectors is None else vectors)
    liked = histories["rating"].to_numpy(dtype=np.float64) >= LIKED
    # A film of unknown year compares as released.
    years = items["year"].to_numpy(dtype=np.float64)
    return world_of(items, library, histories, liked, lambda _user, _known, last: years > last.year)


def read_folder(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the item table of a folder, and the histories; undated ones qualify nobody."""
    items = read_films(folder)
    histories = read_ratings(folder, items["work_id"].to_numpy()).histories
    if "last_played_at" not in histories:
        histories = histories.assign(last_played_at=pd.NaT)
    return items, histories


def embed(items: pd.DataFrame) -> NDArray[np.float32]:
    """Return the vectors of the product's text of each title, from the default embedder."""
    return StaticEmbedder().embed([title_text(row) for row in items.to_dict("records")]).vectors
