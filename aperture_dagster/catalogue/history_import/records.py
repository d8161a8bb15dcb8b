"""Records of an exported history, one at a time: of a ZIP file, JSON, or lines of text.

A file is never held in memory as a whole: 3 MB of ZIP can unpack to gigabytes, and JSON grows tenfold when parsed.
"""

from __future__ import annotations

import codecs
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any

from aperture_dagster.model.errors import OperatorError

LARGEST_BYTES = 256_000_000
"""Of a file, unpacked: 100,000 plays are some 100 MB."""


LARGEST_ZIP = 32_000_000


MOST_FILES = 1_000


LONGEST_RECORD = 200_000
"""Characters of a record, or of a line; they have one or two thousand."""


CHUNK = 65_536


# The two layouts of Trakt's export: watched-history-1.json, and watched/history-1.json.
_IN_ZIP = re.compile(r"(watched-history|history|ratings-(movies|shows))(-\d+)?\.json")


# The columns of the backups of Playback Reporting.
_PLAYBACK_REPORTING = (
    "DateCreated", "UserId", "ItemId", "ItemType", "ItemName", "PlaybackMethod", "ClientName", "DeviceName",
    "PlayDuration",
)  # fmt: skip


# Where Tautulli's rows begin, within its answer.
_TAUTULLI = re.compile(r'(?<!\\)"data"\s*:\s*\[')


_ENDS = (",", "]", " ", "\n", "\r", "\t")


_BETWEEN = re.compile(r"\s*")


def read_records(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield each record with its place in the file; None is one that cannot be read.

    Raises:
        OperatorError: it is damaged or too large; records before the damage are yielded.
    """
    budget = _Budget(path)
    try:
        if not zipfile.is_zipfile(path):
            with path.open("rb") as file:
                yield from _of_text(path.name, budget.read(file))
            return
        if path.stat().st_size > LARGEST_ZIP:
            raise OperatorError(f"{path} is larger than {LARGEST_ZIP / 1e6:g} MB. Unpack it, and import its files.")
        with zipfile.ZipFile(path) as archive:
            found = [one for one in archive.infolist() if "__MACOSX" not in one.filename and _is_known(one.filename)]
            if len(found) > MOST_FILES:
                raise OperatorError(f"{path} has more than {MOST_FILES:,} files. Unpack it, and import its files.")
            for one in sorted(found, key=lambda one: one.filename):
                # Others allocate what the file tells them to.
                if one.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise OperatorError(f"{one.filename} in {path} is packed in an unusual way. Unpack {path.name}.")
                with archive.open(one) as file:
                    yield from _of_text(one.filename, budget.read(file))
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise OperatorError(f"{path} is damaged or encrypted: {error}.") from None


def _is_known(name: str) -> bool:
    return _IN_ZIP.fullmatch(name.rpartition("/")[2]) is not None


class _Budget:
    """Reads no more than a file may hold in all."""

    def __init__(self, path: Path) -> None:
        self._path, self._left = path, LARGEST_BYTES

    def read(self, file: IO[bytes]) -> Iterator[str]:
        """Yield the text of a file. Raises OperatorError if it is too large."""
        decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        while chunk := file.read(CHUNK):
            self._left -= len(chunk)
            if self._left < 0:
                raise OperatorError(
                    f"{self._path} holds more than {LARGEST_BYTES / 1e6:g} MB. Split it, and import its parts."
                )
            yield decoder.decode(chunk)
        yield decoder.decode(b"", final=True)


def _of_text(name: str, chunks: Iterator[str]) -> Iterator[tuple[str, Any]]:
    first = next((one for one in chunks if one.strip()), "")
    chunks = chain([first], chunks)
    return _of_json(name, chunks) if first.lstrip()[:1] in ("[", "{") else _of_lines(name, chunks)


def _of_lines(name: str, chunks: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """Yield what Playback Reporting writes: lines without headings."""
    number, rest = 0, ""
    for chunk in chain(chunks, "\n"):
        *lines, rest = (rest + chunk).split("\n")
        if len(rest) > LONGEST_RECORD:
            raise OperatorError(f"{name} is damaged: line {number + len(lines) + 1} does not end.")
        for line in lines:
            number += 1
            if values := line.rstrip("\r"):
                columns = values.split("\t")
                is_whole = len(columns) == len(_PLAYBACK_REPORTING)
                yield (
                    f"{name}, line {number}",
                    dict(zip(_PLAYBACK_REPORTING, columns, strict=True)) if is_whole else None,
                )


def _of_json(name: str, chunks: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """Yield the elements of a list: of the whole file, or of an answer of Tautulli."""
    text = _Text(chunks)
    if not text.skip("[") and not text.skip_to(_TAUTULLI):
        return
    number = 0
    try:
        while not text.skip("]"):
            if number and not text.skip(","):
                raise ValueError("a comma is missing")
            number += 1
            yield f"{name}, entry {number}", text.value()
    except (ValueError, RecursionError) as error:
        said = error.msg if isinstance(error, json.JSONDecodeError) else error
        raise OperatorError(f"{name} is damaged at entry {number or 1}: {said}.") from None


class _Text:
    """JSON that arrives in chunks, of which no more is kept than a record."""

    def __init__(self, chunks: Iterator[str]) -> None:
        self._chunks, self._kept, self._at = chunks, "", 0
        self._decode = json.JSONDecoder().raw_decode

    def skip(self, mark: str) -> bool:
        """Go behind a mark if it is next, after white space."""
        self._at = self._space()
        while self._at == len(self._kept) and self._more():
            self._at = self._space()
        is_next = self._kept.startswith(mark, self._at)
        self._at += len(mark) if is_next else 0
        return is_next

    def skip_to(self, pattern: re.Pattern[str]) -> bool:
        """Go behind a pattern that is near; tell whether it is."""
        while (match := pattern.search(self._kept)) is None:
            if len(self._kept) > LONGEST_RECORD or not self._more():
                return False
        self._at = match.end()
        return True

    def value(self) -> Any:
        """Return what comes next. Raises ValueError and RecursionError if it is no JSON, or too long."""
        while True:
            try:
                found, end = self._decode(self._kept, self._space())
                # The rest of a number may be in the next chunk.
                if self._kept[end : end + 1] in _ENDS or not self._more():
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
