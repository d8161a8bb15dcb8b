"""Space requests evenly, just below the rate that a service allows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# Requests take different times to arrive. As long as these differ by no more than this, a service never sees one too
# many: N + 1 requests are sent at least a period and this much apart.
JITTER_SECONDS = 0.1
# How late a thread may wake up without delaying the schedule. Part of the jitter, so it must stay well below it.
CATCH_UP_SECONDS = 0.02


class Pacer:
    """Spaces the requests of all threads that share it by ``(period_seconds + 0.1) / requests``.

    The first request waits as well, because another process may have just sent one.
    """

    def __init__(self, requests: int, period_seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.spacing = (period_seconds + JITTER_SECONDS) / requests
        self._clock = clock
        self._next = clock() + self.spacing
        self._lock = threading.Lock()

    def wait(self, sleep: Callable[[float], None] = time.sleep) -> None:
        """Wait until the next request may be sent. Raises what ``sleep`` raises."""
        # The waiting thread holds the lock: the others could not send earlier anyway.
        with self._lock:
            while (seconds := self._next - self._clock()) > 0:
                sleep(seconds)
            self._next = max(self._next, self._clock() - CATCH_UP_SECONDS) + self.spacing
