"""Check that a compressed dump is complete, and that restoring it would run no command of psql.

psql commits a dump that was cut off between two rows and reports success, so completeness must be proven before.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from aperture_dagster.storage.backup.errors import BadDump

CHUNK = 1 << 20
END_MARK = b"-- PostgreSQL database dump complete"
# Outside the data of tables; a longer one is not from pg_dump.
LONGEST_LINE = 16 << 20
_END_OF_DATA = b"\n\\.\n"
# How far to look back for the beginning of what a chunk cuts in two.
_OVERLAP = 64
_PAIR = re.compile(rb"\\(restrict|unrestrict) ([0-9A-Za-z]+)")
_COPY = re.compile(rb"COPY [^;\\]+ FROM stdin;")
_OTHER_COPY = re.compile(rb"\s*copy\b", re.IGNORECASE)
# After an odd number of backslashes; in data, a backslash is doubled.
_UNRESTRICT = re.compile(rb"(?<!\\)(?:\\\\)*\\unrestrict")
_SEQUENCE = re.compile(rb"SELECT pg_catalog\.setval\('((?:[^'\\]|'')+)', (-?\d+), (true|false)\);")


@dataclass(frozen=True, slots=True)
class DumpContents:
    """What :func:`check_dump` found in a file.

    Attributes:
        bytes: size of the file.
        sha256: checksum of the file.
        text_bytes: size of the dump without compression.
        sequences: values of the sequences in the dump, and whether they have been used.
    """

    bytes: int
    sha256: str
    text_bytes: int
    sequences: dict[str, tuple[int, bool]]


def check_dump(path: Path) -> DumpContents:
    """Read a compressed dump to its end and check it, in constant memory.

    Raises:
        BadDump: it is damaged, incomplete, or holds commands of psql.
        OSError: it cannot be read.
    """
    file, check = DumpFile(path), DumpCheck(path)
    for chunk in file:
        check.feed(chunk)
    check.finish()
    return DumpContents(file.bytes, file.sha256, check.bytes, check.sequences)


class DumpFile:
    """The text of a compressed dump, in chunks, and the size and checksum of the file once it has been read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = 0
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Checksum of what has been read of the file."""
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[bytes]:
        """Decompress the file. Raises BadDump if it is not one complete gzip stream."""
        # Such a decompressor checks the header, the length and the checksum of a gzip file.
        stream = zlib.decompressobj(wbits=31)
        with self.path.open("rb") as file:
            while data := file.read(CHUNK):
                self.bytes += len(data)
                self._digest.update(data)
                if stream.eof:
                    raise BadDump(f"{self.path} has other data after its end: it is not a backup of this program.")
                try:
                    # In bounded pieces, however much the file claims to hold.
                    while data and not stream.eof:
                        if text := stream.decompress(data, CHUNK):
                            yield text
                        data = stream.unconsumed_tail
                except zlib.error:
                    raise BadDump(f"{self.path} is damaged, or not compressed with gzip.") from None
                if stream.unused_data:
                    raise BadDump(f"{self.path} has other data after its end: it is not a backup of this program.")
        if self.bytes == 0:
            raise BadDump(f"{self.path} is empty.")
        if not stream.eof:
            raise BadDump(f"{self.path} is cut off: its compressed data does not end.")


@dataclass(slots=True)
class DumpCheck:
    """Checks the text of a dump chunk by chunk, before it is used; ``rewrite`` may change a line outside the data."""

    path: Path
    rewrite: Callable[[bytes], bytes] | None = None
    bytes: int = 0
    sequences: dict[str, tuple[int, bool]] = field(default_factory=dict)
    _pending: bytes = b""
    _in_data: bool = False
    _started: bool = False
    _key: bytes | None = None
    _ended: bool = False
    _released: bool = False

    def feed(self, chunk: bytes) -> bytes:
        """Check the next chunk, and return what may be used now: what has been checked and was not returned before.

        Raises:
            BadDump: at a command of psql, or at something after the end.
        """
        self.bytes += len(chunk)
        data, position = self._pending + chunk, 0
        usable, copied = [], 0
        while True:
            if self._in_data:
                end = data.find(_END_OF_DATA, position)
                region = data[position : end if end >= 0 else len(data)]
                if b"unrestrict" in region and _UNRESTRICT.search(region):
                    raise self._bad("holds a command of psql in the data of a table")
                if end < 0:
                    begin, position = position, max(position, len(data) - _OVERLAP)
                    # The number of backslashes in a row matters.
                    while position > begin and data[position - 1] == ord("\\"):
                        position -= 1
                    break
                self._in_data, position = False, end + len(_END_OF_DATA)
            end = data.find(b"\n", position)
            if end < 0:
                break
            line = data[position:end]
            self._line(line)
            if self.rewrite is not None and (rewritten := self.rewrite(line)) != line:
                usable += [data[copied:position], rewritten]
                copied = end
            # The line break also begins the mark that ends the data, if there is none.
            position = end if self._in_data else end + 1
        self._pending = data[position:]
        if not self._in_data and len(self._pending) > LONGEST_LINE:
            raise self._bad("has a line that is too long for a dump")
        return b"".join([*usable, data[copied:position]])

    def finish(self) -> None:
        """Check that the dump has come to its end. Raises BadDump."""
        if self._in_data:
            raise self._bad("is cut off in the data of a table")
        if self._pending.strip() or not self._ended or not self._released:
            raise self._bad("is cut off: the mark at the end of a dump is missing")

    def _line(self, line: bytes) -> None:
        if line.startswith(b"\\"):
            self._pair(line)
        elif self._ended and line not in (b"", b"--"):
            raise self._bad("goes on after the mark at the end of a dump")
        elif line == END_MARK:
            self._ended = True
        elif not line.startswith(b"--") and line:
            self._statement(line)

    def _statement(self, line: bytes) -> None:
        if self._key is None:
            raise self._bad("does not begin as a dump of this program's pg_dump does")
        self._started = True
        # A command in the middle of a line can only do harm after one that lifts the restriction.
        if line.lstrip().startswith(b"\\") or _UNRESTRICT.search(line):
            raise self._bad("holds a command of psql")
        if _COPY.fullmatch(line):
            self._in_data = True
        elif _OTHER_COPY.match(line):
            raise self._bad("copies from somewhere other than itself")
        elif found := _SEQUENCE.fullmatch(line):
            self.sequences[found[1].decode().replace("''", "'")] = (int(found[2]), found[3] == b"true")

    def _pair(self, line: bytes) -> None:
        """Accept the one pair of commands that pg_dump writes, which forbids all others in between."""
        found = _PAIR.fullmatch(line)
        if found is not None and found[1] == b"restrict" and self._key is None and not self._started:
            self._key = found[2]
        elif found is not None and found[1] == b"unrestrict" and self._ended and not self._released:
            if found[2] != self._key:
                raise self._bad("ends with another key than it begins with")
            self._released = True
        else:
            raise self._bad("holds a command of psql")

    def _bad(self, what: str) -> BadDump:
        return BadDump(f"{self.path} {what}: it is not a complete backup of this program, and is not used.")
