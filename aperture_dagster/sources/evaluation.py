"""What the lists are evaluated on: a folder of histories and titles, with the vectors of the built-in embedder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.ranking.evaluation import LIKED, Unavailable, World, world_of
from aperture_dagster.ranking.library import library_of
from aperture_dagster.ranking.text import title_text
from aperture_dagster.resources.embedder import StaticEmbedder
from aperture_dagster.resources.movielens import read_films, read_histories


@dataclass(frozen=True, eq=False)
class FolderWorld:
    """A world, and how many lines of its files could not be used."""

    world: World
    people: int
    skipped_films: int
    skipped_ratings: int


def world_of_folder(folder: Path, vectors: NDArray[np.float32] | None = None) -> FolderWorld:
    """Read a folder (see ``resources.movielens``), embed the titles unless given ``vectors``, and split the histories.

    A hit was rated at least 4 of 5. Films from after a user's last year of activity could not be watched.

    Raises:
        FolderError: a file is missing, or holds nothing that can be used.
    """
    items, skipped_films = read_films(folder)
    histories, skipped_ratings = read_histories(folder, list(items["work_id"]))
    library = library_of(items, embed(items) if vectors is None else vectors)
    liked = histories["rating"].to_numpy(dtype=np.float64) >= LIKED
    return FolderWorld(
        world=world_of(items, library, histories, liked, _unreleased(items)),
        people=len(set(histories["user_id"])),
        skipped_films=skipped_films,
        skipped_ratings=skipped_ratings,
    )


def embed(items: pd.DataFrame) -> NDArray[np.float32]:
    """Return the vectors of the product's text of each title, from the default embedder."""
    return StaticEmbedder().embed([title_text(row) for row in items.to_dict("records")]).vectors


def _unreleased(items: pd.DataFrame) -> Unavailable:
    # A film of unknown year compares as released.
    years = items["year"].to_numpy(dtype=np.float64)
    return lambda _, last: years > last.year
