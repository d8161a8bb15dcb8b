"""The clock of the stand-ins, which tests can move."""

from __future__ import annotations

import threading
import time


class Clock:
    """Real time plus an offset."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._moved = threading.Condition()

    def now(self) -> float:
        """Return the time in Unix seconds."""
        return time.time() + self._offset

    def advance(self, seconds: float) -> None:
        """Move the clock. A negative number makes it run behind."""
        with self._moved:
            self._offset += seconds
            self._moved.notify_all()

    def notify(self) -> None:
        """Wake up whoever waits for a time, since there may be an earlier one to wait for."""
        with self._moved:
            self._moved.notify_all()

    def wait_until(self, moment: float | None) -> None:
        """Wait until a moment (None: forever), or until the clock is moved or `notify` is called."""
        with self._moved:
            left = None if moment is None else moment - self.now()
            if left is None or left > 0:
                self._moved.wait(left)
