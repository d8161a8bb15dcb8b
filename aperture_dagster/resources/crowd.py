"""What other people watched, from a folder in MovieLens format that the operator provides.

``ratings.csv`` (userId, movieId, rating 0.5-5) and, to know the films by, ``links.csv`` (movieId, imdbId, tmdbId) as in
the published data sets, or ``movies.jsonl``; each may be gzipped. A folder may hold any number of people: it is read in
parts, and a sample of the people is kept.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.resources.errors import ServiceError

CHUNK = 500_000
"""Rows read at a time."""
PROBES, PROBE = 64, 4_096
"""Number and size (bytes) of the pieces of a file that its fingerprint looks at."""
# MovieLens rates from half a star to five; the product from 0 to 10.
TO_OWN_SCALE = 2.0
_COLUMNS: Any = {"userId": "int64", "movieId": "int64", "rating": "float32"}
_FILMS = ("links.csv", "movies.jsonl")

Whole = NDArray[np.int64]


class CrowdError(ServiceError):
    """A folder or table of other people's histories cannot be used; the message names the file."""


@dataclass(frozen=True, eq=False)
class CrowdSample:
    """The ratings of a sample of people, and the films by their ids elsewhere."""

    ratings: pd.DataFrame
    """``user_id``, ``work_id`` (the movieId), ``plays`` and ``rating`` (0-10)."""
    films: pd.DataFrame
    """``tmdb_id`` and ``imdb_id`` (digits) of each film, 0 where unknown; the index is the movieId."""
    people: int
    """Number of people in the folder."""


def read_sample(folder: Path, limit: int) -> CrowdSample:
    """Read the ratings of at most ``limit`` people: those whose numbers have the smallest hashes.

    Who is chosen depends neither on how much they rated, nor on the order of the file.

    Raises:
        CrowdError: a file is missing or malformed, or has no rating of a known film.
    """
    films = _read_films(folder)
    path = _file(folder, "ratings.csv")
    kept: list[pd.DataFrame] = []
    size, highest = 0, np.uint64(2**64 - 1)
    everybody: Whole = np.zeros(0, dtype=np.int64)
    try:
        for chunk in pd.read_csv(path, usecols=list(_COLUMNS), dtype=_COLUMNS, chunksize=CHUNK):
            users = chunk["userId"].to_numpy()
            everybody = np.union1d(everybody, users)
            kept.append(_only(chunk, users, highest))
            size += len(kept[-1])
            # Now and then, so that memory stays within some parts.
            if size > 4 * CHUNK:
                kept, highest = _smallest(kept, limit)
                size = len(kept[0])
        ratings = pd.concat(_smallest(kept, limit)[0] if kept else [])
        ratings = ratings.loc[np.isin(ratings["movieId"], films.index)]
    except (ValueError, KeyError, OSError, EOFError, zlib.error) as error:
        raise CrowdError(f"{path} cannot be read: {error}") from None
    if not len(ratings):
        raise CrowdError(f"{path} has no rating of a film with an id of TMDb or IMDb.")
    # Published ratings are from 0.5 to 5; others would count for more than everybody else's.
    if not ratings["rating"].between(0.5, 5).all():
        raise CrowdError(f"{path} cannot be read: ratings must be from 0.5 to 5.")
    histories = pd.DataFrame(
        {
            "user_id": ratings["userId"].to_numpy(dtype=np.int64),
            "work_id": ratings["movieId"].to_numpy(dtype=np.int64),
            "plays": 1.0,
            "rating": ratings["rating"].to_numpy(dtype=np.float64) * TO_OWN_SCALE,
        }
    )
    return CrowdSample(histories, films, len(everybody))


def fingerprint(folder: Path) -> str:
    """Return a hash of the folder's files: names, sizes, times of change, and pieces of their content.

    The pieces are spread over each file, so that a file whose content was replaced is noticed even with the same size
    and time.

    Raises:
        CrowdError: a file is missing or unreadable.
    """
    digest = hashlib.sha256()
    for path in (_films_file(folder), _file(folder, "ratings.csv")):
        try:
            status = path.stat()
            digest.update(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
            with path.open("rb") as file:
                for number in range(PROBES):
                    file.seek(max(status.st_size - PROBE, 0) * number // (PROBES - 1))
                    digest.update(file.read(PROBE))
        except OSError as error:
            raise CrowdError(f"{path} cannot be read: {error.strerror}") from None
    return digest.hexdigest()[:32]


def _hashes(users: Whole) -> NDArray[np.uint64]:
    """Return a hash of each number (the finaliser of SplitMix64): equal numbers next to each other lie far apart."""
    mixed = users.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _only(rows: pd.DataFrame, users: Whole, highest: np.uint64) -> pd.DataFrame:
    """Return the rows of users whose hash is at most ``highest``."""
    return rows.loc[_hashes(users) <= highest]


def _smallest(parts: list[pd.DataFrame], limit: int) -> tuple[list[pd.DataFrame], np.uint64]:
    """Return the rows of the ``limit`` users with the smallest hashes, and the largest hash among them."""
    rows = pd.concat(parts, ignore_index=True)
    users = rows["userId"].to_numpy(dtype=np.int64)
    hashes = np.sort(_hashes(np.unique(users)))
    if len(hashes) <= limit:
        return [rows], np.uint64(2**64 - 1)
    highest = hashes[limit - 1]
    return [_only(rows, users, highest)], highest


def _read_films(folder: Path) -> pd.DataFrame:
    """Return the ids of all films that have one."""
    # Any: pandas' own types do not follow a column through these conversions.
    films: Any
    try:
        path = _films_file(folder)
        if path.name.startswith(_FILMS[0]):
            films = pd.read_csv(path, dtype={"imdbId": "string"})
        else:
            films = pd.read_json(path, lines=True, dtype={"imdbId": "string"})
        movie = np.asarray(films["movieId"], dtype=np.int64)
        tmdb: Any = pd.to_numeric(films["tmdbId"])
        # links.csv has only the digits, as text with leading zeros.
        imdb: Any = pd.to_numeric(films["imdbId"].str.removeprefix("tt"))
        ids = {
            name: values.to_numpy(dtype="float64", na_value=0.0).astype(np.int64)
            for name, values in (("tmdb_id", tmdb), ("imdb_id", imdb))
        }
    except (ValueError, KeyError, AttributeError, OverflowError, OSError, EOFError, zlib.error) as error:
        raise CrowdError(f"The films of {folder} cannot be read: {error}") from None
    found = pd.DataFrame({name: np.where(values < 2**31, values, 0) for name, values in ids.items()}, index=movie)
    return found.loc[(found > 0).any(axis=1) & ~found.index.duplicated()]


def _films_file(folder: Path) -> Path:
    path = next((path for name in _FILMS if (path := _find(folder, name))), None)
    if path is None:
        missing = f"has neither {' nor '.join(_FILMS)}" if folder.is_dir() else "does not exist"
        raise CrowdError(f"{folder} {missing}, by which the films could be known.")
    return path


def _find(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _file(folder: Path, name: str) -> Path:
    path = _find(folder, name)
    if path is None:
        missing = f"has no {name} (nor {name}.gz)" if folder.is_dir() else "does not exist"
        raise CrowdError(f"{folder} {missing}.")
    return path
