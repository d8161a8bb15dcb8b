"""A folder of published libraries, whose marker shows that it is the right one."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from aperture_dagster.files.open_folder import FOLDER_MODE, Marker, NotAFolder, OpenFolder
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.publishing.disk.paths import IGNORED_FOLDERS

# Media servers ignore names that begin with a dot.
MARKER = Marker(".aperture-published", "Marks the folder of libraries that aperture-dagster publishes. Do not delete.")
# What to do about the folder of the settings.
ACCEPT = "If the folder is new or was emptied, accept it with `aperture publish --accept-root`."


class FolderError(OperatorError):
    """The folder of published libraries cannot be written; the message says why."""


class RootError(FolderError):
    """A folder is not, or is no longer, the one below which libraries of this installation are published."""


class Root:
    """A folder below which libraries are published. It may be a link, or lie below one.

    Args:
        path: as this machine sees it.
        owner: the identity of this installation.
    """

    def __init__(self, path: Path, owner: str | None) -> None:
        self.path, self._owner = path, owner

    @contextlib.contextmanager
    def open(self) -> Iterator[OpenFolder]:
        """Open the folder for changes.

        Raises:
            RootError: it is missing, or its marker is, or is another installation's.
            OSError: it cannot be opened.
        """
        try:
            opened = self.look()
        except FileNotFoundError:
            raise self.refusal(None) from None
        with opened as folder:
            owner = MARKER.read(folder)
            if owner is None or owner != self._owner:
                raise self.refusal(owner)
            yield folder

    def look(self) -> OpenFolder:
        """Open the folder to read, whatever it is.

        Raises:
            OSError: it cannot be opened.
        """
        if not self.path.is_absolute():
            raise FileNotFoundError(errno.ENOENT, "it is not on this machine", str(self.path))
        return OpenFolder.at(self.path)

    def owner(self) -> str | None:
        """Return the identity in the marker; None without one.

        Raises:
            FolderError: it cannot be read.
        """
        with folder_errors(self.path), contextlib.suppress(FileNotFoundError), self.look() as folder:
            return MARKER.read(folder)
        return None

    def is_unused(self) -> bool:
        """Tell whether the folder is missing or empty, apart from what operating systems keep in folders.

        Raises:
            FolderError: it cannot be read.
        """
        with folder_errors(self.path), contextlib.suppress(FileNotFoundError), self.look() as folder:
            names = {name.casefold() for name in folder.names() if not name.startswith(".")}
            return names <= IGNORED_FOLDERS
        return self.path.is_absolute()

    def mark(self) -> None:
        """Make it the root, and create it if it is missing.

        Raises:
            FolderError: it cannot be written.
        """
        assert self._owner is not None
        with folder_errors(self.path):
            is_new = not self.path.is_dir()
            if is_new:
                self.path.mkdir(parents=True)
            with self.look() as folder:
                if is_new:
                    # Whatever the umask: the media server runs as another user.
                    folder.chmod(FOLDER_MODE)
                MARKER.write(folder, self._owner)

    def unmark(self) -> None:
        """Remove the marker, if nothing else is left in the folder."""
        with contextlib.suppress(OSError, RootError), self.open() as folder:
            if folder.names() == [MARKER.name]:
                folder.remove(MARKER.name)

    def refusal(self, owner: str | None) -> RootError:
        """Say why the folder is not taken for the root, given the identity in its marker."""
        if owner is not None:
            what = "belongs to another installation, which its marker ({}) names"
            ask = "Set APERTURE_PUBLISH_ROOT to another folder."
        else:
            what = "has no marker ({})" if self.path.is_dir() else "is not there, nor is its marker ({})"
            ask = "Make sure that its disk or share is mounted."
        what = what.format(MARKER.name)
        return RootError(f"The folder {self.path} {what}. Nothing was written or deleted in it. {ask} {ACCEPT}")


@contextlib.contextmanager
def folder_errors(path: Path) -> Iterator[None]:
    """Turn what the system refuses into a sentence; ``path`` is that of the folder, for errors that do not name it.

    Raises:
        FolderError: in place of OSError.
    """
    try:
        yield
    except NotAFolder as error:
        raise FolderError(
            f"{error.filename} is a link or a file, where a folder of published titles belongs. Nothing was written or "
            "deleted through it: remove it, and the next run continues."
        ) from None
    except OSError as error:
        reason = {
            errno.ENOSPC: "the disk is full",
            errno.EDQUOT: "the quota of the disk is used up",
            errno.EFBIG: "the disk is full",
            errno.EROFS: "it is read-only",
            errno.EISDIR: "a folder is in its place; remove it",
        }.get(error.errno or 0, error.strerror or str(error))
        # A name in an open folder, a path, or the number of a descriptor.
        where = path / error.filename if isinstance(error.filename, (str, Path)) else path
        raise FolderError(f"{where} cannot be written: {reason}. What was published before is kept.") from None
