"""Wait for what another thread or process does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")
# Never waited for unless a test fails, and less than pytest waits for a test: the message here says more.
SECONDS = 120.0


class Process(Protocol):
    """What is needed of a process that may end."""

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""
        ...


def wait_for(
    look: Callable[[], T],
    otherwise: str | Callable[[], str],
    *,
    seconds: float = SECONDS,
    pause: float = 0.05,
    process: Process | None = None,
) -> T:
    """Return the first true result of ``look``, which is called again after each ``pause`` in seconds.

    Raises AssertionError, with what ``otherwise`` says, after ``seconds``, or when ``process`` has ended.
    """
    deadline = time.monotonic() + seconds
    while not (found := look()):
        is_over = time.monotonic() > deadline or (process is not None and process.poll() is not None)
        assert not is_over, otherwise if isinstance(otherwise, str) else otherwise()
        threading.Event().wait(pause)
    return found
