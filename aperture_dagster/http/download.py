"""A file that is downloaded in as many attempts as it takes, and kept only if it is the one that was published.

What has arrived is in ``NAME.part``. ``NAME.part.json`` says which version of the file that is the beginning of, so a
later attempt, in this process or another, asks for the rest of that version alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from aperture_dagster.files.private import sync_folder, write_file
from aperture_dagster.http.errors import BadAnswer, TemporaryError
from aperture_dagster.http.messages import Incoming, Request
from aperture_dagster.http.transport import Transport

ATTEMPT_SECONDS = 600.0
"""How long one attempt may last; a slow download goes on with the next."""
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file as its publisher describes it.

    Args:
        path: appended to the address of the service; begins with a slash.
        md5: its checksum, in hexadecimal digits.
        most_bytes: more than this is not accepted.
        size: its bytes, if they are known beforehand.
    """

    path: str
    md5: str
    most_bytes: int
    size: int | None = None


@dataclass(frozen=True, slots=True)
class _Version:
    """The version of a file that a part is the beginning of: its size, and what the server recognises it by."""

    path: str
    size: int
    validator: str


def discard_download(target: Path) -> None:
    """Remove what an unfinished download of a file has left."""
    part, note = _places(target)
    # In this order: a part without a note is never continued.
    note.unlink(missing_ok=True)
    part.unlink(missing_ok=True)


def download(
    transport: Transport, wanted: PublishedFile, target: Path, *, show: Callable[[int, int], None] = lambda *_: None
) -> None:
    """Download a file to ``target``, going on from where an earlier call was interrupted.

    ``show`` is called with the bytes that are there and those of the whole file, as they arrive. If ``target`` exists
    and has the right checksum, nothing is requested.

    Raises:
        BadAnswer: the answer is a web page, has the wrong size, or the checksum of the file is not the published one;
            nothing of it is kept.
        ServiceError: see :meth:`Transport.send`; what has arrived is kept.
        OSError: the file cannot be written; what has arrived is kept.
    """
    if target.exists():
        if _md5(target) == wanted.md5:
            return
        target.unlink()
    part, note = _places(target)
    with _opened(part) as file:
        state = _Download(transport.service, wanted, file, note, show)
        if not state.is_complete:
            transport.receive(state.next_request, state.take, seconds=ATTEMPT_SECONDS, reached=state.length)
        file.flush()
        os.fsync(file.fileno())
    if _md5(part) != wanted.md5:
        discard_download(target)
        raise BadAnswer(
            f"{transport.service}: {wanted.path} is not the published file: its checksum differs. Nothing of it is kept"
        )
    part.replace(target)
    note.unlink(missing_ok=True)
    sync_folder(target.parent)


class _Download:
    """The part of a file that is there, and how to get the rest."""

    def __init__(
        self, service: str, wanted: PublishedFile, file: BinaryIO, note: Path, show: Callable[[int, int], None]
    ) -> None:
        self._what = f"{service}: {wanted.path}"
        self._wanted, self._file, self._note, self._show = wanted, file, note, show
        self._version = self._read_note()
        if self._version is None:
            self._begin_anew()

    @property
    def is_complete(self) -> bool:
        """Whether all of the file has arrived."""
        return self._version is not None and self.length() == self._version.size

    def next_request(self) -> Request:
        """Return the request for what is missing."""
        # As published: an archive must not be packed once more on its way, or parts would not fit together.
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if self._version is not None and 0 < self.length() < self._version.size:
            headers |= {"Range": f"bytes={self.length()}-", "If-Range": self._version.validator}
        return Request("GET", self._wanted.path, headers=headers, accept=(416,))

    def take(self, answer: Incoming) -> None:
        """Append what arrives. Raises TemporaryError if it is not all, BadAnswer if it cannot be the file."""
        if answer.status == 416:
            self._begin_anew()
            raise TemporaryError("what had arrived was not the beginning of the file, which is requested anew")
        size = self._continued(answer) if answer.status == 206 else self._begun(answer)
        for chunk in answer.parts:
            if self.length() + len(chunk) > size:
                self._begin_anew()
                raise BadAnswer(f"{self._what}: the server sends more than it announced; nothing of it is kept")
            self._file.write(chunk)
            self._show(self.length(), size)
        if self.length() < size:
            raise TemporaryError(f"the connection ended after {self.length():,} of {size:,} bytes")

    def _begun(self, answer: Incoming) -> int:
        """Prepare for a whole file, and return its size."""
        self._begin_anew()
        if "html" in answer.headers.get("content-type", "").lower():
            raise BadAnswer(f"{self._what}: the answer is a web page and not the file; nothing of it is kept")
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            raise BadAnswer(f"{self._what}: the server sends the file in another form than it was asked for")
        length = answer.headers.get("content-length", "")
        if not (length.isascii() and length.isdigit()):
            raise BadAnswer(f"{self._what}: the server does not say how large the file is")
        size = int(length)
        if size > self._wanted.most_bytes or size != (self._wanted.size or size):
            expected = f"{self._wanted.size:,}" if self._wanted.size else f"at most {self._wanted.most_bytes:,}"
            raise BadAnswer(f"{self._what}: has {size:,} bytes instead of {expected}; nothing of it is kept")
        etag = answer.headers.get("etag", "")
        # A weak one may stand for two files that differ in some bytes.
        validator = answer.headers.get("last-modified", "") if etag.startswith("W/") or not etag else etag
        if validator:
            self._version = _Version(self._wanted.path, size, validator)
            write_file(self._note, json.dumps(asdict(self._version)).encode())
        return size

    def _continued(self, answer: Incoming) -> int:
        """Return the size of the file whose next part comes."""
        content = _RANGE.fullmatch(answer.headers.get("content-range", "").strip())
        version = self._version
        if version is None or content is None or (int(content[1]), int(content[3])) != (self.length(), version.size):
            self._begin_anew()
            raise TemporaryError("the server sent another part of the file than the next one, which is requested anew")
        return version.size

    def _begin_anew(self) -> None:
        self._version = None
        self._note.unlink(missing_ok=True)
        self._file.seek(0)
        self._file.truncate()

    def length(self) -> int:
        """Return the bytes that have arrived."""
        return self._file.seek(0, os.SEEK_END)

    def _read_note(self) -> _Version | None:
        """Return the version that the part belongs to; None if nothing usable says so."""
        try:
            version = _Version(**json.loads(self._note.read_bytes()))
            is_usable = version.path == self._wanted.path and self.length() <= version.size <= self._wanted.most_bytes
        except (OSError, ValueError, TypeError):
            return None
        return version if is_usable and version.size == (self._wanted.size or version.size) else None


def _places(target: Path) -> tuple[Path, Path]:
    return target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.part.json")


@contextlib.contextmanager
def _opened(part: Path) -> Iterator[BinaryIO]:
    """Open a part for reading and appending, for its owner alone."""
    number = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    with os.fdopen(number, "r+b") as file:
        yield file


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        # Against damage, not against malice: it is what the publisher gives.
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
