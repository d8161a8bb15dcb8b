"""Histories and films in a folder in MovieLens format.

``ratings.csv`` (userId, movieId, rating 0.5-5, timestamp in seconds) and ``movies.jsonl``, one film per line as JSON
with at least movieId and title; each may be gzipped. A line that cannot be used is skipped and counted.
"""

from __future__ import annotations

import gzip
import json
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.errors import OperatorError

# MovieLens rates from half a star to five; the product from 0 to 10.
TO_OWN_SCALE = 2.0
RATING_COLUMNS = ("userId", "movieId", "rating", "timestamp")
_NUMBERS = ("tmdbId", "year", "vote_average", "vote_count", "popularity", "runtime")
_LISTS = ("genres", "keywords", "cast", "companies")
_TEXTS = ("imdbId", "overview", "tagline", "language")


class FolderError(OperatorError):
    """A folder lacks a file, or a file cannot be used at all."""


def data_file(folder: Path, name: str) -> Path:
    """Return the path of a file that may be gzipped; FolderError if there is none."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    missing = "does not exist" if not folder.is_dir() else f"has no {name} (nor {name}.gz)"
    raise FolderError(f"{folder} {missing}. It must hold ratings.csv and movies.jsonl in MovieLens format.")


def read_films(folder: Path) -> tuple[pd.DataFrame, int]:
    """Return the item table of the ranking, one row per film (``work_id``: its movieId), and how many were skipped.

    Raises:
        FolderError: the file is missing, unreadable, or has no usable line.
    """
    path = data_file(folder, "movies.jsonl")
    films: dict[int, dict[str, Any]] = {}
    skipped = 0
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                film = _film(line)
                if film is not None and film["work_id"] not in films:
                    films[film["work_id"]] = film
                elif line.strip():
                    skipped += 1
    except (OSError, EOFError) as error:
        raise FolderError(f"{path} cannot be read: {error}") from None
    if not films:
        raise FolderError(f"{path} has no film: each line must be JSON with movieId and title.")
    return pd.DataFrame(list(films.values())).assign(media_type="movie"), skipped


def read_histories(folder: Path, known: Iterable[int] | None = None) -> tuple[pd.DataFrame, int]:
    """Return every rating as one complete play with its rating (0-10) and date, and how many were skipped.

    Ratings of films that are not ``known`` (movieIds; None: all are) are skipped, too, and the second of two ratings of
    the same film by the same user.

    Raises:
        FolderError: the file is missing or unreadable, lacks a column, or has no usable line.
    """
    path = data_file(folder, "ratings.csv")
    try:
        ratings, skipped = _read_rows(path)
    except (ValueError, OSError, EOFError) as error:
        raise FolderError(f"{path} cannot be read: {error}") from None
    missing = [name for name in RATING_COLUMNS if name not in ratings.columns]
    if missing:
        raise FolderError(f"{path} lacks the column(s) {', '.join(missing)}.")
    user, film, rating, second = (_numbers(ratings, name) for name in RATING_COLUMNS)
    usable = (user % 1 == 0) & (film % 1 == 0) & (rating >= 0.5) & (rating <= 5) & (second >= 0) & (second < 2**33)
    if known is not None:
        usable &= np.isin(film, np.asarray(list(known), dtype=np.float64))
    histories = pd.DataFrame(
        {
            "user_id": user[usable].astype(np.int64),
            "work_id": film[usable].astype(np.int64),
            "plays": 1,
            "completion": 1.0,
            "favorite": False,
            "rating": rating[usable] * TO_OWN_SCALE,
            "last_played_at": pd.to_datetime(second[usable], unit="s", utc=True),
        }
    )
    once = ~histories.duplicated(["user_id", "work_id"]).to_numpy(dtype=bool)
    if not once.any():
        raise FolderError(f"{path} has no rating of a known film: nothing can be measured.")
    return histories.loc[once].reset_index(drop=True), skipped + len(ratings) - int(once.sum())


def _numbers(table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """Return a column as numbers; what is none becomes NaN."""
    return np.asarray(pd.to_numeric(table[column], errors="coerce"), dtype=np.float64)


def _read_rows(path: Path) -> tuple[pd.DataFrame, int]:
    """Read a table, and count the rows with too many fields, which pandas only warns about."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = pd.read_csv(path, on_bad_lines="warn", low_memory=False, encoding_errors="replace")
    return table, sum(str(one.message).count("Skipping line") for one in caught)


def _film(line: str) -> dict[str, Any] | None:
    """Return one row of the item table; None for a line that has no film."""
    try:
        row = json.loads(line)
        work_id, title = int(row["movieId"]), row["title"]
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(title, str):
        return None
    director = row.get("director")
    numbers = {name: _as(row, name, _number) for name in _NUMBERS}
    lists = {name: _as(row, name, _names) or [] for name in _LISTS}
    texts = {name: _as(row, name, _text) for name in _TEXTS}
    directors = [director] if isinstance(director, str) and director else []
    return {"work_id": work_id, "title": title, **numbers, **lists, **texts, "directors": directors}


def _as(row: Mapping[str, Any], name: str, convert: Callable[[Any], Any]) -> Any:
    return convert(row.get(name))


def _number(value: Any) -> float | None:
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None


def _names(value: Any) -> list[str] | None:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
