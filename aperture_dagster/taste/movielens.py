"""Histories and films in a folder in MovieLens format.

``ratings.csv`` (userId, movieId, rating 0.5-5, timestamp in seconds) and, to know the films by, ``links.csv`` (movieId,
imdbId, tmdbId) as in the published data sets, or ``movies.jsonl``, one film per line as JSON with at least movieId and
title; each may be gzipped. A folder may hold any number of people: it is read in parts.
"""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.http.errors import ServiceError

CHUNK = 500_000
"""Rows read at a time."""
# MovieLens rates from half a star to five; the product from 0 to 10.
TO_OWN_SCALE = 2.0
_COLUMNS: Any = {"userId": "int64", "movieId": "int64", "rating": "float32", "timestamp": "float64"}
# What pandas raises for files that are damaged or of another format.
_BROKEN = (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError, EOFError, zlib.error)


class CrowdError(ServiceError):
    """A folder or table of other people's histories cannot be used; the message names the file."""


@dataclass(frozen=True, eq=False)
class Ratings:
    """The ratings of people, each as one complete play."""

    histories: pd.DataFrame
    """``user_id``, ``work_id`` (the movieId), ``plays``, ``completion``, ``rating`` (0-10) and, where the file has
    timestamps, ``last_played_at``."""
    people: int
    """Number of people in the folder."""


def read_ratings(folder: Path, films: NDArray[Any], *, most_people: int | None = None) -> Ratings:
    """Read the ratings of some films, given their movieIds, by everybody or those who were active last.

    Whoever rated long ago does not know the films of today. Without timestamps, who is chosen depends neither on how
    much they rated, nor on the order of the file.

    Raises:
        CrowdError: the file is missing or malformed, or has no rating of these films.
    """
    path = _file(folder, "ratings.csv")
    try:
        wanted = ("userId", "timestamp")
        parts = pd.read_csv(path, usecols=lambda name: name in wanted, dtype=_COLUMNS, chunksize=CHUNK)
        last: list[Any] = [part.reindex(columns=wanted).groupby("userId")["timestamp"].max() for part in parts]
        latest: Any = pd.concat([pd.Series(dtype="float64"), *last]).groupby(level=0).max()
        everybody = latest.index.to_numpy(dtype=np.int64)
        # Of equals by their places among all numbers; the seed makes it the same people each time.
        shuffled = np.random.default_rng(0).permutation(len(everybody))
        chosen = everybody[shuffled[np.argsort(-np.nan_to_num(latest.to_numpy())[shuffled], kind="stable")]][
            :most_people
        ]
        columns = pd.read_csv(path, usecols=lambda name: name in _COLUMNS, dtype=_COLUMNS, chunksize=CHUNK)
        ratings = pd.concat([part.loc[np.isin(part["userId"], chosen)] for part in columns])
        # Published ratings are from 0.5 to 5; others would count for more than everybody else's.
        if not ratings["rating"].between(0.5, 5).all():
            raise ValueError("ratings must be from 0.5 to 5")
        ratings = ratings.loc[np.isin(ratings["movieId"], films)].drop_duplicates(["userId", "movieId"])
        if "timestamp" in ratings:
            ratings["timestamp"] = pd.to_datetime(ratings["timestamp"], unit="s", utc=True)
    except _BROKEN as error:
        raise CrowdError(f"{path} cannot be read: {error}") from None
    if not len(ratings):
        raise CrowdError(f"{path} has no rating of a film that is known.")
    histories = pd.DataFrame(
        {
            "user_id": ratings["userId"].to_numpy(dtype=np.int64),
            "work_id": ratings["movieId"].to_numpy(dtype=np.int64),
            "plays": 1.0,
            "completion": 1.0,
            "rating": ratings["rating"].to_numpy(dtype=np.float64) * TO_OWN_SCALE,
        }
    )
    if "timestamp" in ratings:
        histories["last_played_at"] = ratings["timestamp"].array
    return Ratings(histories, len(everybody))


def read_films(folder: Path) -> pd.DataFrame:
    """Return the item table of the ranking, one row per film of ``movies.jsonl`` (``work_id``: its movieId).

    Raises:
        CrowdError: the file is missing or malformed.
    """
    films = _read_lines(_file(folder, "movies.jsonl"))
    films = films.rename(columns={"movieId": "work_id"}).drop_duplicates("work_id").reset_index(drop=True)
    if "director" in films:
        films["directors"] = [[one] if isinstance(one, str) and one else [] for one in films["director"]]
    columns = dict.fromkeys([*films.columns, "year", "vote_count", "vote_average"])
    return films.reindex(columns=list(columns)).assign(media_type="movie")


def read_ids(folder: Path) -> pd.DataFrame:
    """Return the ids of all films that have one: ``tmdb_id`` and ``imdb_id`` (digits), 0 where unknown, by movieId.

    Raises:
        CrowdError: there is no file of the films, or it is malformed.
    """
    # Any: pandas' own types do not follow a column through these conversions.
    films: Any
    path = _find(folder, "links.csv") or _file(folder, "movies.jsonl")
    try:
        films = pd.read_csv(path, dtype={"imdbId": "string"}) if path.name.startswith("links") else _read_lines(path)
        # links.csv has only the digits, as text with leading zeros.
        given: dict[str, Any] = {"tmdb_id": films["tmdbId"], "imdb_id": films["imdbId"].str.removeprefix("tt")}
        numbers: dict[str, Any] = {name: pd.to_numeric(values) for name, values in given.items()}
        ids = {
            name: values.to_numpy(dtype="float64", na_value=0.0).astype(np.int64) for name, values in numbers.items()
        }
        found = pd.DataFrame(
            {name: np.where(values < 2**31, values, 0) for name, values in ids.items()},
            index=np.asarray(films["movieId"], dtype=np.int64),
        )
    except _BROKEN as error:
        raise CrowdError(f"The films of {folder} cannot be read: {error}") from None
    return found.loc[(found > 0).any(axis=1) & ~found.index.duplicated()]


def _read_lines(path: Path) -> pd.DataFrame:
    """Return the films of a file with one in each line, as JSON; CrowdError if it is malformed or empty."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
            given = [json.loads(line) for line in lines if line.strip()]
        if not all(isinstance(one, dict) for one in given):
            raise ValueError("each line must be an object")
        films = pd.DataFrame(given)
        return films.assign(movieId=films["movieId"].astype("int64"))
    except _BROKEN as error:
        raise CrowdError(f"{path} cannot be read: {error}") from None


def _find(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _file(folder: Path, name: str) -> Path:
    path = _find(folder, name)
    if path is None:
        missing = f"has no {name} (nor {name}.gz)" if folder.is_dir() else "does not exist"
        raise CrowdError(
            f"{folder} {missing}. It must be in MovieLens format: ratings.csv, and links.csv or movies.jsonl."
        )
    return path
