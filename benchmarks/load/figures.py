"""What a piece of work uses, in a process of its own."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TypeVar

from verdict import peak_memory

Result = TypeVar("Result")


@dataclass(slots=True)
class Used:
    """CPU seconds of a piece of work, and the peak memory of its process from its start, in MB."""

    cpu: float = 0.0
    peak_mb: float = 0.0


@contextmanager
def measured() -> Iterator[Used]:
    """Measure the block; the figures are final at its end."""
    used = Used()
    before = time.process_time()
    try:
        yield used
    finally:
        used.cpu = time.process_time() - before
        used.peak_mb = peak_memory()


def in_a_fork(work: Callable[[], Result]) -> Result:
    """Do the work in a fork of this process, whose memory is the work's alone but for what is loaded already.

    Raises:
        RuntimeError: it failed; the reason has been printed.
    """
    forks = multiprocessing.get_context("fork")
    receiver, sender = forks.Pipe(duplex=False)
    process = forks.Process(target=_send, args=(sender, work))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise RuntimeError("a part of the benchmark failed") from None
    finally:
        process.join()


def _send(sender: Connection, work: Callable[[], Result]) -> None:
    sender.send(work())
