"""Paths as this machine and the media server see them, and the folders in which publishing would do harm."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

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
    problems = [problem for location in library_locations if (problem := _conflict(named, root, location))]
    misread = [segment for segment in root.segments[1:] if segment.casefold() in IGNORED_FOLDERS]
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
