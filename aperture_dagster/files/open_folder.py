"""Folders that are opened by descriptor, and markers that show that a folder is the right one.

What is written or deleted this way stays in that folder, whatever another process puts in its place meanwhile: paths
are resolved once, when the folder is opened, and links below it are never followed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

Kind = Literal["folder", "link", "file"]

# Other programs, such as the media server, run as other users.
FOLDER_MODE, FILE_MODE = 0o755, 0o644
LARGEST_READ = 1 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A pipe must not block whoever opens it.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class NotAFolder(OSError):
    """A link or a file is in the place of a folder; ``filename`` is its path."""


class OpenFolder:
    """An open folder. Names are those of its direct children; a link counts as a link, and is never followed.

    Use it in a ``with`` statement. Methods raise OSError where the system refuses, and for a name that is a path.

    Args:
        descriptor: of the folder; closed at the end.
        path: for messages only.
    """

    def __init__(self, descriptor: int, path: Path) -> None:
        self.descriptor, self.path = descriptor, path

    @classmethod
    def at(cls, path: Path) -> OpenFolder:
        """Open a folder by its path, which may itself be a link or lead through some."""
        return cls(os.open(path, _FOLDER), path)

    def __enter__(self) -> OpenFolder:
        """Return the folder."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the folder."""
        os.close(self.descriptor)

    # What is there

    def names(self) -> list[str]:
        """Return the names of everything in the folder."""
        with os.scandir(self.descriptor) as found:
            return [one.name for one in found]

    def status(self, name: str) -> os.stat_result | None:
        """Return the status of a file, folder or link itself; None if it is missing."""
        try:
            return os.stat(_name(name), dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def kind(self, name: str) -> Kind | None:
        """Return what has a name; None if nothing has. Pipes and the like count as files."""
        status = self.status(name)
        if status is None:
            return None
        return "folder" if stat.S_ISDIR(status.st_mode) else "link" if stat.S_ISLNK(status.st_mode) else "file"

    def files(self) -> Iterator[str]:
        """Yield the path of every file and link below the folder, relative to it."""
        for name in self.names():
            if self.kind(name) != "folder":
                yield name
                continue
            with self.child(name) as below:
                yield from (f"{name}/{path}" for path in below.files())

    def read(self, name: str) -> bytes | None:
        """Read the start of a regular file, at most 1 MiB; None if it is something else or missing."""
        try:
            descriptor = os.open(_name(name), _READ, dir_fd=self.descriptor)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EOPNOTSUPP):
                return None
            raise
        with os.fdopen(descriptor, "rb") as file:
            return file.read(LARGEST_READ) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None

    # Folders in it

    def child(self, name: str) -> OpenFolder:
        """Open a folder in this one.

        Raises:
            NotAFolder: it is a link or a file.
        """
        path = self.path / name
        try:
            return OpenFolder(os.open(_name(name), _FOLDER | os.O_NOFOLLOW, dir_fd=self.descriptor), path)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENOTDIR):
                raise NotAFolder(error.errno, error.strerror, str(path)) from None
            raise

    def make(self, name: str) -> OpenFolder:
        """Open a folder in this one, and create it readable by everybody if it is missing.

        Raises:
            NotAFolder: a link or a file has its name.
        """
        try:
            os.mkdir(_name(name), dir_fd=self.descriptor)
        except FileExistsError:
            return self.child(name)
        made = self.child(name)
        made.chmod(FOLDER_MODE)
        return made

    # Changes

    def chmod(self, mode: int) -> None:
        """Set the permissions of the folder itself."""
        os.fchmod(self.descriptor, mode)

    def write(self, name: str, content: bytes, *, modified_at: float | None = None, lasting: bool = False) -> None:
        """Write a new file, readable by everybody.

        Args:
            name: of the file.
            content: of the file.
            modified_at: its time in Unix seconds; None: now.
            lasting: whether it must survive a power failure right afterwards.

        Raises:
            FileExistsError: something has its name.
        """
        with os.fdopen(os.open(_name(name), _NEW, FILE_MODE, dir_fd=self.descriptor), "wb") as file:
            file.write(content)
            file.flush()
            if lasting:
                os.fsync(file.fileno())
            os.fchmod(file.fileno(), FILE_MODE)
            if modified_at is not None:
                os.utime(file.fileno(), (modified_at, modified_at))

    def symlink(self, name: str, target: str) -> None:
        """Create a symbolic link."""
        os.symlink(target, _name(name), dir_fd=self.descriptor)

    def rename(self, name: str, new_name: str) -> None:
        """Rename within the folder, atomically. A file or link that has the new name is replaced."""
        os.replace(_name(name), _name(new_name), src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def remove(self, name: str) -> None:
        """Remove a file or link; one that is missing is no error."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_name(name), dir_fd=self.descriptor)

    def remove_folder(self, name: str) -> bool:
        """Remove a folder if it is empty; return whether nothing has its name then."""
        with contextlib.suppress(OSError):
            os.rmdir(_name(name), dir_fd=self.descriptor)
        return self.status(name) is None

    def remove_tree(self, name: str) -> None:
        """Remove a folder with everything in it; of links, only themselves."""
        if self.kind(name) == "folder":
            shutil.rmtree(_name(name), dir_fd=self.descriptor)
        else:
            self.remove(name)


def _name(name: str) -> str:
    """Return a name, if it is one: a path would lead out of the folder."""
    if "/" in name or name in ("", ".", ".."):
        raise OSError(errno.EINVAL, "it is a path rather than a name", name)
    return name


@dataclass(frozen=True, slots=True)
class Marker:
    """A file that says to which installation its folder belongs: an unmounted disk would look like an empty folder.

    Args:
        name: of the file.
        note: what it says to people.
    """

    name: str
    note: str

    def read(self, folder: OpenFolder) -> str | None:
        """Return the identity of the installation that the folder belongs to; None without a marker.

        For a damaged marker, whose owner is unknown, it is an empty text.
        """
        content = folder.read(self.name)
        if content is None:
            return None if folder.kind(self.name) is None else ""
        try:
            return str(json.loads(content)["owner"])
        except (ValueError, KeyError, TypeError):
            return ""

    def content(self, owner: str) -> bytes:
        """Return the content of the file for an installation."""
        return json.dumps({"owner": owner, "note": self.note}).encode()

    def write(self, folder: OpenFolder, owner: str) -> None:
        """Mark a folder, and replace a marker that it has."""
        temporary = f"{self.name}.part"
        folder.remove(temporary)
        folder.write(temporary, self.content(owner), lasting=True)
        folder.rename(temporary, self.name)
