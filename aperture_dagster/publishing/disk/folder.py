"""Place the entries of a library on disk, each atomically. The media server may scan the folder at any moment.

A new entry is built in a hidden folder and renamed; in an existing one, file replaces file, the video last. Names that
begin with a dot are ignored by scans. Every path is recorded in the manifest before it is created, so that after a
crash at any point nothing is left that nobody owns. Below the root, no link is ever followed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aperture_dagster.files.open_folder import NotAFolder, OpenFolder
from aperture_dagster.publishing.disk.desired import DesiredFile, PictureSource
from aperture_dagster.publishing.disk.names import entry_id_of
from aperture_dagster.publishing.disk.nfo import read_marker
from aperture_dagster.publishing.disk.plan import EntryPlan
from aperture_dagster.publishing.disk.root_folder import FolderError, Root, folder_errors
from aperture_dagster.publishing.placed import PlacedEntry, PlacedFile

__all__ = ["Draw", "FolderError", "LibraryFolder"]

# A server skips a library whose folder is empty, and would keep showing what it held. The name means nothing to it.
NOTE_NAME = "about.txt"
NOTE = b"This folder belongs to aperture-dagster, which adds and removes titles in it. Keep nothing of your own here.\n"
_ORDER = {"nfo": 0, "poster": 1, "artwork": 1}
_PICTURES = ("poster", "backdrop", "logo", "landscape")

Draw = Callable[[PictureSource], bytes | None]
"""Returns a picture; None if it cannot be had now, and the entry is complete without it."""


class LibraryFolder:
    """The folder of one published library.

    A link in the place of an entry or a season is removed, and what it leads to is left alone; anything else that is
    not ours, and a link in the place of the library's own folder, is an error that names it.

    Args:
        root: the folder that it is in.
        name: of the folder.
        clock_skew: how far the server's clock, with which it compares the times of new files, is ahead of ours.
    """

    def __init__(self, root: Root, name: str, *, clock_skew: timedelta = timedelta(0)) -> None:
        self._root, self._name, self._clock_skew = root, name, clock_skew

    @property
    def path(self) -> Path:
        """The path of the folder, for messages."""
        return self._root.path / self._name

    # What is there

    def intact(self, entries: Collection[PlacedEntry]) -> dict[str, set[str]]:
        """Return the paths of files that are on disk as they were placed, by entry id.

        Raises:
            FolderError: a link or a file is in the place of the folder.
        """
        found: dict[str, set[str]] = {entry.entry_id: set() for entry in entries}
        with folder_errors(self.path), self._look() as folder:
            if folder is None:
                return found
            for entry in entries:
                with contextlib.suppress(OSError), folder.child(entry.folder) as opened:
                    found[entry.entry_id] = set(_intact(opened, entry.files))
        return found

    def strangers(self, known: Collection[str]) -> list[PlacedEntry]:
        """Return entries that carry our marker but are not known, as after the restore of an older database.

        Raises:
            FolderError: a link or a file is in the place of the folder.
        """
        found: list[PlacedEntry] = []
        with folder_errors(self.path), self._look() as folder:
            if folder is None:
                return found
            for name in folder.names():
                entry_id = entry_id_of(name)
                if entry_id is None or entry_id in known or folder.kind(name) != "folder":
                    continue
                with folder.child(name) as entry:
                    if not any(_marker(entry, one) == entry_id for one in ("movie.nfo", "tvshow.nfo")):
                        continue
                    files = {path: PlacedFile("", "") for path in entry.files() if _is_own(entry, path)}
                    status = folder.status(name)
                moment = datetime.fromtimestamp(status.st_mtime if status else 0, UTC)
                found.append(PlacedEntry(entry_id, None, name, 1, "planned", moment, files=files))
        return found

    # Changes

    def prepare(self) -> None:
        """Create the folder with the note that keeps it from being empty.

        Raises:
            FolderError: it cannot be created, or is not ours.
        """
        with folder_errors(self.path), self._root.open() as root, root.make(self._name) as folder:
            if folder.kind(NOTE_NAME) != "file":
                self._replace(folder, NOTE_NAME, lambda name: self._write(folder, name, NOTE))

    def place(self, plan: EntryPlan, draw: Draw) -> PlacedEntry:
        """Carry out the plan of one entry; return what is there now.

        Raises:
            FolderError: the disk is full, or a file cannot be written. What was visible before still is.
        """
        entry = plan.entry
        with folder_errors(self.path / entry.folder), self._root.open() as root, root.child(self._name) as folder:
            self._clear(folder, entry.entry_id)
            _remove_link(folder, entry.folder)
            files = (
                self._create(folder, plan, draw)
                if folder.kind(entry.folder) is None
                else self._change(folder, plan, draw)
            )
        return plan.record("placed", files)

    def remove(self, entry: PlacedEntry) -> bool:
        """Remove an entry's files; return whether its folder is gone, too. Files that were not placed stay.

        Raises:
            FolderError: a file cannot be removed.
        """
        with folder_errors(self.path), self._root.open() as root:
            if root.kind(self._name) is None:
                return True
            with root.child(self._name) as folder:
                self._clear(folder, entry.entry_id)
                _remove_link(folder, entry.folder)
                name = entry.folder
                if folder.kind(name) != "folder":
                    return folder.kind(name) is None
                with folder.child(name) as opened:
                    if set(opened.files()) <= entry.files.keys():
                        # Nobody sees half of an entry.
                        name = _hidden(entry.entry_id, "old")
                        folder.rename(entry.folder, name)
                    _remove_files(opened, entry.files)
                return folder.remove_folder(name)

    def retire(self) -> bool:
        """Remove the note and the folder itself, if it is empty then; return whether it is gone.

        Raises:
            FolderError: it cannot be removed, or is not ours.
        """
        with folder_errors(self.path), self._root.open() as root:
            if root.kind(self._name) is None:
                return True
            with root.child(self._name) as folder:
                if set(folder.names()) - {NOTE_NAME}:
                    return False
                folder.remove(NOTE_NAME)
            return root.remove_folder(self._name)

    # Parts

    @contextlib.contextmanager
    def _look(self) -> Iterator[OpenFolder | None]:
        """Open the folder to read; None if it is missing."""
        with contextlib.ExitStack() as opened:
            folder = None
            with contextlib.suppress(FileNotFoundError):
                folder = opened.enter_context(opened.enter_context(self._root.look()).child(self._name))
            yield folder

    def _create(self, folder: OpenFolder, plan: EntryPlan, draw: Draw) -> dict[str, PlacedFile]:
        """Build the entry in a hidden folder, then give it its name."""
        hidden = _hidden(plan.entry.entry_id, "new")
        try:
            with folder.make(hidden) as building:
                files = self._place_all(building, plan.entry.files, draw)
            folder.rename(hidden, plan.entry.folder)
        except OSError:
            # On a full disk, half of an entry is in the way of others.
            self._clear(folder, plan.entry.entry_id)
            raise
        return files

    def _change(self, folder: OpenFolder, plan: EntryPlan, draw: Draw) -> dict[str, PlacedFile]:
        before = dict(plan.placed.files) if plan.placed is not None else {}
        # The video last: a scan in between would save the item, and read an NFO that comes later only if it is newer.
        writes = sorted(plan.write, key=lambda one: _ORDER.get(one.kind, 2))
        with folder.child(plan.entry.folder) as opened:
            written = self._place_all(opened, writes, draw)
            _remove_files(opened, plan.remove)
        wanted = {one.path: one for one in plan.entry.files}
        kept = {path: replace(file, item_id=wanted[path].item_id) for path, file in before.items() if path in wanted}
        return kept | written

    def _place_all(self, entry: OpenFolder, files: Iterable[DesiredFile], draw: Draw) -> dict[str, PlacedFile]:
        placed = ((file.path, self._place(entry, file, draw)) for file in files)
        return {path: one for path, one in placed if one is not None}

    def _place(self, entry: OpenFolder, file: DesiredFile, draw: Draw) -> PlacedFile | None:
        content = draw(file.picture) if file.picture is not None else file.content
        if content is None and file.picture is not None:
            return None
        parent, _, name = file.path.rpartition("/")
        with _below(entry, parent, make=True) as folder:

            def create(temporary: str) -> None:
                if file.kind == "symlink" or (file.kind == "artwork" and content is None):
                    assert file.target is not None
                    folder.symlink(temporary, file.target)
                else:
                    assert content is not None
                    self._write(folder, temporary, content)

            self._replace(folder, name, create)
            status = folder.status(name)
            if status is None:
                raise FileNotFoundError(2, "another program removed it at once", file.path)
        return PlacedFile(
            file.kind, file.digest, status.st_size, status.st_mtime_ns, status.st_ino, item_id=file.item_id
        )

    def _replace(self, folder: OpenFolder, name: str, create: Callable[[str], None]) -> None:
        """Create a file under a hidden name, then put it in the place of what has the name."""
        temporary = _part(name)
        folder.remove(temporary)
        try:
            create(temporary)
            folder.rename(temporary, name)
        except OSError:
            folder.remove(temporary)
            raise

    def _write(self, folder: OpenFolder, name: str, content: bytes) -> None:
        folder.write(name, content, modified_at=time.time() + self._clock_skew.total_seconds())

    def _clear(self, folder: OpenFolder, entry_id: str) -> None:
        """Remove what an interrupted run left of an entry: its hidden folders hold only what we put there."""
        for suffix in ("new", "old"):
            folder.remove_tree(_hidden(entry_id, suffix))


def _hidden(entry_id: str, suffix: str) -> str:
    return f".{entry_id}.{suffix}"


def _part(name: str) -> str:
    return f".{name[-40:]}.part"


def _remove_link(folder: OpenFolder, name: str) -> None:
    """Remove a link where a folder of ours belongs; it leads to something that is not ours."""
    if folder.kind(name) == "link":
        folder.remove(name)


def _remove_files(folder: OpenFolder, paths: Iterable[str]) -> None:
    """Remove files by their paths, and folders that are empty then."""
    below: dict[str, list[str]] = {}
    for path in paths:
        name, separator, rest = path.partition("/")
        if separator:
            below.setdefault(name, []).append(rest)
        else:
            folder.remove(name)
            folder.remove(_part(name))
    for name, rest in below.items():
        _remove_link(folder, name)
        # Somebody else's file may have the name.
        with contextlib.suppress(FileNotFoundError, NotAFolder):
            with folder.child(name) as inner:
                _remove_files(inner, rest)
            folder.remove_folder(name)


@contextlib.contextmanager
def _below(folder: OpenFolder, path: str, *, make: bool = False) -> Iterator[OpenFolder]:
    """Open a folder below another one; ``make`` it if it is missing, or if a link is in its place."""
    with contextlib.ExitStack() as opened:
        for name in path.split("/") if path else ():
            if make:
                _remove_link(folder, name)
            folder = opened.enter_context(folder.make(name) if make else folder.child(name))
        yield folder


def _intact(entry: OpenFolder, files: Mapping[str, PlacedFile]) -> Iterator[str]:
    """Yield the paths of files of an entry that are as they were placed."""
    by_parent: dict[str, list[tuple[str, PlacedFile]]] = {}
    for path, file in files.items():
        by_parent.setdefault(path.rpartition("/")[0], []).append((path, file))
    for parent, placed in by_parent.items():
        with contextlib.suppress(OSError), _below(entry, parent) as folder:
            for path, file in placed:
                status = folder.status(path.rpartition("/")[2])
                seen = (status.st_size, status.st_mtime_ns, status.st_ino) if status is not None else None
                # The target of a link cannot change without these.
                if seen == (file.size, file.mtime_ns, file.inode):
                    yield path


def _marker(entry: OpenFolder, name: str) -> str | None:
    content = entry.read(name)
    return read_marker(content) if content is not None else None


def _is_own(entry: OpenFolder, path: str) -> bool:
    """Tell whether a file in one of our folders is of a kind that is placed there."""
    parent, _, name = path.rpartition("/")
    with _below(entry, parent) as folder:
        if name.endswith(".nfo"):
            return _marker(folder, name) is not None
        return folder.kind(name) == "link" or name.endswith(".strm") or name.rpartition(".")[0] in _PICTURES
