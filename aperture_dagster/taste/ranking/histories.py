"""Clean histories and item tables: complete columns, plain types, one row per user and work.

The data comes from a database or a media server: columns may be missing, numbers absent or absurd, dates in the future.
This module is the only place that repairs it.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import chain, repeat
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Rows = NDArray[np.int64]

NUMBERS: dict[str, tuple[float, str]] = {
    "plays": (np.inf, "sum"),
    "completion": (1.0, "max"),
    "rating": (10.0, "last"),
    "episodes_played": (np.inf, "max"),
    "episodes_total": (np.inf, "max"),
}
"""Of each number of a history its maximum, and how rows of the same user and work, sorted by date, are merged."""
SIGNS = ("favorite", "wants_more")
"""What a user may have said about a title without a number."""
HISTORY_COLUMNS = ("user_id", "work_id", *NUMBERS, *SIGNS, "last_played_at")
STARTED = 0.05
"""Completion from which a title counts as started."""
LEFT = 0.25
"""Share of a film below which it was left early, if it has no rating. (The benchmark's data has no such films.)"""
LEFT_HALF_LIFE_DAYS = 30.0
"""Days of the user's later activity in which having left a film loses half of what it says. From then on, the film may
be recommended again."""


def as_utc(moment: datetime | pd.Timestamp | str) -> pd.Timestamp:
    """Return a moment as a UTC timestamp (a naive one is assumed to be UTC); ValueError if it is none, such as NaT."""
    stamp = pd.Timestamp(moment)
    if not isinstance(stamp, pd.Timestamp):
        raise ValueError(f"not a moment in time: {moment!r}")
    return stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp.tz_convert("UTC")


def tidy_histories(histories: pd.DataFrame, *, as_of: datetime | pd.Timestamp) -> pd.DataFrame:
    """Return a new frame with ``HISTORY_COLUMNS``, of one type and within range, sorted by user and work.

    Rows of the same user and work (two copies of a film) are merged: the sum of plays, the highest completion, a
    sign if either has it, the latest known rating. A ``last_played_at`` after ``as_of``, the current time, comes from
    a wrong clock and becomes ``NaT``.

    Raises:
        ValueError: when a frame with rows has no ``user_id`` or ``work_id``; other columns may be missing.
    """
    missing = {"user_id", "work_id"} - set(histories.columns)
    if missing and len(histories):
        raise ValueError(f"histories lack the column(s) {', '.join(sorted(missing))}")
    frame = pd.DataFrame({"user_id": histories.get("user_id", pd.Series(dtype=object))})
    frame["work_id"] = histories.get("work_id", pd.Series(dtype="int64"))
    for column, (highest, _) in NUMBERS.items():
        frame[column] = _numbers(histories, column).clip(0.0, highest)
    for column in SIGNS:
        sign = histories.get(column)
        frame[column] = False if sign is None else pd.Series(sign, index=frame.index).eq(True).fillna(False)
        frame[column] = frame[column].astype(bool)
    frame["last_played_at"] = utc_column(histories, "last_played_at")
    frame.loc[frame["last_played_at"] > as_utc(as_of), "last_played_at"] = pd.NaT
    frame = frame.dropna(subset=["user_id", "work_id"])
    frame["work_id"] = frame["work_id"].astype("int64")
    frame["plays"] = frame["plays"].fillna(1.0)
    frame = frame.sort_values(["user_id", "work_id", "last_played_at"], kind="stable", na_position="first")
    if frame.duplicated(["user_id", "work_id"]).any():
        merge = {column: how for column, (_, how) in NUMBERS.items()} | dict.fromkeys(SIGNS, "any")
        merge["last_played_at"] = "max"
        frame = frame.groupby(["user_id", "work_id"], as_index=False, sort=True).agg(merge)
    return frame.reindex(columns=list(HISTORY_COLUMNS)).reset_index(drop=True)


def started(tidy: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which rows of a tidy history are titles that the user started, finished or rated, shape (rows,).

    A favourite alone does not count, nor does a title of which the user wants more: it may well be recommended. Nor
    does a film that was left early, once the user has gone on for ``LEFT_HALF_LIFE_DAYS``.
    """
    seen = (tidy["plays"] > 0) | (tidy["completion"] >= STARTED) | (tidy["episodes_played"] > 0)
    forgotten = left_early(tidy) & ~(days_before_last(tidy) < LEFT_HALF_LIFE_DAYS)
    return np.asarray(seen | tidy["rating"].notna(), dtype=bool) & ~forgotten


def left_early(tidy: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which rows of a tidy history are films that were left before a quarter, shape (rows,).

    Servers count a play at its start, so a second one was more than a try. A position of 0 says nothing: servers reset
    it at the end of a film. A series has no completion.
    """
    tried = (tidy["completion"] > 0) & (tidy["completion"] < LEFT) & (tidy["plays"] <= 1)
    return np.asarray(tried & tidy["rating"].isna() & ~tidy["favorite"] & ~tidy["wants_more"], dtype=bool)


def days_before_last(tidy: pd.DataFrame) -> Doubles:
    """Return how many days before the user's own last activity each row's was, NaN where unknown, shape (rows,)."""
    played = tidy["last_played_at"]
    last = played.groupby(tidy["user_id"]).transform("max")
    return ((last - played).dt.total_seconds() / 86_400.0).to_numpy(dtype=np.float64)


def utc_column(frame: pd.DataFrame, column: str) -> pd.Series:
    """Return a column as UTC timestamps (naive ones are assumed to be UTC, unreadable ones become ``NaT``)."""
    if column not in frame.columns:
        return pd.Series(pd.NaT, index=frame.index, dtype="datetime64[us, UTC]")
    return pd.to_datetime(frame[column], utc=True, errors="coerce").astype("datetime64[us, UTC]")


def number_column(frame: pd.DataFrame, column: str) -> Doubles:
    """Return a column as floats, shape (rows,). A missing column, text and infinities become NaN."""
    return _numbers(frame, column).to_numpy(dtype=np.float64, na_value=np.nan)


def list_column(frame: pd.DataFrame, column: str) -> list[list[str]]:
    """Return a column of lists of names; missing values and other types become an empty list."""
    if column not in frame.columns:
        return [[] for _ in range(len(frame))]
    values = frame[column].tolist()
    # The usual case, lists of names: this runs for every title of the library.
    if set(map(type, values)) <= {list} and set(map(type, chain.from_iterable(values))) <= {str}:
        return values if "" not in chain.from_iterable(values) else [[one for one in names if one] for names in values]
    return [_as_list(value) for value in values]


def index_of(work_ids: Iterable[Any]) -> dict[int, int]:
    """Return the row of each work id; ValueError if one occurs twice."""
    works = work_ids.tolist() if isinstance(work_ids, (pd.Series, np.ndarray)) else list(work_ids)
    rows = dict(zip(map(int, works), range(len(works)), strict=True))
    if len(rows) != len(works):
        raise ValueError("the item table has a work_id twice")
    return rows


def rows_where(frame: pd.DataFrame, keep: Any) -> pd.DataFrame:
    """Return the rows where ``keep`` (booleans, shape (rows,)) is true."""
    return cast(pd.DataFrame, frame.loc[np.asarray(keep, dtype=bool)])


def positions(values: Iterable[Any], index: Mapping[Any, int]) -> Rows:
    """Return the position of each value in ``index``, shape (values,); -1 for values that are not in it."""
    if isinstance(values, (pd.Series, np.ndarray)):
        # Each distinct value is looked up once.
        codes, distinct = pd.factorize(values)
        places = np.fromiter(map(index.get, distinct.tolist(), repeat(-1)), np.int64, count=len(distinct))
        return np.append(places, -1)[codes]
    return np.fromiter((index.get(value, -1) for value in values), dtype=np.int64)


def _numbers(frame: pd.DataFrame, column: str) -> pd.Series:
    if column not in frame.columns:
        return pd.Series(np.nan, index=frame.index, dtype="float64")
    numbers = np.asarray(cast(Any, pd.to_numeric(frame[column], errors="coerce")).astype("float64"))
    return pd.Series(np.where(np.isfinite(numbers), numbers, np.nan), index=frame.index)


def _as_list(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value] if value else []
    if isinstance(value, Iterable):
        return [str(entry) for entry in value if isinstance(entry, str) and entry]
    return []


# Searches in sorted arrays, and sparse matrices: the entries of a row are ``first[row]`` to ``first[row + 1]``.


def find(known: NDArray[np.integer], wanted: NDArray[np.integer]) -> Rows:
    """Return the place in ``known`` (ascending, each once) of each wanted number, -1 for those that are not in it."""
    if not len(known):
        return np.full(len(wanted), -1, dtype=np.int64)
    places = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[places] == wanted, places, -1)


def first_of(rows: NDArray[np.integer], n: int) -> Rows:
    """Return where the entries of each of n rows begin, and the end of the last, shape (n + 1,).

    ``rows``, ascending, has the row of each entry.
    """
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(np.bincount(rows, minlength=n))])


def entries_of(first: Rows, rows: Rows) -> tuple[Rows, Rows]:
    """Return the entries of some rows, row by row, and the place in ``rows`` of the row of each."""
    low, counts = first[rows], first[rows + 1] - first[rows]
    owner = np.repeat(np.arange(len(rows)), counts)
    return np.arange(counts.sum()) + np.repeat(low - np.cumsum(counts) + counts, counts), owner
