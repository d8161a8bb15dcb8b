"""Viewing histories of other people, from a folder in MovieLens format that the operator provides.

``ratings.csv`` (userId, movieId, rating 0.5-5, timestamp) and, to know the films by, ``links.csv`` (movieId, imdbId,
tmdbId) as in the published data sets, or ``movies.jsonl``; each may be gzipped. Nothing is copied or stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from aperture_dagster.resources.errors import ServiceNotConfigured

if TYPE_CHECKING:
    import pandas as pd

CHUNK = 2_000_000
# MovieLens rates from half a star to five; the product from 0 to 10.
TO_OWN_SCALE = 2.0


def read_crowd(folder: Path, by_tmdb_id: Mapping[int, int], by_imdb_id: Mapping[str, int]) -> pd.DataFrame:
    """Read the crowd's histories of films in the library, which are given as work ids by their ids elsewhere.

    Returns the columns ``user_id``, ``work_id``, ``plays``, ``rating`` (0-10) and ``last_played_at`` (UTC).

    Raises:
        ServiceNotConfigured: a file is missing or malformed; the message names the setting.
    """
    import pandas as pd

    ratings_file = _file(folder, "ratings.csv")
    works = _works(folder, by_tmdb_id, by_imdb_id)
    parts = []
    try:
        columns = ["userId", "movieId", "rating", "timestamp"]
        for chunk in pd.read_csv(ratings_file, usecols=columns, chunksize=CHUNK):
            parts.append(chunk[chunk["movieId"].isin(works.index)])
    except (ValueError, OSError, EOFError) as error:
        raise ServiceNotConfigured(f"APERTURE_CROWD_FOLDER: {ratings_file} cannot be read: {error}") from None
    ratings = pd.concat(parts, ignore_index=True)
    return pd.DataFrame(
        {
            "user_id": ratings["userId"].astype(str),
            "work_id": works.reindex(ratings["movieId"]).to_numpy(dtype="int64"),
            "plays": 1.0,
            "rating": ratings["rating"].astype("float64") * TO_OWN_SCALE,
            "last_played_at": pd.to_datetime(ratings["timestamp"], unit="s", utc=True, errors="coerce"),
        }
    )


def _works(folder: Path, by_tmdb_id: Mapping[int, int], by_imdb_id: Mapping[str, int]) -> pd.Series:
    """Return the work id of each movieId that is in the library."""
    import pandas as pd

    try:
        if (folder / "links.csv").exists() or (folder / "links.csv.gz").exists():
            films = pd.read_csv(_file(folder, "links.csv"), dtype={"imdbId": "string"})
        else:
            films = pd.read_json(_file(folder, "movies.jsonl"), lines=True, dtype={"imdbId": "string"})
        found = {
            int(movie): work
            for movie, tmdb, imdb in films[["movieId", "tmdbId", "imdbId"]].itertuples(index=False)
            if (work := _work(tmdb, imdb, by_tmdb_id, by_imdb_id)) is not None
        }
    except (ValueError, KeyError, OSError, EOFError) as error:
        raise ServiceNotConfigured(f"APERTURE_CROWD_FOLDER: the films of {folder} cannot be read: {error}") from None
    return pd.Series(found, dtype="int64")


def _work(
    tmdb: float | None, imdb: str | None, by_tmdb_id: Mapping[int, int], by_imdb_id: Mapping[str, int]
) -> int | None:
    # A missing value is NaN or NA, which does not equal itself.
    work = by_tmdb_id.get(int(tmdb)) if isinstance(tmdb, (int, float)) and tmdb == tmdb else None
    if work is None and isinstance(imdb, str):
        # links.csv has only the digits, as text with leading zeros.
        work = by_imdb_id.get(f"tt{imdb.removeprefix('tt').zfill(7)}")
    return work


def _file(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.exists():
            return path
    raise ServiceNotConfigured(f"APERTURE_CROWD_FOLDER: {folder} has no {name} (nor {name}.gz).")
