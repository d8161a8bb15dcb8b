"""The clock of the stand-ins, which tests can move."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right


def _next_file_time() -> float:
    """Wait for the next time that the file system records, and return it, in Unix seconds.

    The kernel stamps files with a clock that stands still for some milliseconds: what is written next would look as if
    it had been written before.
    """
    coarse = getattr(time, "CLOCK_REALTIME_COARSE", None)
    if coarse is None:
        return time.time()
    before = time.clock_gettime(coarse)
    while (after := time.clock_gettime(coarse)) == before:
        time.sleep(0.001)
    return after


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
            self._moments.append(_next_file_time())
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
