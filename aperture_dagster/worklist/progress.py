"""Progress of long work in the log, a line every few seconds."""

import logging
import time

from aperture_dagster.model.wording import duration

SECONDS_BETWEEN_LINES = 5


class Progress:
    """Counts what is done, and logs count and rate every few seconds: each line is a row in the event log."""

    def __init__(self, log: logging.Logger, what: str, total: int | None = None) -> None:
        self._log, self._what, self._total = log, what, total
        self._started = self._reported = time.monotonic()
        self._done = 0

    def add(self, count: int = 1) -> None:
        """Count, and report if the last line is old enough."""
        self._done += count
        if time.monotonic() - self._reported >= SECONDS_BETWEEN_LINES:
            self.report()

    def report(self) -> None:
        """Log how much is done."""
        self._reported = time.monotonic()
        seconds = max(self._reported - self._started, 1e-9)
        of = f" of {self._total:,}" if self._total is not None else ""
        self._log.info(f"{self._done:,}{of} {self._what}, {self._done / seconds:,.0f}/s")


def time_left(done: float, total: float, seconds: float) -> str:
    """Estimate in words how long the rest takes, at the pace of ``seconds`` so far; empty if that cannot be known."""
    if done <= 0 or done >= total or seconds <= 0:
        return ""
    return f"about {duration(max(round(seconds * (total - done) / done), 1))} left"
