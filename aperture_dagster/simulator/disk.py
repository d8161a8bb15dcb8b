"""Files as the media server sees them: folders of this machine at other paths, and the files of the world's titles.

The media server may run in a container, so its paths need not be those of this machine. The text of a symbolic link is
a path of the server, too: what it leads to is looked up there, not here.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from aperture_dagster.simulator.catalogue import Item

_LINKS_FOLLOWED = 40


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder. Times in Unix seconds; of a link, those of its target, apart from ``link_created``."""

    path: str
    name: str
    is_folder: bool
    modified: float
    created: float
    is_link: bool = False
    link_created: float = 0.0
    target: str = ""
    """Of a link: the path of what it leads to in the end."""
    original: Item | None = None
    """Of a link to a file of one of the world's titles: the title's item."""


class ServerDisk:
    """The media server's view of the disks.

    Args:
        volumes: folders of this machine by the server's path.
        originals: returns the items of the world whose files can be read now, by path.
        file_time: converts the times that this machine's file system recorded.
    """

    def __init__(
        self,
        volumes: Mapping[str, str | Path],
        originals: Callable[[], Mapping[str, Item]],
        file_time: Callable[[float], float],
    ) -> None:
        self._volumes = {posixpath.normpath(path): str(here) for path, here in volumes.items()}
        self._originals = originals
        self._file_time = file_time

    def add(self, path: str, here: str | Path) -> None:
        """Let the server see another folder of this machine."""
        self._volumes[posixpath.normpath(path)] = str(here)

    def here(self, path: str) -> str | None:
        """Return where a path of the server lies on this machine; None outside all volumes."""
        path = posixpath.normpath(path)
        best = max((volume for volume in self._volumes if _is_within(path, volume)), key=len, default=None)
        return None if best is None else self._volumes[best] + path[len(best.rstrip("/")) :]

    def has_folder(self, path: str) -> bool:
        """Return whether the server sees a folder at this path."""
        here = self.here(path)
        return here is not None and self._resolved_folder(path) is not None

    def _resolved_folder(self, path: str) -> str | None:
        """Return the folder on this machine, following links as the server does."""
        entry = self.entry(path)
        if entry is None or not entry.is_folder:
            return None
        return self.here(entry.target or path)

    def exists(self, path: str) -> bool:
        """Return whether the server sees a file or folder at this path."""
        return path in self._originals() or self.entry(path) is not None

    def entry(self, path: str) -> Entry | None:
        """Return the file or folder at this path; None when there is none, or only a dangling link."""
        here = self.here(path)
        if here is None:
            return None
        try:
            return self._entry(path, posixpath.basename(path), os.lstat(here), here)
        except OSError:
            return None

    def is_accessible(self, path: str) -> bool:
        """Return whether a folder can be read and is not empty."""
        folder = self._resolved_folder(path)
        try:
            with os.scandir(folder or "") as listing:
                return next(listing, None) is not None
        except OSError:
            return False

    def entries(self, path: str) -> list[Entry] | None:
        """Return a folder's contents by name, without dangling links; None when it cannot be read."""
        folder = self._resolved_folder(path)
        if folder is None:
            return None
        found: list[Entry] = []
        try:
            with os.scandir(folder) as listing:
                for each in listing:
                    entry = self._entry(f"{path}/{each.name}", each.name, each.stat(follow_symlinks=False), each.path)
                    if entry is not None:
                        found.append(entry)
        except OSError:
            return None
        found.sort(key=lambda entry: entry.name)
        return found

    def read(self, path: str) -> bytes | None:
        """Return the content of a file; None when it cannot be read."""
        entry = self.entry(path)
        here = None if entry is None else self.here(entry.target or path)
        try:
            return None if here is None else Path(here).read_bytes()
        except OSError:
            return None

    def _entry(self, path: str, name: str, found: os.stat_result, here: str) -> Entry | None:
        if not stat.S_ISLNK(found.st_mode):
            return self._plain(path, name, found)
        followed, target, own = path, here, found
        for _ in range(_LINKS_FOLLOWED):
            text = str(Path(target).readlink())
            followed = posixpath.normpath(posixpath.join(posixpath.dirname(followed), text))
            original = self._originals().get(followed)
            if original is not None:
                return Entry(
                    path, name, is_folder=False, modified=original.created, created=original.created, is_link=True,
                    link_created=self._created(own), target=followed, original=original,
                )  # fmt: skip
            next_here = self.here(followed)
            if next_here is None:
                return None
            try:
                found = os.lstat(next_here)
            except OSError:
                return None
            if not stat.S_ISLNK(found.st_mode):
                plain = self._plain(path, name, found)
                return Entry(
                    path, name, is_folder=plain.is_folder, modified=plain.modified, created=plain.created,
                    is_link=True, link_created=self._created(own), target=followed,
                )  # fmt: skip
            target = next_here
        return None

    def _plain(self, path: str, name: str, found: os.stat_result) -> Entry:
        return Entry(
            path, name, is_folder=stat.S_ISDIR(found.st_mode), modified=self._file_time(found.st_mtime),
            created=self._created(found),
        )  # fmt: skip

    def _created(self, found: os.stat_result) -> float:
        """Return when a file was created, as .NET guesses it on Linux without a time of birth."""
        return self._file_time(min(found.st_mtime, found.st_ctime))


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
