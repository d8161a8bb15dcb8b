"""Progress of long work in the log, a line every few seconds."""

from __future__ import annotations

import time
from typing import Protocol

SECONDS_BETWEEN_LINES = 5


class Log(Protocol):
    """Where work is reported; Dagster's ``context.log`` and a standard logger both are one."""

    def info(self, msg: str) -> None:
        """Report what happens."""
        ...

    def warning(self, msg: str) -> None:
        """Report what an operator should know."""
        ...


class Progress:
    """Counts what is done, and logs count and rate at most once in a few seconds: every line is a row in the event log.

    Args:
        log: where to report.
        what: what is counted.
        total: how many there are, if that is known.
    """

    def __init__(self, log: Log, what: str, total: int | None = None) -> None:
        self._log, self._what, self._total = log, what, total
        self._started = self._reported = time.monotonic()
        self._done = 0

    def add(self, count: int = 1) -> None:
        """Count, and report when it is time."""
        self._done += count
        if time.monotonic() - self._reported >= SECONDS_BETWEEN_LINES:
            self.report()

    def report(self) -> None:
        """Log how much is done."""
        self._reported = time.monotonic()
        seconds = max(self._reported - self._started, 1e-9)
        of = f" of {self._total:,}" if self._total is not None else ""
        self._log.info(f"{self._done:,}{of} {self._what}, {self._done / seconds:,.0f}/s")
