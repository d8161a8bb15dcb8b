"""The file of a crowd's table: an .npz archive of plain arrays with a header, checked whenever it is read.

It holds no person and no rating, only which films go together: of each film its ids, and the places and strengths of
its neighbours.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aperture_dagster.resources.crowd import CrowdError

FORMAT = "aperture-crowd"
VERSION = 1
LARGEST = 256_000_000
"""Bytes that the content of a file may take; ours take some 3 MB."""
MAX_TITLES = 65_535
ARRAYS = {
    "tmdb_ids": np.int32, "imdb_ids": np.int32, "counts": np.uint16, "neighbours": np.uint16, "strengths": np.float16,
}  # fmt: skip
"""The arrays of a file, one value per film (the first three) or per neighbour, films and neighbours in order."""

# What zipfile and numpy raise for files that are damaged, foreign or of another format.
_BROKEN = (
    zipfile.BadZipFile, zlib.error, ValueError, KeyError, TypeError, EOFError, NotImplementedError, RuntimeError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CrowdHeader:
    """Where a table comes from."""

    source: str
    """Name of the folder."""
    fingerprint: str
    """Of the folder's files and of how the table was made."""
    people: int
    """Number of people that the table was made from."""
    people_read: int
    """Number of people in the folder."""
    licence: str = ""
    """What the operator noted about the terms of the data."""


@dataclass(frozen=True, eq=False)
class CrowdFile:
    """The content of a file."""

    header: CrowdHeader
    arrays: dict[str, NDArray[Any]]


def pack(crowd: CrowdFile) -> bytes:
    """Return the bytes of a file; equal content gives equal bytes."""
    header = json.dumps({"format": FORMAT, "version": VERSION} | asdict(crowd.header), sort_keys=True)
    arrays = {"header": np.frombuffer(header.encode(), dtype=np.uint8)}
    arrays |= {name: np.asarray(crowd.arrays[name], dtype=kind) for name, kind in ARRAYS.items()}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            part = io.BytesIO()
            np.lib.format.write_array(part, array, allow_pickle=False)
            # A fixed time, since the present would change the bytes.
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), part.getvalue(), zipfile.ZIP_DEFLATED)
    return content.getvalue()


def read_file(path: Path) -> CrowdFile:
    """Read and check a file.

    Raises:
        CrowdError: it is missing, truncated, not such a file, of a later version, or its parts do not fit together.
    """
    found = _read(path)
    try:
        _check(found.arrays)
    except ValueError as error:
        raise _unusable(path, str(error)) from None
    return found


def _read(path: Path) -> CrowdFile:
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(part.file_size for part in archive.infolist()) > LARGEST:
                raise _unusable(path, f"its content is larger than {LARGEST / 1e6:.0f} MB")
        with np.load(path, allow_pickle=False) as arrays:
            header = _header(path, json.loads(bytes(arrays["header"]).decode()))
            return CrowdFile(header, {name: np.asarray(arrays[name]) for name in ARRAYS})
    except FileNotFoundError:
        raise CrowdError(f"{path} does not exist.") from None
    except OSError as error:
        raise CrowdError(f"{path} cannot be read: {error.strerror or error}") from None
    except _BROKEN as error:
        raise _unusable(path, str(error)) from None


def _header(path: Path, given: Any) -> CrowdHeader:
    if not isinstance(given, dict) or given.pop("format", None) != FORMAT:
        raise ValueError("it has another format")
    version = given.pop("version", None)
    if version != VERSION:
        raise CrowdError(f"{path} has version {version} of the format; this program reads {VERSION}: build it again.")
    header = CrowdHeader(**given)
    if not all(isinstance(one, int) and one >= 0 for one in (header.people, header.people_read)):
        raise ValueError("its header does not say how many people it is from")
    return header


def _check(arrays: dict[str, NDArray[Any]]) -> None:
    """Raise ValueError if the arrays do not fit together."""
    for name, kind in ARRAYS.items():
        if arrays[name].dtype != kind or arrays[name].ndim != 1:
            raise ValueError(f"{name} has type {arrays[name].dtype}")
    titles, pairs = len(arrays["tmdb_ids"]), int(arrays["counts"].sum(dtype=np.int64))
    sizes = {"imdb_ids": titles, "counts": titles, "neighbours": pairs, "strengths": pairs}
    wrong = [name for name, size in sizes.items() if len(arrays[name]) != size]
    if wrong:
        raise ValueError(f"the length of {wrong[0]} does not fit")
    if pairs and int(arrays["neighbours"].max()) >= titles:
        raise ValueError("a neighbour is not among its films")
    if not np.isfinite(arrays["strengths"]).all():
        raise ValueError("a strength is not a number")


def _unusable(path: Path, why: str) -> CrowdError:
    return CrowdError(f"{path} is no usable table of a crowd ({why}): build it again with: aperture crowd build FOLDER")
