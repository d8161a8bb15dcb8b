"""Files of runs below ``APERTURE_HOME/dagster``, and the log of the embedded server: what is old is deleted."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from aperture_dagster.maintenance import Freed

# What steps print, and values that steps pass on.
FOLDERS_OF_RUNS = ("logs", "storage")
LONGEST_SERVER_LOG, KEPT_OF_SERVER_LOG = 10_000_000, 1_000_000
_RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def purge_run_files(folder: Path, kept: Collection[str], *, before: datetime) -> Freed:
    """Delete files of runs, except for those that are ``kept``, in which nothing was written since ``before``.

    Only what is named like the id of a run is looked at.
    """
    files = size = 0
    for name in FOLDERS_OF_RUNS:
        for path in _of_runs(folder / name, kept):
            statuses = list(_files(path)) if path.is_dir() and not path.is_symlink() else []
            newest = max((status.st_mtime for status in [_status(path), *statuses] if status), default=None)
            if newest is not None and newest < before.timestamp():
                shutil.rmtree(path, ignore_errors=True)
                if not path.exists():
                    files, size = files + len(statuses), size + sum(status.st_size for status in statuses)
    return Freed("run_files", files, size)


def shorten_server_log(data_directory: Path) -> Freed:
    """Keep only the end of the embedded server's log once it is long; the server appends to it for ever."""
    path = data_directory / "log"
    status = _status(path)
    if status is None or status.st_size <= LONGEST_SERVER_LOG:
        return Freed("server_log", 0, 0)
    # In place: the server keeps the file open, and appends at whatever is its end.
    with path.open("r+b") as file:
        file.seek(-KEPT_OF_SERVER_LOG, os.SEEK_END)
        kept = file.read().partition(b"\n")[2]
        file.seek(0)
        file.write(kept)
        file.truncate()
    return Freed("server_log", 1, status.st_size - len(kept))


def bytes_below(folder: Path) -> int:
    """Return the bytes of all files below a folder; files that vanish meanwhile do not count."""
    return sum(status.st_size for status in _files(folder))


def _of_runs(folder: Path, kept: Collection[str]) -> list[Path]:
    with suppress(FileNotFoundError):
        return [path for path in folder.iterdir() if _RUN_ID.fullmatch(path.name) and path.name not in kept]
    return []


def _files(folder: Path) -> Iterator[os.stat_result]:
    # Entries of a listing, not paths: a home with published lists has tens of thousands of files.
    left = [str(folder)]
    while left:
        with suppress(OSError), os.scandir(left.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        left.append(entry.path)
                    else:
                        yield entry.stat(follow_symlinks=False)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:
        return None
