"""Records of an exported history, one at a time: of a ZIP file, JSON, or lines of text.

A file is never held in memory as a whole: 3 MB of ZIP can unpack to gigabytes, and JSON grows tenfold when parsed.
Nothing is unpacked to disk, and a ZIP file within a ZIP file is not opened.
"""

from __future__ import annotations

import codecs
import csv
import json
import re
import time
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any, Literal

from aperture_dagster.catalogue.history_import.columns import MOST_COLUMNS, can_name_titles, headings_of, roles_of
from aperture_dagster.model import UNPRINTABLE
from aperture_dagster.model.errors import OperatorError

LARGEST_BYTES = 256_000_000
"""Of a file, unpacked: 100,000 plays are some 100 MB."""
LARGEST_ZIP = 32_000_000
MOST_FILES = 1_000
LONGEST_RECORD = 200_000
"""Characters of a record, or of a line; they have one or two thousand."""
CHUNK = 65_536
DEEPEST = 5
"""Objects around a list in JSON."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a file is read, beyond the limits of every file."""

    records: int | None = None
    unpacked: int | None = None
    seconds: float | None = None


LIMITS = Limits()
Why = Literal["large", "slow", "damaged", "unknown"]


class FileRefused(OperatorError):
    """A file cannot be imported; ``why`` says for whom the message is not meant what is wrong with it."""

    def __init__(self, why: Why, message: str) -> None:
        super().__init__(message)
        self.why = why


Part = tuple[str, str, str, Any]
"""A file's name, the list in it, the place for messages, and a record; None is one that cannot be read."""

# The two layouts of Trakt's export (watched-history-1.json, and watched/history-1.json), and the files of the others.
_IN_ZIP = re.compile(
    r"(watched-history|history|ratings-(movies|shows)|(lists-)?watchlist(-(movies|shows))?)(-\d+)?\.json"
    r"|(watched|diary|ratings|watchlist)\.csv|simkl\w*\.(json|csv)|netflixviewinghistory\.csv",
    re.IGNORECASE,
)
_LIKES = re.compile(r"(.*/)?likes/films\.csv", re.IGNORECASE)
# Letterboxd exports what was deleted, too.
_LEFT_OUT = re.compile(r"(.*/)?(__MACOSX|deleted|orphaned|lists)/", re.IGNORECASE)
# The columns of the backups of Playback Reporting.
_PLAYBACK_REPORTING = (
    "DateCreated", "UserId", "ItemId", "ItemType", "ItemName", "PlaybackMethod", "ClientName", "DeviceName",
    "PlayDuration",
)  # fmt: skip
# Names of lists of records within JSON objects.
_LISTS = frozenset(
    {"data", "movies", "shows", "anime", "films", "series", "history", "watched", "ratings", "watchlist", "items"}
)
_ENDS = (",", "]", "}", " ", "\n", "\r", "\t")
_BETWEEN = re.compile(r"\s*")
_DELIMITERS = (",", ";", "\t")
_HEAD = 40
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def _as_cp1252(error: UnicodeError) -> tuple[str, int]:
    """Read the bytes that are no UTF-8 as older programs of Windows wrote them."""
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


codecs.register_error("history_as_cp1252", _as_cp1252)


def read_records(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield each record with its place in the file; see :func:`read_parts`."""
    return ((where, record) for _, _, where, record in read_parts(path))


def read_parts(path: Path, limits: Limits = LIMITS) -> Iterator[Part]:
    """Yield each record of a file.

    Raises:
        OperatorError: it is damaged or too large; records before the damage are yielded.
    """
    for count, part in enumerate(_read(path, _Budget(path, limits)), start=1):
        if limits.records is not None and count > limits.records:
            raise FileRefused(
                "large", f"{path.name} has more than {limits.records:,} rows. Split it, and import its parts."
            )
        yield part


def _read(path: Path, budget: _Budget) -> Iterator[Part]:
    name = _printable(path.name)
    try:
        if not zipfile.is_zipfile(path):
            with path.open("rb") as file:
                yield from _of_text(name, budget.read(file))
            return
        if path.stat().st_size > LARGEST_ZIP:
            raise FileRefused(
                "large", f"{name} is larger than {LARGEST_ZIP / 1e6:g} MB. Unpack it, and import its files."
            )
        with zipfile.ZipFile(path) as archive:
            for member in _members(archive, name):
                # Others allocate what the file tells them to.
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    what = _printable(member.filename)
                    raise FileRefused("damaged", f"{what} in {name} is packed in an unusual way. Unpack {name}.")
                with archive.open(member) as file:
                    yield from _of_text(_printable(member.filename), budget.read(file))
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise FileRefused("damaged", f"{name} is damaged or encrypted: {_printable(str(error))}.") from None


def _members(archive: zipfile.ZipFile, name: str) -> list[zipfile.ZipInfo]:
    """Return the files of a ZIP file that are histories: those of known names, or else its only table."""
    listed = [member for member in archive.infolist() if not _LEFT_OUT.match(member.filename)]
    found = [member for member in listed if _is_known(member.filename)]
    if not found:
        tables = [member for member in listed if member.filename.lower().endswith((".csv", ".json"))]
        found = tables if len(tables) == 1 else []
    if len(found) > MOST_FILES:
        raise FileRefused("large", f"{name} has more than {MOST_FILES:,} files. Unpack it, and import its files.")
    return sorted(found, key=lambda member: member.filename)


def _is_known(name: str) -> bool:
    return _IN_ZIP.fullmatch(name.rpartition("/")[2]) is not None or _LIKES.fullmatch(name) is not None


def _printable(name: str) -> str:
    return UNPRINTABLE.sub("", name).replace("\n", " ").encode("utf-8", "replace").decode()[-100:]


class _Budget:
    """Reads no more than a file may hold in all, and no longer than it may take."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._name, self._left = _printable(path.name), min(LARGEST_BYTES, limits.unpacked or LARGEST_BYTES)
        self._most, self._seconds, self._began = self._left, limits.seconds, time.monotonic()

    def read(self, file: IO[bytes]) -> Iterator[str]:
        """Yield the text of a file. Raises OperatorError if it is too large, or takes too long."""
        decoder = None
        # The first bytes together tell the encoding.
        while chunk := file.read(CHUNK if decoder is not None else max(CHUNK, _HEAD)):
            self._left -= len(chunk)
            if self._left < 0:
                raise FileRefused(
                    "large", f"{self._name} holds more than {self._most / 1e6:g} MB. Split it, and import its parts."
                )
            if self._seconds is not None and time.monotonic() - self._began > self._seconds:
                raise FileRefused(
                    "slow",
                    f"Reading {self._name} took more than {self._seconds:g} seconds. Split it, and import its parts.",
                )
            decoder = decoder or codecs.getincrementaldecoder(_encoding(chunk))("history_as_cp1252")
            yield decoder.decode(chunk)
        if decoder is not None:
            yield decoder.decode(b"", final=True)


def _encoding(start: bytes) -> str:
    """Return the encoding of a text by its first bytes."""
    for mark, encoding in _BOMS:
        if start.startswith(mark):
            return encoding
    # UTF-16 without a mark: every second byte of what begins a table is 0.
    head = start[:_HEAD]
    if len(head) >= 4 and head[1::2].count(0) * 2 > len(head[1::2]) and head[::2].count(0) == 0:
        return "utf-16-le"
    if len(head) >= 4 and head[::2].count(0) * 2 > len(head[::2]) and head[1::2].count(0) == 0:
        return "utf-16-be"
    return "utf-8"


def _of_text(name: str, chunks: Iterator[str]) -> Iterator[Part]:
    start = next((chunk for chunk in chunks if chunk.strip()), "")
    while start and "\n" not in start.lstrip() and len(start) < LONGEST_RECORD:
        more = next(chunks, None)
        if more is None:
            break
        start += more
    chunks = chain([start], chunks)
    if start.lstrip("\ufeff\0 \r\n\t")[:1] in ("[", "{"):
        return _of_json(name, chunks)
    first = start.lstrip("\ufeff\r\n").partition("\n")[0].rstrip("\r")
    if (delimiter := _delimiter(first)) is not None:
        return _of_table(name, chunks, delimiter)
    return _of_lines(name, chunks)


def _delimiter(first: str) -> str | None:
    """Return what separates the columns of a table, by its headings; None if these name no titles."""
    # Lines of Playback Reporting begin with a date.
    if len(first) > LONGEST_RECORD or first[:1].isdigit():
        return None
    if first.lower().startswith("sep=") and first[4:5] in _DELIMITERS:
        return first[4]
    for delimiter in sorted(_DELIMITERS, key=lambda one: -first.count(one)):
        try:
            headings = next(csv.reader([first], delimiter=delimiter), [])
        except csv.Error:
            continue
        if can_name_titles(roles_of(headings)) or (delimiter == "," and len(headings) > 1):
            return delimiter
    return None


def _of_table(name: str, chunks: Iterator[str], delimiter: str) -> Iterator[Part]:
    """Yield the rows of a table with headings."""
    rows = csv.reader(_lines(name, chunks, delimiter), delimiter=delimiter)
    headings: list[str] = []
    width = 0
    try:
        for row in rows:
            where = f"{name}, line {rows.line_num}"
            if not headings:
                headings, width = [*headings_of(row[:MOST_COLUMNS])] if any(map(str.strip, row)) else [], len(row)
            elif any(row):
                is_whole = len(row) <= width or not any(row[width:])
                yield name, "", where, dict(zip(headings, row, strict=False)) if is_whole else None
    except csv.Error as error:
        raise FileRefused("damaged", f"{name} is damaged at line {rows.line_num}: {error}.") from None


def _lines(name: str, chunks: Iterator[str], delimiter: str) -> Iterator[str]:
    """Yield the lines of a table, with their ends, since a value may hold some."""
    number, rest = 0, ""
    for chunk in chain(chunks, ["\n"]):
        *lines, rest = (rest + chunk.replace("\0", "")).split("\n")
        if len(rest) > LONGEST_RECORD:
            raise FileRefused("damaged", f"{name} is damaged: line {number + len(lines) + 1} does not end.")
        for line in lines:
            number += 1
            if number > 1 or line.strip().lower() != f"sep={delimiter}".strip().lower():
                yield line.lstrip("\ufeff") + "\n" if number == 1 else line + "\n"


def _of_lines(name: str, chunks: Iterator[str]) -> Iterator[Part]:
    """Yield what Playback Reporting writes: lines without headings."""
    number, rest = 0, ""
    for chunk in chain(chunks, "\n"):
        *lines, rest = (rest + chunk).split("\n")
        if len(rest) > LONGEST_RECORD:
            raise FileRefused("damaged", f"{name} is damaged: line {number + len(lines) + 1} does not end.")
        for line in lines:
            number += 1
            if values := line.rstrip("\r"):
                columns = values.split("\t")
                is_whole = len(columns) == len(_PLAYBACK_REPORTING)
                record = dict(zip(_PLAYBACK_REPORTING, columns, strict=True)) if is_whole else None
                yield name, "", f"{name}, line {number}", record


def _of_json(name: str, chunks: Iterator[str]) -> Iterator[Part]:
    """Yield the elements of a list: of the whole file, or of lists of known names within its objects."""
    text, number = _Text(chunks), 0
    try:
        for part, record in _elements(text, "", 0):
            number += 1
            if part is not None:
                yield name, part, f"{name}, entry {number}", record
    except (ValueError, RecursionError) as error:
        said = error.msg if isinstance(error, json.JSONDecodeError) else error
        raise FileRefused("damaged", f"{name} is damaged at entry {number + 1}: {said}.") from None


def _elements(text: _Text, part: str | None, depth: int) -> Iterator[tuple[str | None, Any]]:
    """Yield the elements of lists, each with the name of its list, None for one that is of no interest."""
    count = 0
    if text.skip("["):
        while not text.skip("]"):
            if count and not text.skip(","):
                raise ValueError("a comma is missing")
            count += 1
            yield part, text.value()
        return
    if depth >= DEEPEST or not text.skip("{"):
        text.value()
        return
    while not text.skip("}"):
        if count and not text.skip(","):
            raise ValueError("a comma is missing")
        count += 1
        key = text.value()
        if not isinstance(key, str) or not text.skip(":"):
            raise ValueError("a name or a colon is missing")
        if text.peek() in ("[", "{"):
            is_list, name = text.peek() == "[", key.casefold()
            yield from _elements(text, (name if name in _LISTS else None) if is_list else part, depth + 1)
        else:
            text.value()


class _Text:
    """JSON that arrives in chunks, of which no more is kept than a record."""

    def __init__(self, chunks: Iterator[str]) -> None:
        self._chunks, self._kept, self._at = chunks, "", 0
        self._decode = json.JSONDecoder().raw_decode

    def peek(self) -> str:
        """Return the next character after white space; empty at the end."""
        self._at = self._space()
        while self._at == len(self._kept) and self._more():
            self._at = self._space()
        return self._kept[self._at : self._at + 1]

    def skip(self, mark: str) -> bool:
        """Go behind a mark of one character if it is next, after white space."""
        is_next = self.peek() == mark
        self._at += is_next
        return is_next

    def value(self) -> Any:
        """Return what comes next. Raises ValueError and RecursionError if it is no JSON, or too long."""
        while True:
            try:
                found, end = self._decode(self._kept, self._space())
                # The rest of a number may be in the next chunk.
                if self._kept[end : end + 1] in (*_ENDS, ":") or not self._more():
                    self._at = end
                    return found
            except ValueError:
                if len(self._kept) - self._at > LONGEST_RECORD or not self._more():
                    raise

    def _space(self) -> int:
        match = _BETWEEN.match(self._kept, self._at)
        return match.end() if match is not None else self._at

    def _more(self) -> bool:
        """Read on; tell whether there was anything."""
        chunk = next(self._chunks, None)
        self._kept, self._at = self._kept[self._at :] + (chunk or ""), 0
        return chunk is not None
