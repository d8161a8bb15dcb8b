"""What steps print: it goes to a file for the UI, and from there to where it would have gone.

Dagster's own way starts four processes for each run, two of them with a Python interpreter, which is a good part of a
short run.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

COPY_SECONDS = 0.2
# Nobody may read where it goes; a run does not wait for them.
PATIENCE_SECONDS = 5.0
_CHUNK = 65_536


@contextmanager
def mirrored(stream: TextIO | None, path: str) -> Iterator[None]:
    """Let what is written to a stream, also by C code and child processes, go to the end of a file, and be copied.

    A stream without a descriptor, as in some tests, is left alone.
    """
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as written, file.open("rb", buffering=0) as copied:
        copied.seek(0, os.SEEK_END)
        number = _descriptor(stream)
        if stream is None or number is None:
            yield
            return
        stream.flush()
        before = os.dup(number)
        ended = threading.Event()
        copying = threading.Thread(target=_copy, args=(copied, before, ended), name="output of a step", daemon=True)
        os.dup2(written.fileno(), number)
        copying.start()
        try:
            yield
        finally:
            with suppress(OSError, ValueError):
                stream.flush()
            os.dup2(before, number)
            ended.set()
            copying.join(PATIENCE_SECONDS)
            if not copying.is_alive():
                os.close(before)


def _copy(source: io.FileIO, target: int, ended: threading.Event) -> None:
    """Copy what is appended to a file until the end, and what is left then. A reader who is gone ends it."""
    with suppress(OSError, ValueError):
        while True:
            # First, so that nothing written before the end is missed.
            is_last = ended.wait(COPY_SECONDS)
            while chunk := source.read(_CHUNK):
                while chunk:
                    chunk = chunk[os.write(target, chunk) :]
            if is_last:
                return


def _descriptor(stream: TextIO | None) -> int | None:
    try:
        return None if stream is None else stream.fileno()
    # Also a stream that was closed.
    except (AttributeError, ValueError, io.UnsupportedOperation):
        return None
