"""The table of a crowd: which films go together for other people, made from a folder of histories.

It holds no person and no rating, and names the films by their ids elsewhere, so it fits every library. Its file is an
.npz archive of plain arrays with a header, checked whenever it is read.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.files.private import write_file
from aperture_dagster.taste.movielens import CrowdError, Ratings, read_ids, read_ratings
from aperture_dagster.taste.ranking.crowd import Crowd, Neighbours, fit_neighbours, likings_of
from aperture_dagster.taste.ranking.histories import Rows

PEOPLE = 50_000
"""People of a folder that the table is fitted to at most, those who were active last."""
RATINGS = 10_000_000
"""Ratings of these people at most, which bounds the memory."""
_AT_ONCE = 2_000
"""People whose likings are computed at a time."""
VERSION = "aperture-crowd 1"
LARGEST = 256_000_000
"""Bytes that the content of a file may take; ours take some 3 MB."""
ARRAYS = {
    "tmdb_ids": np.int32, "imdb_ids": np.int32, "counts": np.uint16, "neighbours": np.uint16, "strengths": np.float16,
}  # fmt: skip
"""The arrays of a file, one value per film (the first three) or per neighbour, films and neighbours in order."""
# What zipfile, numpy and json raise for files that are damaged, foreign or of another format.
_BROKEN = (
    zipfile.BadZipFile, zlib.error, ValueError, KeyError, TypeError, EOFError, NotImplementedError, RuntimeError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CrowdHeader:
    """Where a table comes from."""

    source: str
    """Name of the folder."""
    people: int
    """Number of people that the table was made from."""
    people_read: int
    """Number of people in the folder."""
    licence: str = ""
    """What the operator noted about the terms of the data."""
    version: str = VERSION


@dataclass(frozen=True, eq=False)
class CrowdTable:
    """The content of a file."""

    header: CrowdHeader
    arrays: dict[str, NDArray[Any]]

    def works(self, items: pd.DataFrame) -> Rows:
        """Return the work id of each film, by its id at TMDb or else at IMDb; -1 for one that is not in ``items``."""
        films = items.loc[items["media_type"] == "movie"]
        ids = zip(films["tmdb_id"], films["imdb_id"], films["work_id"], strict=True)
        by_tmdb: dict[int, int] = {}
        by_imdb: dict[int, int] = {}
        for tmdb_id, imdb_id, work in ids:
            if tmdb_id == tmdb_id and tmdb_id:
                by_tmdb[int(tmdb_id)] = work
            digits = imdb_id.removeprefix("tt") if isinstance(imdb_id, str) else ""
            if digits.isascii() and digits.isdigit():
                by_imdb[int(digits)] = work
        pairs = zip(self.arrays["tmdb_ids"].tolist(), self.arrays["imdb_ids"].tolist(), strict=True)
        found = (by_tmdb.get(tmdb) or (by_imdb.get(imdb) if imdb else None) or -1 for tmdb, imdb in pairs)
        return np.fromiter(found, dtype=np.int64)

    def on(self, items: pd.DataFrame) -> Crowd:
        """Return the pairs whose films are in ``items``."""
        works = self.works(items)
        counts, neighbours, strengths = (self.arrays[name] for name in ("counts", "neighbours", "strengths"))
        table = Neighbours(
            titles=np.arange(len(works)),
            counts=counts.astype(np.int64),
            neighbours=neighbours.astype(np.int64),
            strengths=strengths.astype(np.float32),
            people=self.header.people,
        )
        return table.on(works)


def build_table(source: Path, *, name: str = "", licence: str = "") -> CrowdTable:
    """Fit a table to a folder or an archive of any size, named ``name`` (default: as the folder is).

    Raises:
        CrowdError: the source cannot be used, or its people have nothing in common.
    """
    ids = read_ids(source)
    sample = read_ratings(source, ids.index.to_numpy(), most_people=PEOPLE, most_ratings=RATINGS, with_dates=False)
    people = sample.people
    likings = _likings(sample)
    del sample
    table = fit_neighbours(*likings)
    if not len(table.neighbours):
        raise CrowdError(f"{source} has nothing that two people liked: no table can be made from it.")
    films = ids.loc[table.titles]
    arrays = {
        "tmdb_ids": films["tmdb_id"].to_numpy(),
        "imdb_ids": films["imdb_id"].to_numpy(),
        "counts": table.counts,
        "neighbours": table.neighbours,
        "strengths": table.strengths,
    }
    header = CrowdHeader(name or source.resolve().name, table.people, people, licence)
    return CrowdTable(header, {name: np.asarray(arrays[name], dtype=kind) for name, kind in ARRAYS.items()})


def _likings(sample: Ratings) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """Return who of the sample liked which film, and how much: persons, movieIds and values of about 1."""
    # Ratings are compared with each other, not with today.
    as_of = datetime.now(UTC)
    found: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]] = []
    for first in range(0, len(sample.users), _AT_ONCE):
        liked = likings_of(sample.histories_of(first, first + _AT_ONCE), as_of=as_of)
        person = np.searchsorted(sample.users, liked["user_id"].to_numpy(dtype=np.int64)).astype(np.int32)
        liking = liked["liking"].to_numpy(dtype=np.float32)
        found.append((person, liked["work_id"].to_numpy(dtype=np.int32), liking))
    persons, films, values = zip(*found, strict=True)
    return np.concatenate(persons), np.concatenate(films), np.concatenate(values)


def write_table(path: Path, table: CrowdTable) -> None:
    """Write a table, readable by its owner alone. Raises FileError if it cannot be written."""
    header = np.frombuffer(json.dumps(asdict(table.header)).encode(), dtype=np.uint8)
    parts: dict[str, Any] = {"header": header, **table.arrays}
    content = io.BytesIO()
    np.savez_compressed(content, **parts)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_file(path, content.getvalue())


def read_table(path: Path) -> CrowdTable:
    """Read and check a table.

    Raises:
        CrowdError: it is missing, truncated, not such a file, of another version, or its parts do not fit together.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(part.file_size for part in archive.infolist()) > LARGEST:
                raise ValueError(f"its content is larger than {LARGEST / 1e6:.0f} MB")
        with np.load(path, allow_pickle=False) as stored:
            header = CrowdHeader(**json.loads(bytes(stored["header"]).decode()))
            arrays = {name: np.asarray(stored[name]) for name in ARRAYS}
        if header.version != VERSION:
            raise ValueError(f"it is of version {header.version}, not {VERSION}")
        _check(arrays)
    except FileNotFoundError:
        raise CrowdError(f"{path} does not exist.") from None
    except OSError as error:
        raise CrowdError(f"{path} cannot be read: {error.strerror or error}") from None
    except _BROKEN as error:
        raise CrowdError(
            f"{path} is no usable table of a crowd ({error}): build it again with: aperture crowd build FOLDER"
        ) from None
    return CrowdTable(header, arrays)


def _check(arrays: dict[str, NDArray[Any]]) -> None:
    """Raise ValueError if the arrays do not fit together."""
    for name, kind in ARRAYS.items():
        if arrays[name].dtype != kind or arrays[name].ndim != 1:
            raise ValueError(f"{name} has type {arrays[name].dtype}")
    titles, pairs = len(arrays["tmdb_ids"]), int(arrays["counts"].sum(dtype=np.int64))
    sizes = {"imdb_ids": titles, "counts": titles, "neighbours": pairs, "strengths": pairs}
    if any(len(arrays[name]) != size for name, size in sizes.items()):
        raise ValueError("its parts differ in length")
    if pairs and int(arrays["neighbours"].max()) >= titles:
        raise ValueError("a neighbour is not among its films")
    if not np.isfinite(arrays["strengths"]).all():
        raise ValueError("a strength is not a number")
