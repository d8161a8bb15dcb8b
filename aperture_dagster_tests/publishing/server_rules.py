"""What Jellyfin reads out of the path of a media file, by the rules of versions 10.9 to 12.

An independent statement of the server's rules, to compare names with. Paths have slashes.
"""

from __future__ import annotations

import re

EXTRAS_FOLDERS = {
    "trailers", "backdrops", "theme-music", "interviews", "scenes", "samples", "shorts", "featurettes", "extras",
    "extra", "other", "clips", "behind the scenes", "deleted scenes",
}  # fmt: skip
EXTRAS_SUFFIXES = (
    "-trailer", ".trailer", "_trailer", "-sample", ".sample", "_sample", "-scene", "-clip", "-interview",
    "-behindthescenes", "-deleted", "-deletedscene", "-featurette", "-short", "-extra", "-other", "- trailer",
    "- sample",
)  # fmt: skip
EXTRAS_FILES = {"trailer", "sample", "theme"}
IGNORED_FOLDERS = {
    "metadata", "ps3_update", "ps3_vprm", "extrafanart", "extrathumbs", ".actors", ".wd_tv", "lost+found", "subs",
    ".snapshots", ".snapshot", "temprec", "tempsbe", "eadir", "@eadir", "#recycle", "@recycle", ".@__thumb",
    "$recycle.bin", ".grab", ".zfs", "sample", "minta", "system volume information",
}  # fmt: skip
FORMATS_3D = {"fsbs", "hsbs", "sbs", "ftab", "htab", "tab", "sbs3d", "mvc"}
PROVIDERS = ("tmdb", "imdb", "tvdb", "tvmaze", "anidb", "anilist", "anisearch")
CLOSING = {"[": "]", "(": ")", "{": "}"}


def ids(path: str) -> list[str]:
    """Return the ids in a path: `[tmdbid-1]` and the like in any brackets, and a bare IMDb id."""
    found = re.findall(r"tt[0-9]{7}", path, re.IGNORECASE)
    for match in re.finditer(rf"([\[({{])(?:{'|'.join(PROVIDERS)})(?:id)?[=-]", path, re.IGNORECASE):
        if CLOSING[match[1]] in path[match.end() :]:
            found.append(match[0])
    return found


def is_locked(path: str) -> bool:
    """Return whether a path forbids to read metadata."""
    return "[dontfetchmeta]" in path.lower()


def is_ignored(path: str) -> bool:
    """Return whether the scanner skips the file or one of its folders."""
    segments = path.strip("/").lower().split("/")
    *folders, name = segments
    return (
        any(segment.startswith(".") or segment.endswith((".trickplay", ".bts", ".sync")) for segment in segments)
        or bool(IGNORED_FOLDERS & set(segments))
        or bool(EXTRAS_FOLDERS & set(folders))
        or bool(re.search(r"(^|\.)(sample|minta)\.[^.]{1,5}$", name))
        # The resolver of films skips files by this word anywhere in the name.
        or bool(re.search(r"\bsample\b", name))
    )


def is_extra(path: str) -> bool:
    """Return whether a file is a trailer, a sample or the like."""
    folder, name = path.lower().split("/")[-2:]
    stem = name.rpartition(".")[0]
    return folder in EXTRAS_FOLDERS or stem in EXTRAS_FILES or stem.rstrip("0123456789").endswith(EXTRAS_SUFFIXES)


def is_3d(path: str) -> bool:
    """Return whether the name of a 3D format is between two delimiters."""
    tokens = re.split(r"[()\-._\[\] /]", path.lower())
    return bool(FORMATS_3D & set(tokens))


def film_year(stem: str) -> int | None:
    """Return the year in the name of a film: the last one after a delimiter, with and without blanks."""
    for delimiters in (r"[_.()\[\]-]", r"[ _.()\[\]-]+"):
        match = re.match(rf"(.+[^_,.()\[\]-]){delimiters}((?:19|20)[0-9]{{2}})(?![0-9]|\W[0-9]{{2}}\W[0-9]{{2}})", stem)
        if match:
            return int(match[2])
    return None


def series_year(folder: str) -> int | None:
    """Return the year in the name of a series: the first four digits in parentheses."""
    match = re.match(r".+?\s*\(([0-9]{4})\)", folder)
    return int(match[1]) if match else None


def stack(name: str) -> tuple[str, str] | None:
    """Return the common name and the part of a file that belongs to a film in several files."""
    for number in ("[0-9]+", "[a-d]"):
        match = re.match(
            rf"(.*?)(?:(?<=[\])}}])|[ _.-]+)[(\[]?(?:cd|dvd|part|pt|dis[ck])[ _.-]*({number})[)\]]?(?:\.[^.]+)?$",
            name,
            re.IGNORECASE,
        )
        if match:
            return match[1], match[2]
    return None


def episodes(name: str) -> list[tuple[int, int, int | None]]:
    """Return every season, episode and last episode that can be read from the name of a file."""
    found = [
        (int(match[1]), int(match[2]), int(match[3]) if match[3] else None)
        for match in re.finditer(
            r"s([0-9]+)[\][ ._-]*e([0-9]+)(?:(?:-| - )?[xe]([0-9]{1,4}))?", name, re.IGNORECASE | re.ASCII
        )
    ]
    return found + [(int(one), int(two), None) for one, two in re.findall(r"([0-9]{1,4})x([0-9]{1,3})", name, re.I)]


def season(folder: str, parent: str) -> int | None:
    """Return the number of a season's folder in the folder of a series."""
    if match := re.search(r"[sS]([0-9]{1,4})(?![0-9]|[eE][0-9])(?=[._\-\[\]\s]|$)", folder):
        return int(match[1])
    bare, around = (re.sub(r"[ ._\-\[\]]", "", text).lower() for text in (folder, parent))
    bare = bare.replace(around, "")
    if bare in {"specials", "extras"}:
        return 0
    match = re.match(r"(?:season|staffel|saison|series)([0-9]+)$", bare)
    return int(match[1]) if match else None


def are_versions_of_one_film(folder: str, stem: str) -> bool:
    """Return whether a file's name is that of its folder, with at most a suffix after a delimiter."""
    return stem.lower().startswith(folder.lower()) and stem[len(folder) :].lstrip()[:1] in {"", "-", "_", ".", "["}
