"""What a server finds in the folders of a library: films with their parts, series, seasons, episodes.

Modelled on jellyfin/jellyfin 10.9 to 12: ``Emby.Server.Implementations/Library/Resolvers``,
``Emby.Naming/Video/VideoListResolver.cs``, ``MediaBrowser.LocalMetadata/Images/LocalImageProvider.cs``.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from aperture_dagster.simulator.disk import Entry, ServerDisk
from aperture_dagster.simulator.nfo_reader import Nfo
from aperture_dagster.simulator.world import WorldLibrary

# What the media server reads from the names of files and folders.
#
# Modelled on jellyfin/jellyfin, ``Emby.Naming/Common/NamingOptions.cs``, ``Emby.Naming/Video``, ``Emby.Naming/TV``,
# ``Emby.Server.Implementations/Library/{IgnorePatterns,PathExtensions}.cs``; only the forms that clients would choose
# on purpose are modelled, and what must not happen by accident.


VIDEO_EXTENSIONS = frozenset(
    (
        ".avi", ".divx", ".flv", ".iso", ".m2ts", ".m4v", ".mk3d", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts",
        ".ogm", ".ogv", ".rmvb", ".strm", ".ts", ".vob", ".webm", ".wmv",
    )
)  # fmt: skip
_IGNORED_FOLDERS = frozenset(
    (
        "metadata", "ps3_update", "ps3_vprm", "extrafanart", "extrathumbs", ".actors", ".wd_tv", "lost+found", "subs",
        ".snapshots", ".snapshot", "temprec", "tempsbe", "eadir", "@eadir", "#recycle", "@recycle", ".@__thumb",
        "$recycle.bin", "system volume information", ".grab", ".zfs",
    )
)  # fmt: skip
_IGNORED_FILES = re.compile(
    r"^(small\.jpg|albumart\.jpg|thumbs\.db|.*\.bts|.*\.sync|.*\.trickplay|(.*\.)?(sample|minta)\..{1,5}|\..*)$",
    re.IGNORECASE | re.DOTALL,
)
_SAMPLE = re.compile(r"\bsample\b", re.IGNORECASE)
_EXTRA_FOLDERS = frozenset(
    (
        "trailers", "backdrops", "theme-music", "behind the scenes", "deleted scenes", "interviews", "scenes",
        "samples", "shorts", "featurettes", "extras", "extra", "other", "clips",
    )
)  # fmt: skip
_EXTRA_SUFFIX = re.compile(
    r"([-._ ]trailer|[-._ ]sample|-(scene|clip|interview|behindthescenes|deleted|deletedscene|featurette|short|extra|"
    r"other))$|^(trailer|sample|theme)$",
    re.IGNORECASE,
)
_PART = re.compile(
    r"^(?P<name>.*?)(?:(?<=[\]\)\}])|[ _.-]+)[\(\[]?(?P<type>cd|dvd|part|pt|dis[ck])[ _.-]*"
    r"(?P<number>[0-9]+|[a-d])[\)\]]?$",
    re.IGNORECASE,
)
_YEAR = re.compile(r"(.+[^_,.()\[\]-])[ _.()\[\]-]+(19[0-9]{2}|20[0-9]{2})(?![0-9])([ _,.()\[\]-]|$)")
_SERIES_YEAR = re.compile(r"(?P<title>.+?)\s*\((?P<year>[0-9]{4})\)")
_SEASON = re.compile(r"Season (\d+)")
_EPISODE = re.compile(r"[Ss](?P<season>[0-9]+)[\]\[ ._-]*[Ee](?P<episode>[0-9]+)(?:-?[Ee-](?P<end>[0-9]+))?")


def is_ignored(name: str, *, is_folder: bool) -> bool:
    """Return whether the server ignores an entry with this name, and what is below it."""
    if is_folder and (name.lower() in _IGNORED_FOLDERS or name.lower() in _EXTRA_FOLDERS):
        return True
    return bool(_IGNORED_FILES.match(name))


def hides_what_is_below(segment: str) -> bool:
    """Return whether nothing below a folder with this name, at any depth, is seen."""
    return segment.lower() in _IGNORED_FOLDERS or segment.lower().endswith(".trickplay")


def is_video(name: str) -> bool:
    """Return whether a file is a film or an episode, rather than an extra, a sample, or of another type."""
    stem, extension = posixpath.splitext(name)
    if extension.lower() not in VIDEO_EXTENSIONS:
        return False
    return not (_SAMPLE.search(name) or _EXTRA_SUFFIX.search(stem))


def part_of(stem: str) -> tuple[str, str] | None:
    """Return the common name and the number of a film in several files, such as ``Film-part1``."""
    found = _PART.match(stem)
    return (found["name"], found["number"].lower().zfill(6)) if found else None


def film_year(name: str) -> int | None:
    """Return the year in the name of a film's file or folder."""
    found = _YEAR.search(f"{name} ")
    return int(found[2]) if found else None


def series_name(folder: str) -> tuple[str, int | None]:
    """Return a series' name and year from its folder."""
    found = _SERIES_YEAR.match(folder)
    if found and found["title"].strip():
        return found["title"].strip(), int(found["year"])
    return re.sub(r"(?<=[^._]{2})[._]+", " ", folder).strip(), None


def season_number(folder: str) -> int | None:
    """Return the number of a season from its folder; None for other folders."""
    found = _SEASON.fullmatch(folder)
    return int(found[1]) if found else None


def episode_numbers(stem: str) -> tuple[int, int, int | None] | None:
    """Return season, episode and, of a double episode, the last number. Only ``SxxEyy`` is modelled."""
    found = _EPISODE.search(stem)
    if found is None:
        return None
    end = int(found["end"]) if found["end"] else None
    return int(found["season"]), int(found["episode"]), end if end and end > int(found["episode"]) else None


_IMAGE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".tbn", ".gif", ".svg")
_IMAGE_NAMES = ("folder", "poster", "cover", "default")
_ARTWORK_NAMES = {"Backdrop": ("fanart", "background", "backdrop"), "Logo": ("logo", "clearlogo"),
                  "Thumb": ("landscape", "thumb")}  # fmt: skip


@dataclass(slots=True)
class Found:
    """A film, series, season or episode on the disk."""

    kind: str
    path: str
    name: str
    entry: Entry
    year: int | None = None
    nfo_file: Entry | None = None
    nfo: Nfo | None = None
    image: Entry | None = None
    artwork: dict[str, Entry] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    children: list[Found] = field(default_factory=list)
    season: int | None = None
    episode: int | None = None
    episode_end: int | None = None
    strm: str | None = None

    @property
    def item_id(self) -> str:
        """The id: a hash of type and path."""
        return _md5(f"{self.kind}|{self.path}")


class FolderReader:
    """Reads the folders of libraries.

    Args:
        disk: the files as the server sees them.
        note_unmodelled: records what the stand-in does not model.
    """

    def __init__(self, disk: ServerDisk, note_unmodelled: Callable[[str], None]) -> None:
        self._disk = disk
        self._note_unmodelled = note_unmodelled

    def read(
        self, library: WorldLibrary, options: dict[str, Any], conflicts: set[str]
    ) -> tuple[list[Found], list[str]]:
        """Return what is in a library, and those of its folders that are skipped, since they are empty or unreadable.

        Args:
            library: the library.
            options: its options.
            conflicts: its locations that count as parts of other libraries, so that nothing is found in them.
        """
        everything: list[Found] = []
        skipped: list[str] = []
        for root in library.locations:
            if root in conflicts:
                continue
            if not self._disk.is_accessible(root):
                skipped.append(root)
                continue
            if self._is_hidden(root):
                continue
            entries = self._usable(root)
            if library.collection_type == "tvshows":
                everything += [self._series(entry, options) for entry in entries or () if entry.is_folder]
            else:
                everything += self._films(root, entries or [])
        return everything, skipped

    def _is_hidden(self, root: str) -> bool:
        segments = root.split("/")
        return any(hides_what_is_below(segment) for segment in segments) or segments[-1].startswith(".")

    def _usable(self, folder: str) -> list[Entry] | None:
        """Return what the server does not ignore; None for a folder that is unreadable."""
        entries = self._disk.entries(folder)
        if entries is None:
            return None
        if any(entry.name == ".ignore" for entry in entries):
            self._note_unmodelled(f"the stand-in does not model {folder}/.ignore")
        return [entry for entry in entries if not is_ignored(entry.name, is_folder=entry.is_folder)]

    def _films(self, folder: str, entries: list[Entry]) -> list[Found]:
        """Return the films in a folder that is not that of a single film."""
        found = [film for entry in entries if entry.is_folder for film in self._films_in(entry)]
        around = {entry.name: entry for entry in entries}
        films = [self._film(stack) for stack in _stacks([each for each in entries if _is_film(each)])]
        for film in films:
            self._sidecars(film, around, mixed=True)
        return found + films

    def _films_in(self, folder: Entry) -> list[Found]:
        """Return the film whose folder this is; or else the films and folders in it."""
        entries = self._usable(folder.path)
        if entries is None:
            return []
        around = {entry.name: entry for entry in entries}
        videos = [entry for entry in entries if _is_film(entry)]
        if not videos:
            return [film for entry in entries if entry.is_folder for film in self._films_in(entry)]
        stacks = _stacks(videos)
        if len(stacks) > 1 or any(entry.is_folder for entry in entries):
            return self._films(folder.path, entries)
        film = self._film(stacks[0])
        film.name = folder.name
        self._sidecars(film, around, mixed=False)
        return [film]

    def _film(self, files: list[Entry]) -> Found:
        first = files[0]
        stem = _stem(first.name)
        found = Found("Movie", first.path, _clean(stem), first, film_year(stem))
        found.parts = tuple(entry.path for entry in files[1:])
        found.strm = self._strm(first)
        return found

    def _strm(self, entry: Entry) -> str | None:
        if not entry.name.lower().endswith(".strm"):
            return None
        content = self._disk.read(entry.path) or b""
        return next((line.strip() for line in content.decode("utf-8", "replace").splitlines() if line.strip()), "")

    def _sidecars(self, found: Found, around: dict[str, Entry], *, mixed: bool) -> None:
        """Find the NFO file and the image of a film."""
        stem = _stem(found.entry.name)
        nfo_names = [f"{stem}.nfo"] if mixed else ["movie.nfo", f"{stem}.nfo"]
        found.nfo_file = next((around[name] for name in nfo_names if name in around), None)
        image_names = (*_IMAGE_NAMES, "movie")
        candidates = [stem, *(f"{stem}-{name}" for name in image_names), *(() if mixed else image_names)]
        found.image = _image(candidates, around)
        if not mixed:
            found.artwork = _artwork(around)

    def _series(self, folder: Entry, options: dict[str, Any]) -> Found:
        name, year = series_name(folder.name)
        series = Found("Series", folder.path, name, folder, year)
        entries = self._usable(folder.path) or []
        around = {entry.name: entry for entry in entries}
        series.nfo_file = around.get("tvshow.nfo")
        series.image = _image((*_IMAGE_NAMES, "show"), around)
        series.artwork = _artwork(around)
        seasons: dict[int, Found] = {}
        for entry in entries:
            number = season_number(entry.name) if entry.is_folder else None
            if number is None or number in seasons:
                continue
            inside = self._usable(entry.path) or []
            season = Found("Season", entry.path, _season_name(number, options), entry, season=number)
            beside = {each.name: each for each in inside}
            season.nfo_file = beside.get("season.nfo")
            season.image = _image([f"season{number:02d}-poster"], around) or _image(_IMAGE_NAMES, beside)
            season.children = self._episodes(inside, beside)
            seasons[number] = season
        series.children = [seasons[number] for number in sorted(seasons)]
        return series

    def _episodes(self, entries: list[Entry], around: dict[str, Entry]) -> list[Found]:
        episodes: list[Found] = []
        for entry in entries:
            if not _is_film(entry):
                continue
            stem = _stem(entry.name)
            numbers = episode_numbers(stem)
            if numbers is None:
                self._note_unmodelled(f"the stand-in does not model the name of the episode {entry.path}")
                continue
            season, episode, end = numbers
            found = Found("Episode", entry.path, stem, entry, season=season, episode=episode, episode_end=end)
            found.nfo_file = around.get(f"{stem}.nfo")
            found.image = _image([f"{stem}-thumb", stem], around)
            found.strm = self._strm(entry)
            episodes.append(found)
        return episodes


def every_found(found: list[Found]) -> Iterator[Found]:
    """Yield what was found, with seasons and episodes."""
    for each in found:
        yield each
        yield from every_found(each.children)


def _is_film(entry: Entry) -> bool:
    return not entry.is_folder and is_video(entry.name)


def _stem(name: str) -> str:
    return posixpath.splitext(name)[0]


def _clean(stem: str) -> str:
    """Return the title in a file's name: what is before the year or the brackets."""
    year = film_year(stem)
    head = stem.partition(f"({year})")[0] if year else stem
    return head.partition("[")[0].strip(" .-_") or stem


def _stacks(videos: list[Entry]) -> list[list[Entry]]:
    """Group the files of films that are in several parts; the first part first."""
    groups: dict[str, list[tuple[str, Entry]]] = {}
    for entry in videos:
        part = part_of(_stem(entry.name))
        key, number = (f"part of {part[0].lower()}", part[1]) if part else (entry.name, "")
        groups.setdefault(key, []).append((number, entry))
    stacks: list[list[Entry]] = []
    for group in groups.values():
        group.sort(key=lambda pair: pair[0])
        stacks.append([entry for _, entry in group])
    return stacks


def _image(stems: list[str] | tuple[str, ...], around: dict[str, Entry]) -> Entry | None:
    for stem in stems:
        for extension in _IMAGE_EXTENSIONS:
            if (entry := around.get(stem + extension)) is not None and not entry.is_folder:
                return entry
    return None


def _artwork(around: dict[str, Entry]) -> dict[str, Entry]:
    found = {kind: _image(stems, around) for kind, stems in _ARTWORK_NAMES.items()}
    return {kind: entry for kind, entry in found.items() if entry is not None}


def _season_name(number: int, options: dict[str, Any]) -> str:
    return f"Season {number}" if number else str(options.get("SeasonZeroDisplayName") or "Specials")


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
