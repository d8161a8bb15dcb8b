"""Histories and films in MovieLens format, in a folder or in a zip archive as published.

``ratings.csv`` (userId, movieId, rating 0.5-5, timestamp in seconds) and, to know the films by, ``links.csv`` (movieId,
imdbId, tmdbId) as in the published data sets, or ``movies.jsonl``, one film per line as JSON with at least movieId and
title; each may be gzipped in a folder. There may be any number of people: the ratings are read in parts, and nothing of
an archive is unpacked.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

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
_BROKEN = (
    ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError, EOFError, RuntimeError,
    NotImplementedError, zlib.error, zipfile.BadZipFile,
)  # fmt: skip
LARGEST_PART = 4_000_000_000
"""Bytes that a file of an archive may take when unpacked; the ratings of ml-32m take 877 million."""


class CrowdError(ServiceError):
    """A folder or table of other people's histories cannot be used; the message names the file."""


@dataclass(frozen=True, eq=False)
class Ratings:
    """Ratings of some people, sorted by person and film, each film once; all arrays have shape (ratings,)."""

    users: NDArray[np.int64]
    """The userId of each person, ascending, shape (people,)."""
    person: NDArray[np.int32]
    """Places in ``users``, ascending."""
    film: NDArray[np.int32]
    """The movieId."""
    stars: NDArray[np.float32]
    """0.5 to 5."""
    seconds: NDArray[np.float64] | None
    """When, in seconds since 1970; None if the file does not say, or was not asked."""
    people: int
    """Number of people in the folder."""

    @property
    def histories(self) -> pd.DataFrame:
        """Return all ratings as histories; see :meth:`histories_of`."""
        return self.histories_of(0, len(self.users))

    def histories_of(self, first: int, end: int) -> pd.DataFrame:
        """Return the ratings of the people at some places in ``users``, each rating as one complete play.

        The columns are ``user_id``, ``work_id`` (the movieId), ``plays``, ``completion``, ``rating`` (0-10) and, where
        the file has timestamps, ``last_played_at``.
        """
        low, high = np.searchsorted(self.person, [first, end])
        rows = slice(int(low), int(high))
        histories = pd.DataFrame(
            {
                "user_id": self.users[self.person[rows]],
                "work_id": self.film[rows].astype(np.int64),
                "plays": 1.0,
                "completion": 1.0,
                "rating": self.stars[rows].astype(np.float64) * TO_OWN_SCALE,
            }
        )
        if self.seconds is not None:
            moments: Any = pd.to_datetime(self.seconds[rows], unit="s", utc=True)
            histories["last_played_at"] = moments.array
        return histories


def read_ratings(
    source: Path,
    films: NDArray[Any],
    *,
    most_people: int | None = None,
    most_ratings: int | None = None,
    with_dates: bool = True,
) -> Ratings:
    """Read the ratings of some films, given their movieIds, by everybody or those who were active last.

    Whoever rated long ago does not know the films of today. Without timestamps, who is chosen depends neither on how
    much they rated, nor on the order of the file. ``most_ratings`` bounds the memory: nobody more is chosen once those
    who were have rated so often.

    Raises:
        CrowdError: the file is missing or malformed, or has no rating of these films.
    """
    try:
        everybody = _people(source)
        chosen = everybody[:most_people]
        if most_ratings is not None:
            chosen = chosen.loc[chosen["ratings"].cumsum() <= most_ratings]
        # Larger ids do not occur, and would take twice the memory.
        films = films[films < 2**31]
        users = np.sort(chosen.index.to_numpy(dtype=np.int64))
        wanted = [one for one in _COLUMNS if with_dates or one != "timestamp"]
        parts: dict[str, list[NDArray[Any]]] = {one: [] for one in wanted}
        for part in _read_csv(source, wanted):
            part = part.loc[np.isin(part["userId"], users)]
            # Published ratings are from 0.5 to 5; others would count for more than everybody else's.
            if not part["rating"].between(0.5, 5).all():
                raise ValueError("ratings must be from 0.5 to 5")
            part = part.loc[np.isin(part["movieId"], films)]
            parts["userId"].append(np.searchsorted(users, part["userId"]).astype(np.int32))
            parts["movieId"].append(part["movieId"].to_numpy(dtype=np.int32))
            for one in set(wanted) - {"userId", "movieId"} & set(part.columns):
                parts[one].append(part[one].to_numpy())
    except _BROKEN as error:
        raise CrowdError(f"{_place(source, 'ratings.csv')} cannot be read: {error}") from None
    columns = {one: np.concatenate(parts.pop(one)) for one in wanted if parts[one]}
    if not columns or not len(columns["userId"]):
        raise CrowdError(f"{_place(source, 'ratings.csv')} has no rating of a film that is known.")
    # A stable sort, so that of two ratings of a film the first of the file remains.
    order = np.lexsort((columns["movieId"], columns["userId"]))
    columns = {one: values[order] for one, values in columns.items()}
    again = np.zeros(len(order), dtype=bool)
    again[1:] = (np.diff(columns["userId"]) == 0) & (np.diff(columns["movieId"]) == 0)
    if again.any():
        columns = {one: values[~again] for one, values in columns.items()}
    return Ratings(
        users, columns["userId"], columns["movieId"], columns["rating"], columns.get("timestamp"), len(everybody)
    )


def _people(source: Path) -> pd.DataFrame:
    """Return the number of ``ratings`` of everybody by userId, who was active last first."""
    counted: list[Any] = []
    for part in _read_csv(source, ["userId", "timestamp"]):
        by_user: Any = part.reindex(columns=["userId", "timestamp"]).groupby("userId")["timestamp"]
        counted.append(pd.DataFrame({"last": by_user.max(), "ratings": by_user.size()}))
    empty = pd.DataFrame({"last": pd.Series(dtype="float64"), "ratings": pd.Series(dtype="int64")})
    everybody: Any = pd.concat([empty, *counted]).groupby(level=0).agg({"last": "max", "ratings": "sum"})
    # Of equals by their places among all numbers; the seed makes it the same people each time.
    shuffled = np.random.default_rng(0).permutation(len(everybody))
    last = np.nan_to_num(everybody["last"].to_numpy(dtype=np.float64))
    return everybody.iloc[shuffled[np.argsort(-last[shuffled], kind="stable")]]


def _read_csv(source: Path, columns: list[str]) -> Iterator[Any]:
    """Yield those of some columns of the ratings that the file has, some rows at a time."""
    with _open(source, "ratings.csv") as file:
        yield from pd.read_csv(file, usecols=lambda name: name in columns, dtype=_COLUMNS, chunksize=CHUNK)


def read_films(folder: Path) -> pd.DataFrame:
    """Return the item table of the ranking, one row per film of ``movies.jsonl`` (``work_id``: its movieId).

    Raises:
        CrowdError: the file is missing or malformed.
    """
    films = _read_lines(folder)
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
    try:
        if _has(folder, "links.csv"):
            with _open(folder, "links.csv") as file:
                films = pd.read_csv(file, dtype={"imdbId": "string"})
        else:
            films = _read_lines(folder)
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


def _read_lines(source: Path) -> pd.DataFrame:
    """Return the films of ``movies.jsonl``; CrowdError if it is missing, malformed or empty."""
    try:
        with _open(source, "movies.jsonl") as file:
            given = [json.loads(line) for line in file if line.strip()]
        if not all(isinstance(one, dict) for one in given):
            raise ValueError("each line must be an object")
        films = pd.DataFrame(given)
        return films.assign(movieId=films["movieId"].astype("int64"))
    except _BROKEN as error:
        raise CrowdError(f"{_place(source, 'movies.jsonl')} cannot be read: {error}") from None


@contextlib.contextmanager
def _open(source: Path, name: str) -> Iterator[IO[bytes]]:
    """Open a file of a folder, gzipped or not, or of an archive.

    Raises:
        CrowdError: there is no such file, or it is too large.
        zipfile.BadZipFile: the archive is damaged.
    """
    if source.is_dir():
        path = _place(source, name)
        if not path.is_file():
            raise CrowdError(
                f"{source} has no {name} (nor {name}.gz). It must be in MovieLens format: ratings.csv, and links.csv "
                "or movies.jsonl."
            )
        opened: Any = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rb") as file:
            yield file
        return
    if not source.exists():
        raise CrowdError(f"{source} does not exist.")
    with zipfile.ZipFile(source) as archive:
        member = _member(archive, name)
        if member is None:
            raise CrowdError(f"{source} has no {name}. It must be an archive as GroupLens publishes them.")
        # What it announces is also all that is unpacked of it.
        if member.file_size > LARGEST_PART:
            raise CrowdError(f"{source} has a {name} of {member.file_size / 1e9:.1f} GB, which is not read.")
        with archive.open(member) as file:
            yield file


def _has(source: Path, name: str) -> bool:
    if source.is_dir() or not source.exists():
        return _place(source, name).is_file()
    with zipfile.ZipFile(source) as archive:
        return _member(archive, name) is not None


def _member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo | None:
    """Return the entry of a file, which may be in a folder of the archive: where it says to be is never written to."""
    return next((one for one in archive.infolist() if one.filename.rpartition("/")[2] == name), None)


def _place(source: Path, name: str) -> Path:
    """Return where a file of a folder is, or the archive."""
    if not source.is_dir():
        return source
    packed = source / f"{name}.gz"
    return packed if packed.is_file() and not (source / name).is_file() else source / name
