"""Paths as this machine and the media server see them, and the folders in which publishing would do harm."""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aperture_dagster.files.open_folder import FOLDER_MODE, Marker, NotAFolder, OpenFolder
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.publishing.disk.names import LONGEST_BELOW_ROOT, is_list_folder

if TYPE_CHECKING:
    from aperture_dagster.settings.lists import PublishingSettings

# Folders of these names, and everything in them, are skipped by the servers.
IGNORED_FOLDERS = frozenset(
    {
        "metadata", "subs", "sample", "minta", "ps3_update", "ps3_vprm", "extrafanart", "extrathumbs", ".actors",
        ".wd_tv", "lost+found", ".snapshots", ".snapshot", "temprec", "tempsbe", "eadir", "@eadir", "#recycle",
        "@recycle", ".@__thumb", "$recycle.bin", "system volume information", ".grab", ".zfs",
    }
)  # fmt: skip
# What media servers skip with everything in it, read as an id of it, or by which they take it for 3D.
_HIDDEN = re.compile(r"[^\\/]+\.trickplay(?=[\\/]|$)|(?<=[\\/])\.[^\\/]*$", re.IGNORECASE)
_ID = re.compile(r"tt[0-9]{7}|[\[({](?:tmdb|imdb|tvdb)(?:id)?[=-]|\[dontfetchmeta\]", re.IGNORECASE)
_3D = re.compile(r"(?<![^/\\ ()\-._\[\]])(?:mvc|sbs3d|[fh]?sbs|[fh]?tab)(?![^/\\ ()\-._\[\]])", re.IGNORECASE)
_WINDOWS = re.compile(r"[A-Za-z]:(?:[\\/]|$)|\\\\")
WINDOWS_LONGEST = 259


class _Split(NamedTuple):
    """A path in segments, of which the first one is what it begins with: `/`, `D:` or `\\\\server`."""

    segments: tuple[str, ...]
    is_windows: bool

    def starts_with(self, other: _Split) -> bool:
        mine, prefix = self.segments[: len(other.segments)], other.segments
        if self.is_windows != other.is_windows:
            return False
        if self.is_windows:
            return [one.casefold() for one in mine] == [one.casefold() for one in prefix]
        return mine == prefix

    def moved(self, source: _Split, target: _Split) -> _Split:
        return _Split((*target.segments, *self.segments[len(source.segments) :]), target.is_windows)

    def __str__(self) -> str:
        first, *rest = self.segments
        if not self.is_windows:
            return "/" + "/".join(rest)
        return "\\".join([first, *rest]) if rest or first.startswith("\\\\") else first + "\\"


class PathMap:
    """Translation of paths of this machine to those of the media server.

    Args:
        pairs: Folders of this machine, and the same folders as the server sees them. The longest one that contains a
            path counts. Paths of the server may be Windows paths.

    Raises:
        ValueError: a folder is not an absolute path.
    """

    def __init__(self, pairs: Mapping[str, str]) -> None:
        split = [(_split(here), _split(there)) for here, there in pairs.items()]
        self._pairs = sorted(split, key=lambda pair: -len(pair[0].segments))

    def to_server(self, path: Path | str) -> str:
        """Return a path of this machine as the server sees it; unchanged if no pair contains it.

        Raises:
            ValueError: the path is not absolute.
        """
        split = _split(str(path))
        for here, there in self._pairs:
            if split.starts_with(here):
                return str(split.moved(here, there))
        return str(split)


def published_root(settings: PublishingSettings) -> list[str]:
    """Return the folder of published libraries, as the media server sees it; none if it is not set."""
    if settings.publish_root is None:
        return []
    return [PathMap(settings.path_map).to_server(settings.publish_root.expanduser())]


def as_path(path: str) -> str:
    """A server's path in the form in which paths are compared."""
    return path.replace("\\", "/").rstrip("/")


def separator(path: str) -> str:
    """What separates folders in a server's path."""
    return "\\" if "\\" in path and "/" not in path else "/"


def is_any_published(paths: Iterable[str], roots: Iterable[str]) -> bool:
    """Return whether one of the paths of a library is that of a published library below one of the roots."""
    roots = list(roots)
    return any(is_published(path, root) for path in paths for root in roots)


def is_published(path: str, root: str) -> bool:
    """Return whether one of the server's paths is that of a published library below the root.

    Another library may be there as well, if the root was chosen above it by mistake.
    """
    try:
        place, above = _split(path), _split(root)
    except ValueError:
        return False
    return (
        len(place.segments) == len(above.segments) + 1
        and place.starts_with(above)
        and is_list_folder(place.segments[-1])
    )


def root_problems(root_on_server: str, library_locations: Iterable[str]) -> list[str]:
    """Return what speaks against a folder as the root of published libraries; one sentence for each problem.

    Args:
        root_on_server: The folder, as the server sees it.
        library_locations: Folders of the server's other libraries, without published ones.
    """
    try:
        root = _split(root_on_server)
    except ValueError:
        return [f"The publishing folder {root_on_server} is not an absolute path of the media server."]
    named = f"The publishing folder {root}"
    problems = [problem for one in library_locations if (problem := _conflict(named, root, one))]
    misread = [one for one in root.segments[1:] if one.casefold() in IGNORED_FOLDERS]
    misread += [match[0] for one in (_HIDDEN, _ID, _3D) if (match := one.search(str(root)))]
    if misread:
        problems.append(
            f'{named} contains "{misread[0]}", because of which media servers skip or misread everything in it. Use '
            "another folder."
        )
    if root.is_windows and (length := len(str(root))) > WINDOWS_LONGEST - LONGEST_BELOW_ROOT:
        problems.append(
            f"{named} is {length} characters long; paths in it can exceed the {WINDOWS_LONGEST} characters of Windows. "
            f"Use a folder with at most {WINDOWS_LONGEST - LONGEST_BELOW_ROOT} characters."
        )
    return problems


def _conflict(named: str, root: _Split, location: str) -> str | None:
    try:
        library = _split(location)
    except ValueError:
        return None
    if root.starts_with(library):
        return f"{named} is inside the library folder {location}. Use a folder outside of all libraries."
    if library.starts_with(root):
        return f"{named} contains the library folder {location}. Use a folder outside of all libraries."
    # Servers compare whole paths as texts.
    mine, theirs = (_comparable(one) for one in (root, library))
    if theirs in mine:
        return (
            f"{named} contains the path of the library {location} as a text, by which some versions of the server "
            "would drop published titles. Use another folder."
        )
    if mine in theirs:
        return (
            f"The path of the library {location} contains {root} as a text, by which some versions of the "
            "server would drop titles of that library. Use another publishing folder."
        )
    return None


def _comparable(path: _Split) -> str:
    text = str(path).rstrip("\\/") + "/"
    return text.replace("\\", "/").casefold() if path.is_windows else text


def _split(path: str) -> _Split:
    """Split an absolute path into segments, and resolve `.` and `..` in the text."""
    is_windows = bool(_WINDOWS.match(path))
    if not is_windows and not path.startswith("/"):
        raise ValueError(f"expected an absolute path, got {path!r}")
    if path.startswith("\\\\"):
        server, *rest = re.split(r"[\\/]+", path[2:])
        first = "\\\\" + server
    elif is_windows:
        first, *rest = re.split(r"[\\/]+", path)
    else:
        first, *rest = re.split(r"/+", path)
    segments: list[str] = []
    for segment in rest:
        if segment == "..":
            segments = segments[:-1]
        elif segment not in ("", "."):
            segments.append(segment)
    return _Split((first, *segments), is_windows)


# A folder of published libraries, whose marker shows that it is the right one.


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
