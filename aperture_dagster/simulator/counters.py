"""The clock of the stand-ins, which tests can move; counters, rate limits and daily quotas."""

from __future__ import annotations

import os
import sys
import threading
import time
from array import array
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path

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


UNMODELLED_LOG = "SIMULATOR_UNMODELLED_LOG"
"""Environment variable with the path of a file to which every simulator appends the unmodelled requests it gets.

Tests set it, so that an unmodelled request to a simulator in another process fails them, too.
"""
_KEPT_ARRIVALS = 10_000
_DAY = 86_400


class Counters:
    """Requests by operation, responses by status, both also by subject, and the times of the last requests."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._arrivals: deque[tuple[str, str, float]] = deque(maxlen=_KEPT_ARRIVALS)
        self.requests: dict[str, Counter[str]] = {}
        self.statuses: dict[str, Counter[int]] = {}
        self.asked: dict[str, Counter[str]] = {}
        self.answered: dict[str, Counter[str]] = {}
        self.costly: dict[str, Counter[str]] = {}
        self.unmodelled: list[str] = []

    def note_unmodelled(self, message: str) -> None:
        """Record a request that the stand-in does not model."""
        self.unmodelled.append(message)
        log = os.environ.get(UNMODELLED_LOG)
        if log:
            with Path(log).open("a", encoding="utf-8") as file:
                file.write(f"{message}\n")

    def count_costly(self, service: str, habit: str) -> None:
        """Count a request that makes a real server scan its whole library."""
        self.costly.setdefault(service, Counter())[habit] += 1

    def costly_total(self, service: str, habit: str = "") -> int:
        """Return the number of such requests, of one habit or of all."""
        counts = self.costly.get(service, Counter())
        return counts[habit] if habit else sum(counts.values())

    def count(self, service: str, operation: str, target: str) -> None:
        """Count a request; ``target`` is its path and query."""
        self._arrivals.append((service, target, self._clock()))
        self.requests.setdefault(service, Counter())[operation] += 1

    def count_status(self, service: str, status: int) -> None:
        """Count a response; a connection that was cut off counts as status 0."""
        self.statuses.setdefault(service, Counter())[status] += 1

    def count_subjects(self, service: str, subjects: Sequence[str], *, answered: bool) -> None:
        """Count a request about each of these subjects, and whether it was answered in full."""
        if subjects:
            self.asked.setdefault(service, Counter()).update(subjects)
            if answered:
                self.answered.setdefault(service, Counter()).update(subjects)

    def reset(self) -> None:
        """Set all counters to zero."""
        self._arrivals.clear()
        for counts in (self.requests, self.statuses, self.asked, self.answered, self.costly):
            counts.clear()
        self.unmodelled.clear()

    def total(self, service: str, operation_contains: str = "") -> int:
        """Return the number of requests to operations of a service whose name contains a text."""
        counts = self.requests.get(service, Counter())
        return sum(count for operation, count in counts.items() if operation_contains in operation)

    def arrivals(self, service: str, target_contains: str = "") -> list[tuple[str, float]]:
        """Return target and monotonic time of the last requests whose target contains a text."""
        return [(target, at) for name, target, at in self._arrivals if name == service and target_contains in target]


class Arrivals:
    """The times of all requests, by a monotonic clock."""

    def __init__(self, seconds: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        """Default length of the window for `most_in_window`."""
        self._clock = clock
        self._arrivals = array("d")

    def arrive(self) -> float:
        """Record a request and return its time."""
        now = self._clock()
        self._arrivals.append(now)
        return now

    def most_in_window(self, seconds: float | None = None) -> int:
        """Return the most arrivals, including refused ones, in any window of this length."""
        length = self.seconds if seconds is None else seconds
        most = start = 0
        for end, arrival in enumerate(self._arrivals):
            while self._arrivals[start] <= arrival - length:
                start += 1
            most = max(most, end - start + 1)
        return most

    @property
    def arrivals(self) -> list[float]:
        """Times of all arrivals, in seconds."""
        return self._arrivals.tolist()

    def reset(self) -> None:
        """Clear the record. Requests that a limit admitted recently still count against it."""
        del self._arrivals[:]


class RateLimit(Arrivals):
    """A sliding window: at most ``requests`` in any ``seconds``."""

    def __init__(self, requests: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(seconds, clock)
        self.requests = requests
        self._accepted: deque[float] = deque()

    def admit(self) -> bool:
        """Record a request and return whether it is within the limit. Refused requests do not count against it."""
        now = self.arrive()
        while self._accepted and self._accepted[0] <= now - self.seconds:
            self._accepted.popleft()
        if len(self._accepted) >= self.requests:
            return False
        self._accepted.append(now)
        return True

    @property
    def seconds_left(self) -> float:
        """Seconds until the limit admits a request."""
        if len(self._accepted) < self.requests:
            return 0.0
        return max(0.0, self._accepted[0] + self.seconds - self._clock())


class DailyQuota:
    """A number of requests per day (UTC). Tests can start the next day early."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.time) -> None:
        self.limit = limit
        self._clock = clock
        self._days_ahead = 0
        self._day = self._today()
        self._used = 0

    def _today(self) -> int:
        return int(self._clock() // _DAY) + self._days_ahead

    @property
    def used(self) -> int:
        """Number of requests admitted today."""
        today = self._today()
        if today != self._day:
            self._day, self._used = today, 0
        return self._used

    @property
    def remaining(self) -> int:
        """Number of requests that will still be admitted today."""
        return max(0, self.limit - self.used)

    @property
    def resets_at(self) -> int:
        """When the next day begins, in Unix seconds."""
        return (self._today() + 1) * _DAY

    @property
    def seconds_left(self) -> int:
        """Seconds until midnight by the clock, at least one."""
        return _DAY - int(self._clock() % _DAY)

    def take(self, requests: int = 1) -> bool:
        """Use up requests. Returns False, and uses nothing, when none are left."""
        if self.remaining == 0:
            return False
        self._used += requests
        return True

    def start_day(self) -> None:
        """Start the next day now."""
        self._days_ahead += 1
