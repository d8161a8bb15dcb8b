"""What the media server reads from the names of files and folders.

Modelled on jellyfin/jellyfin, ``Emby.Naming/Common/NamingOptions.cs``, ``Emby.Naming/Video``, ``Emby.Naming/TV``,
``Emby.Server.Implementations/Library/{IgnorePatterns,PathExtensions}.cs``; only the forms that clients would choose on
purpose are modelled, and what must not happen by accident.
"""

from __future__ import annotations

import posixpath
import re

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
_EPISODE = re.compile(r"[Ss](?P<season>[0-9]+)[\]\[ ._-]*[Ee](?P<episode>[0-9]+)(?:-?[Ee-](?P<end>[0-9]+))?")
_SEASON_PREFIX = re.compile(r"[sS](\d{1,4})(?!\d|[eE]\d)(?=[._\[\]\s-]|$)")
_SEASON_WORD = re.compile(
    r"^\s*(?:season|saison|staffel|series|temporada|stagione|sezon|seizoen|s[äa]song)\s*(\d+?)(?=\d{3,4}p|\D|$)(?!\s*e\d)",
    re.IGNORECASE,
)
_IMDB = re.compile(r"tt([0-9]{7,8})")
_CLOSERS = {"[": "]", "(": ")", "{": "}"}


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
    """Return the number of a season from its folder; 0 for specials; None for other folders."""
    if folder.lower() in ("specials", "extras"):
        return 0
    if folder.isdecimal():
        return int(folder)
    found = _SEASON_PREFIX.search(folder) or _SEASON_WORD.match(folder)
    return int(found[1]) if found else None


def episode_numbers(stem: str) -> tuple[int, int, int | None] | None:
    """Return season, episode and, of a double episode, the last number. Only ``SxxEyy`` is modelled."""
    found = _EPISODE.search(stem)
    if found is None:
        return None
    end = int(found["end"]) if found["end"] else None
    return int(found["season"]), int(found["episode"]), end if end and end > int(found["episode"]) else None


def id_in(name: str, attribute: str, *, short: bool) -> str | None:
    """Return the id in a name such as ``Film [tmdbid-603]``; ``short``: the rules of 12 apply."""
    wanted = attribute.removesuffix("id") + "(?:id)?" if short else attribute
    openers = r"[\[({]" if short else r"\["
    for found in re.finditer(rf"({openers}){wanted}[=-]", name, re.IGNORECASE):
        rest = name[found.end() :]
        value = rest[: max(rest.find(_CLOSERS[found[1]]), 0)].strip()
        if value:
            return value
    return None


def imdb_id_in(path: str, *, short: bool) -> str | None:
    """Return the IMDb id anywhere in a path, in brackets or bare."""
    found = id_in(path, "imdbid", short=short)
    if found is None and (bare := _IMDB.search(path)):
        return bare.group()
    return found


def is_version_of(folder: str, stem: str) -> bool:
    """Return whether a file in a film's folder is a version of it, by their names."""
    if not stem.lower().startswith(folder.lower()):
        return False
    rest = stem[len(folder) :].strip()
    return not rest or rest[0] in "-_." or bool(re.match(r"^\[([^]]*)\]", rest))
