"""The clock of the stand-ins, which tests can move."""

from __future__ import annotations

import sys
import threading
import time
from bisect import bisect_right

CLOCK_REALTIME_COARSE = 5
"""Of Linux; Python does not name it."""


def _between_file_times() -> float:
    """Return a time after that of every file written before, and not after that of any written later, in Unix seconds.

    Linux stamps files with a clock that may be some milliseconds late: what is written next would look older than now.
    """
    now = time.time()
    if sys.platform != "linux":
        return now
    while (stamped := time.clock_gettime(CLOCK_REALTIME_COARSE)) <= now:
        time.sleep(0.001)
    return stamped


class Clock:
    """Real time plus an offset.

    Time can pass faster (`advance`), for the media server and for the files that it sees, or the server's clock alone
    can be wrong (`skew`).
    """

    def __init__(self) -> None:
        self._skew = 0.0
        self._moments = [0.0]
        self._offsets = [0.0]
        self._moved = threading.Condition()
        self.changes = 0
        """Number of changes so far. Waiting threads wake up when it grows."""

    def now(self) -> float:
        """Return the media server's time in Unix seconds."""
        return time.time() + self._offsets[-1] + self._skew

    def file_time(self, seconds: float) -> float:
        """Convert a time recorded by this machine's file system to the simulated time."""
        if len(self._offsets) == 1 or seconds > time.time() + 1:
            return seconds
        return seconds + self._offsets[bisect_right(self._moments, seconds) - 1]

    def advance(self, seconds: float) -> None:
        """Let time pass. Raises ValueError for a negative number."""
        if seconds < 0:
            raise ValueError("time passes in one direction only; use skew_clock for a wrong clock")
        with self._moved:
            self._moments.append(_between_file_times())
            self._offsets.append(self._offsets[-1] + seconds)
        self.notify()

    def skew(self, seconds: float) -> None:
        """Make the server's clock differ from that of this machine; negative: it runs behind."""
        self._skew = seconds
        self.notify()

    def notify(self) -> None:
        """Wake up waiting threads, as something may be due earlier now."""
        with self._moved:
            self.changes += 1
            self._moved.notify_all()

    def wait_until(self, moment: float | None, changes: int) -> None:
        """Wait until a moment (None: forever), or until ``changes`` differs from the given number."""
        with self._moved:
            while self.changes == changes:
                left = None if moment is None else moment - self.now()
                if left is not None and left <= 0:
                    return
                self._moved.wait(left)
