"""The crowd of a home: a folder of other people's histories, or a table that was made from one.

A folder is read once. The table that is fitted to it is kept in the home under a fingerprint of the folder and of how
the table is made; later runs read that.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from aperture_dagster.ranking.crowd import MAX_TITLES, NEIGHBOURS, Crowd, Neighbours, neighbours_of
from aperture_dagster.ranking.histories import Rows
from aperture_dagster.resources.crowd import CrowdError, fingerprint, read_sample
from aperture_dagster.resources.crowd_file import VERSION, CrowdFile, CrowdHeader, pack, read_file
from aperture_dagster.settings import Settings
from aperture_dagster.storage.files import write_file

PEOPLE = 3_000
"""People of a folder that the table is fitted to."""
RECIPE = f"{VERSION}-1-{PEOPLE}-{MAX_TITLES}-{NEIGHBOURS}"
"""How a table is made. Raise the second number whenever the same folder would give another table."""
FOLDER = "crowd"
IN_USE = "table.npz"
CACHE = "folder-{}.npz"


def table_in_use(settings: Settings) -> Path:
    """Return where the home keeps the table that ``aperture crowd use`` copies."""
    return settings.shared_path / FOLDER / IN_USE


def configured_crowd(settings: Settings) -> Path | None:
    """Return the folder or table of the setting, or else the table in the home; None if there is neither."""
    if settings.crowd_folder is not None:
        return settings.crowd_folder.expanduser()
    copied = table_in_use(settings)
    return copied if copied.exists() else None


def crowd_version(settings: Settings) -> str:
    """Return a hash of the folder or table that the crowd is read from: lists depend on it.

    Empty if there is none; of what cannot be used, the reason.
    """
    place = configured_crowd(settings)
    if place is None:
        return ""
    try:
        return _fingerprint(place) if place.is_dir() else hashlib.sha256(place.read_bytes()).hexdigest()
    except (CrowdError, OSError) as error:
        return str(error)


def load_crowd(settings: Settings, *, fit: bool = True) -> CrowdFile | None:
    """Return the table of the home, which is made now if it has only a folder, or None if there is no crowd.

    ``fit``: whether to make it; otherwise a folder that was not read yet is no crowd.

    Raises:
        CrowdError: the folder or the table cannot be used.
        FileError: the home cannot be written.
    """
    place = configured_crowd(settings)
    if place is None or not place.is_dir():
        return None if place is None else read_file(place)
    cached = settings.shared_path / FOLDER / CACHE.format(_fingerprint(place))
    if cached.exists():
        try:
            return read_file(cached)
        except CrowdError:
            # This file is only a cache: it is made again from the folder.
            pass
    # Why it could not be read the last time, for whoever only looks.
    reason = cached.with_suffix(".txt")
    if not fit:
        if reason.exists():
            raise CrowdError(reason.read_text(encoding="utf-8"))
        return None
    try:
        made = build_crowd(place)
    except CrowdError as error:
        _keep(reason, str(error).encode())
        raise
    keep_table(cached, made)
    for older in cached.parent.glob(CACHE.format("*").replace(".npz", ".*")):
        if older != cached:
            older.unlink(missing_ok=True)
    return made


def keep_table(path: Path, crowd: CrowdFile) -> None:
    """Write a table, readable by its owner alone. Raises FileError if it cannot be written."""
    _keep(path, pack(crowd))


def build_crowd(folder: Path, *, licence: str = "") -> CrowdFile:
    """Fit a table to a folder of any size.

    Raises:
        CrowdError: the folder cannot be used, or its people have nothing in common.
    """
    found_in = _fingerprint(folder)
    sample = read_sample(folder, PEOPLE)
    # Ratings are compared with each other, not with today.
    table = neighbours_of(sample.ratings, as_of=datetime.now(UTC))
    if not len(table.neighbours):
        raise CrowdError(f"{folder} has nothing that two people liked: no table can be made from it.")
    films = sample.films.loc[table.titles]
    header = CrowdHeader(folder.resolve().name, found_in, table.people, sample.people, licence)
    arrays = {
        "tmdb_ids": films["tmdb_id"].to_numpy(),
        "imdb_ids": films["imdb_id"].to_numpy(),
        "counts": table.counts,
        "neighbours": table.neighbours,
        "strengths": table.strengths,
    }
    return CrowdFile(header, arrays)


def crowd_on(crowd: CrowdFile, items: pd.DataFrame) -> Crowd:
    """Return the pairs of a table whose films are in ``items``, by their tmdb_id or else their imdb_id."""
    works = works_of(crowd, items)
    counts, neighbours, strengths = (crowd.arrays[name] for name in ("counts", "neighbours", "strengths"))
    table = Neighbours(
        titles=np.arange(len(works)),
        counts=counts.astype(np.int64),
        neighbours=neighbours.astype(np.int64),
        strengths=strengths.astype(np.float32),
        people=crowd.header.people,
    )
    return table.on(works)


def works_of(crowd: CrowdFile, items: pd.DataFrame) -> Rows:
    """Return the work id of each film of a table, shape (m,); -1 for one that is not in ``items``."""
    films = items.loc[items["media_type"] == "movie"]
    by_tmdb = {
        int(one): work for one, work in zip(films["tmdb_id"], films["work_id"], strict=True) if one == one and one
    }
    by_imdb = {_digits(one): work for one, work in zip(films["imdb_id"], films["work_id"], strict=True)}
    found = (
        by_tmdb.get(tmdb) or (by_imdb.get(imdb) if imdb else None) or -1
        for tmdb, imdb in zip(crowd.arrays["tmdb_ids"].tolist(), crowd.arrays["imdb_ids"].tolist(), strict=True)
    )
    return np.fromiter(found, dtype=np.int64)


def _digits(imdb_id: object) -> int | None:
    text = imdb_id.removeprefix("tt") if isinstance(imdb_id, str) else ""
    return int(text) if text.isascii() and text.isdigit() else None


def _keep(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_file(path, content)


def _fingerprint(folder: Path) -> str:
    return f"{fingerprint(folder)}-{RECIPE}"
