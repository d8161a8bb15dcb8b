"""Names of folders and files of published titles.

They are safe for file systems, and opaque to the name parsers of the media servers.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from hashlib import blake2b

# Consonants that form none of the words that the servers look for (tt, cd, pt, dvd, ...). Digits are left out, since
# they can be read as a year, a part or an episode: `[ap-cd123456]` would be part 123456 of a film.
_LETTERS = str.maketrans("0123456789abcdef", "bfghjkmnpqrsvwxz")
# A letter that is no delimiter for the servers; placed inside a pattern, it keeps the pattern from being read.
BREAK = "\N{MODIFIER LETTER APOSTROPHE}"
TITLE_CHARACTERS = 56
EPISODE_TITLE_CHARACTERS = 40
TITLE_BYTES = 120
LIST_FOLDER_CHARACTERS = 30
# A folder of a list, a folder of a title, and the video in it. Relevant for servers on Windows.
LONGEST_BELOW_ROOT = (
    LIST_FOLDER_CHARACTERS + 2 * (TITLE_CHARACTERS + len("/ (2000) [ap-bfghjkmnpq]")) + len("-part1.m2ts")
)
# File systems allow 255 bytes; the rest is for temporary names.
NAME_BYTES = 240

_REPLACED = str.maketrans({
    **dict.fromkeys("<>|?*[](){}", " "),
    '"': "'",
    "/": "-",
    "\\": "-",
})  # fmt: skip
# Needed inside words of some scripts and inside emoji, unlike other invisible characters.
_JOINERS = "\u200c\u200d"
_FLAGS = "sample|minta|tab|mvc|sbs3d|[fh]?sbs|[fh]tab"
_IGNORED_OR_3D = re.compile(rf"(?<![^\W_])({_FLAGS})(?![^\W_])", re.IGNORECASE)
_IMDB_ID = re.compile(r"(tt)(?=[0-9]{7})", re.IGNORECASE)
_EPISODE_NUMBER = re.compile(r"(?<=[0-9])(?=[\][ ._-]*e[0-9]|x[0-9])", re.IGNORECASE)
_KNOWN_YEAR = re.compile(r" \((?:19|20)[0-9]{2}\)")
_YEAR = re.compile(r"(?<=[ _.,-])(?=(?:19|20)[0-9]{2})")
_WINDOWS_DEVICE = re.compile(r"^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(?=\s*\.)", re.IGNORECASE)
_EXTENSION = re.compile(r"\.?([0-9A-Za-z-]{1,10})")
_ENTRY_ID = re.compile(r"\[(ap-[a-z]+)\]$")
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')


def entry_id(list_key: str, work_id: int) -> str:
    """Return the id of a work in a list, such as `ap-hkqzmbwrnf`: always the same for the same two arguments."""
    return "ap-" + _letters(f"{list_key}\0{work_id}", 5)


def entry_folder(title: str, year: int | None, entry_id: str) -> str:
    """Return the name of the folder of an entry: `Title (Year) [id]`, at most 200 bytes."""
    suffix = f" ({year})" if year is not None and 1000 <= year <= 9999 else ""
    name = _clean_title(title.rstrip().removesuffix(suffix.strip()), TITLE_CHARACTERS)
    if not _KNOWN_YEAR.fullmatch(suffix):
        # Without a year that they recognize, the servers take one from the title.
        name = _YEAR.sub(BREAK, name)
    return f"{name}{suffix} [{entry_id}]"


def entry_id_of(folder: str) -> str | None:
    """Return the id in the name of an entry's folder, or None if it is the folder of something else."""
    match = _ENTRY_ID.search(folder)
    return match[1] if match is not None else None


def video_name(folder: str, extension: str, part: int | None = None) -> str:
    """Return the name of a film's file in its folder; ``part`` numbers the files of a film that consists of several.

    Raises:
        ValueError: ``extension`` is not a file extension.
    """
    suffix = "" if part is None else f"-part{part}"
    return f"{folder}{suffix}{_extension(extension)}"


def season_folder(number: int) -> str:
    """Return the name of the folder of a season; 0 is for specials."""
    return f"Season {number:02d}"


def episode_name(title: str, season: int, number: int, number_end: int | None, entry_id: str, extension: str) -> str:
    """Return the name of an episode's file: `Title S01E02 [id].mkv`, or `S01E02-E03` for a file of several episodes.

    Raises:
        ValueError: ``extension`` is not a file extension.
    """
    last = f"-E{number_end:02d}" if number_end is not None and number_end > number else ""
    name = _clean_title(title, EPISODE_TITLE_CHARACTERS)
    return f"{name} S{season:02d}E{number:02d}{last} [{entry_id}]{_extension(extension)}"


def sidecar_name(video_name: str, original_video: str, sidecar: str) -> str:
    """Return the name of a subtitle or audio file beside a published video.

    What follows the video's name in the original (`.en.forced.srt`) stays, since it holds language and flags. Of a file
    with another name, such as `English.srt`, the whole name follows. The last two arguments are names or paths.
    """
    stem, name = _stem(_last_segment(original_video)), _last_segment(sidecar)
    if name[: len(stem)].casefold() == stem.casefold():
        name = name[len(stem) :]
    name = "".join(char for char in _FORBIDDEN.sub("", name) if _is_kept(char))
    suffix = unicodedata.normalize("NFC", name).lstrip(" ._-").rstrip(" .")
    parts = _IGNORED_OR_3D.sub(rf"\1{BREAK}", suffix).split(".")
    base = _stem(video_name)
    # The last parts are the most important ones: language, flags, extension.
    while len(parts) > 1 and len(f"{base}.{'.'.join(parts)}".encode()) > NAME_BYTES:
        parts.pop(0)
    return f"{base}.{'.'.join(parts)}"


def list_folder(list_key: str) -> str:
    """Return the name of the folder of a list under the root, such as `picks-movies-hkqzmbwr`.

    It does not depend on the library's name, which people see and change, so that a change never moves a library.
    """
    words = [word for word in re.split(r"[^0-9a-z]+", list_key.lower()) if re.fullmatch(r"[a-z]{3,}", word)]
    readable = "-".join(word for word in words[:3] if not re.fullmatch(_FLAGS, word))
    suffix = _letters(list_key, 4)
    return (readable[: LIST_FOLDER_CHARACTERS - len(suffix) - 1].strip("-") or "list") + "-" + suffix


def is_list_folder(name: str) -> bool:
    """Tell whether a folder has a name as :func:`list_folder` makes them."""
    return bool(re.fullmatch(r"[a-z-]+-[bfghjkmnpqrsvwxz]{8}", name))


def _letters(text: str, size: int) -> str:
    """Return a hash of ``size`` bytes, written in letters."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).hexdigest().translate(_LETTERS)


@functools.lru_cache(4096)
def _clean_title(title: str, characters: int) -> str:
    """Return a title that file systems accept and in which the servers find no id, number or flag."""
    title = unicodedata.normalize("NFC", title).translate(_REPLACED)
    title = re.sub(r"\s*:\s+", " - ", title).replace(":", "-")
    kept = "".join(char for char in title if char.isspace() or _is_kept(char))
    name = unicodedata.normalize("NFC", " ".join(kept.split()).lstrip(" .-_"))
    # Cut first: cut later, a pattern could lose what breaks it.
    name = _cut(name, characters).strip(" -") or "Untitled"
    name = _IGNORED_OR_3D.sub(rf"\1{BREAK}", name)
    name = _IMDB_ID.sub(rf"\1{BREAK}", name)
    name = _EPISODE_NUMBER.sub(BREAK, name)
    return _WINDOWS_DEVICE.sub(rf"\1{BREAK}", name)


def _is_kept(char: str) -> bool:
    # Control and invisible characters, lone surrogates, and private ones, by which SMB encodes forbidden characters.
    if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co"}:
        return char in _JOINERS
    # U+FFFE, U+FFFF and their like are not characters.
    return ord(char) & 0xFFFE != 0xFFFE and not 0xFDD0 <= ord(char) <= 0xFDEF


def _cut(text: str, characters: int) -> str:
    """Cut a text to a number of characters and to TITLE_BYTES, between two characters as people see them."""
    size = len(text.encode()[:TITLE_BYTES].decode(errors="ignore"))
    end = limit = min(size, characters)
    while 0 < end < len(text) and (_continues(text[end]) or text[end - 1] in _JOINERS):
        end -= 1
    return text[: end or limit]


def _continues(char: str) -> bool:
    """Return whether a character belongs to the one before it: accents, joiners, skin tones."""
    return unicodedata.category(char) in {"Mn", "Mc", "Me"} or char in _JOINERS or 0x1F3FB <= ord(char) <= 0x1F3FF


def _extension(extension: str) -> str:
    match = _EXTENSION.fullmatch(extension)
    if not match:
        raise ValueError(f"expected the extension of a file, got {extension!r}")
    return f".{match[1].lower()}"


def _last_segment(path: str) -> str:
    return re.split(r"[\\/]", path)[-1]


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name
