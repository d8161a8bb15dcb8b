"""Counters, rate limits and daily quotas of the stand-ins."""

from __future__ import annotations

import os
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path

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
        if requests < 1 or seconds <= 0:
            raise ValueError("a rate limit needs at least one request and a window longer than 0 seconds")
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
