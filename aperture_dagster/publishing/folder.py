"""Place the entries of a library on disk, each atomically. The media server may scan the folder at any moment.

A new entry is built in a hidden folder and renamed; in an existing one, file replaces file, the video last. Names that
begin with a dot are ignored by scans. Every path is recorded in the manifest before it is created, so that after a
crash at any point nothing is left that nobody owns.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from aperture_dagster.errors import OperatorError
from aperture_dagster.publishing.manifest import PlacedEntry, PlacedFile
from aperture_dagster.publishing.nfo import read_marker
from aperture_dagster.publishing.plan import DesiredFile, EntryPlan, Picture

# The media server runs as another user.
FOLDER_MODE, FILE_MODE = 0o755, 0o644
# A server skips a library whose folder is empty, and would keep showing what it held. The name means nothing to it.
NOTE_NAME = "about.txt"
NOTE = b"This folder belongs to aperture-dagster, which adds and removes titles in it. Keep nothing of your own here.\n"
_ORDER = {"nfo": 0, "poster": 1}
_ENTRY_FOLDER = re.compile(r"\[(ap-[a-z]+)\]$")

Draw = Callable[[Picture], bytes]


class PosterSource(Protocol):
    """Makes posters."""

    def prepare(self, pictures: Iterable[Picture]) -> None:
        """Get what many posters need."""
        ...

    def draw(self, picture: Picture) -> bytes:
        """Return a poster as JPEG."""
        ...


class FolderError(OperatorError):
    """The folder of published libraries cannot be written; the message says why."""


class LibraryFolder:
    """The folder of one published library.

    Args:
        path: the folder.
        modified_at: the time, in Unix seconds, that new files get; the server compares it with its own clock.
    """

    def __init__(self, path: Path, *, modified_at: Callable[[], float]) -> None:
        self.path = path
        self._modified_at = modified_at

    def prepare(self) -> None:
        """Create the folder with the note that keeps it from being empty.

        Raises:
            FolderError: it cannot be created.
        """
        with _folder_errors(self.path):
            self.path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            if not self.path.is_dir():
                self.path.mkdir()
                self.path.chmod(FOLDER_MODE)
            note = self.path / NOTE_NAME
            if not note.exists():
                self._write(note, NOTE)

    def intact(self, entry: PlacedEntry) -> set[str]:
        """Return the paths of an entry's files that are on disk as they were placed."""
        found, folder = set(), str(self.path / entry.folder)
        for name, file in entry.files.items():
            path = f"{folder}/{name}"
            with contextlib.suppress(OSError):
                status = os.lstat(path)
                if (status.st_size, status.st_mtime_ns, status.st_ino) != (file.size, file.mtime_ns, file.inode):
                    continue
                # The target of a link cannot change without these.
                found.add(name)
        return found

    def strangers(self, known: Collection[str]) -> list[PlacedEntry]:
        """Return entries that carry our marker but are not known, as after the restore of an older database."""
        found = []
        for folder in self.path.iterdir() if self.path.is_dir() else ():
            match = _ENTRY_FOLDER.search(folder.name)
            if match is None or match[1] in known or folder.is_symlink() or not folder.is_dir():
                continue
            marked = [one for one in (folder / "movie.nfo", folder / "tvshow.nfo") if one.is_file()]
            if any(read_marker(one.read_bytes()) == match[1] for one in marked):
                files = {path: PlacedFile("", "") for path in _files_below(folder) if _is_own(folder / path)}
                moment = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
                found.append(PlacedEntry(match[1], None, folder.name, 1, "planned", moment, files=files))
        return found

    def place(self, plan: EntryPlan, draw: Draw) -> PlacedEntry:
        """Carry out the plan of one entry; return what is there now.

        Raises:
            FolderError: the disk is full, or a file cannot be written. What was visible before still is.
        """
        entry, final = plan.entry, self.path / plan.entry.folder
        with _folder_errors(final):
            self._clear(entry.entry_id)
            if final.is_symlink():
                # Not ours, and it may lead anywhere.
                final.unlink()
            files = self._change(plan, final, draw) if final.is_dir() else self._create(plan, final, draw)
        return PlacedEntry(
            entry_id=entry.entry_id,
            work_id=entry.work_id,
            folder=entry.folder,
            rank=entry.rank,
            state="placed",
            date_added=entry.date_added,
            files=files,
        )

    def remove(self, entry: PlacedEntry) -> bool:
        """Remove an entry's files; return whether its folder is gone, too. Files that were not placed stay.

        Raises:
            FolderError: a file cannot be removed.
        """
        with _folder_errors(self.path):
            self._clear(entry.entry_id)
            folder = self.path / entry.folder
            if not folder.is_dir() or folder.is_symlink():
                return True
            if set(_files_below(folder)) <= entry.files.keys():
                # Nobody sees half of an entry.
                hidden = self._hidden(entry.entry_id, "old")
                folder.rename(hidden)
                folder = hidden
            return self._remove_files(folder, entry.files)

    def retire(self) -> bool:
        """Remove the note and the folder itself, if it is empty then; return whether it is gone."""
        with _folder_errors(self.path):
            if not self.path.is_dir():
                return True
            names = {one.name for one in self.path.iterdir()}
            if names - {NOTE_NAME}:
                return False
            (self.path / NOTE_NAME).unlink(missing_ok=True)
            self.path.rmdir()
            return True

    def _create(self, plan: EntryPlan, final: Path, draw: Draw) -> dict[str, PlacedFile]:
        """Build the entry in a hidden folder, then give it its name."""
        hidden = self._hidden(plan.entry.entry_id, "new")
        try:
            self._make_folder(hidden)
            files = {one.path: self._place(hidden, one, draw) for one in plan.entry.files}
            hidden.rename(final)
        except OSError:
            # On a full disk, half of an entry is in the way of others.
            self._clear(plan.entry.entry_id)
            raise
        return files

    def _change(self, plan: EntryPlan, final: Path, draw: Draw) -> dict[str, PlacedFile]:
        before = dict(plan.placed.files) if plan.placed is not None else {}
        # The video last: a scan in between would save the item, and read an NFO that comes later only if it is newer.
        writes = sorted(plan.write, key=lambda one: _ORDER.get(one.kind, 2))
        written = {one.path: self._place(final, one, draw) for one in writes}
        self._remove_files(final, plan.remove, keep_folder=True)
        wanted = {one.path: one for one in plan.entry.files}
        kept = {path: replace(file, item_id=wanted[path].item_id) for path, file in before.items() if path in wanted}
        return kept | written

    def _place(self, folder: Path, file: DesiredFile, draw: Draw) -> PlacedFile:
        path = folder / file.path
        if path.parent != folder:
            self._make_folder(path.parent)
        temporary = path.with_name(f".{path.name[-40:]}.part")
        temporary.unlink(missing_ok=True)
        try:
            if file.kind == "symlink":
                assert file.target is not None
                temporary.symlink_to(file.target)
            elif file.kind == "hardlink":
                assert file.source is not None
                os.link(file.source, temporary)
            else:
                content = draw(file.picture) if file.picture is not None else file.content
                assert content is not None
                self._write(temporary, content)
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        return replace(_fingerprint(path, file.kind, file.digest), item_id=file.item_id)

    def _write(self, path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), FILE_MODE)
        moment = self._modified_at()
        os.utime(path, (moment, moment))

    def _make_folder(self, path: Path) -> None:
        if not path.is_dir():
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(FOLDER_MODE)

    def _remove_files(self, folder: Path, paths: Iterable[str], *, keep_folder: bool = False) -> bool:
        """Remove files by path, and folders that are empty then; return whether ``folder`` is gone."""
        parents = set()
        for name in paths:
            path = folder / name
            path.unlink(missing_ok=True)
            path.with_name(f".{path.name[-40:]}.part").unlink(missing_ok=True)
            if path.parent != folder:
                parents.add(path.parent)
        for parent in parents:
            with contextlib.suppress(OSError):
                parent.rmdir()
        if not keep_folder:
            with contextlib.suppress(OSError):
                folder.rmdir()
        return not folder.exists()

    def _clear(self, entry_id: str) -> None:
        """Remove what an interrupted run left of an entry: its hidden folders hold only what we put there."""
        for suffix in ("new", "old"):
            hidden = self._hidden(entry_id, suffix)
            if hidden.is_dir():
                _remove_tree(hidden)

    def _hidden(self, entry_id: str, suffix: str) -> Path:
        return self.path / f".{entry_id}.{suffix}"


def _is_own(path: Path) -> bool:
    """Tell whether a file in one of our folders is of a kind that is placed there."""
    if path.suffix == ".nfo":
        return read_marker(path.read_bytes()) is not None
    return path.is_symlink() or path.suffix == ".strm" or path.name == "poster.jpg" or path.lstat().st_nlink > 1


def _remove_tree(folder: Path) -> None:
    """Remove a folder with everything in it, without following links."""
    for path in list(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            _remove_tree(path)
        else:
            path.unlink(missing_ok=True)
    folder.rmdir()


def _files_below(folder: Path) -> Iterator[str]:
    """Yield the paths of all files below a folder, relative to it."""
    for here, _, names in os.walk(folder):
        for name in names:
            yield (Path(here) / name).relative_to(folder).as_posix()


def _fingerprint(path: Path, kind: str = "", digest: str = "") -> PlacedFile:
    status = path.lstat()
    return PlacedFile(kind, digest, status.st_size, status.st_mtime_ns, status.st_ino)


@contextlib.contextmanager
def _folder_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = {
            errno.ENOSPC: "the disk is full",
            errno.EDQUOT: "the quota of the disk is used up",
            errno.EFBIG: "the disk is full",
            errno.EROFS: "it is read-only",
            errno.EXDEV: "the original is on another volume; hard links need the same one, so set APERTURE_PUBLISH_AS "
            "to symlink",
        }.get(error.errno or 0, error.strerror or str(error))
        raise FolderError(
            f"{error.filename or path} cannot be written: {reason}. What was published before is kept."
        ) from None
