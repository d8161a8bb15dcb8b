"""What the stand-ins count: requests, answers, and how close together they came."""

from __future__ import annotations

import os
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path

UNMODELLED_LOG = "SIMULATOR_UNMODELLED_LOG"
"""Environment variable with the path of a file to which every simulator appends what it was asked and does not model.

Tests set it: what a simulator in another process was asked fails them, too.
"""
_KEPT_ARRIVALS = 10_000
_DAY = 86_400


class Counters:
    """Requests by endpoint, answers by status, both by what was asked about; and when the last requests came."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._arrivals: deque[tuple[str, str, float]] = deque(maxlen=_KEPT_ARRIVALS)
        self.requests: dict[str, Counter[str]] = {}
        self.statuses: dict[str, Counter[int]] = {}
        self.asked: dict[str, Counter[str]] = {}
        self.answered: dict[str, Counter[str]] = {}
        self.costly: dict[str, Counter[str]] = {}
        self.unmodelled: list[str] = []

    def note_unmodelled(self, what: str) -> None:
        """Keep a sentence on something that was asked for and is not modelled."""
        self.unmodelled.append(what)
        log = os.environ.get(UNMODELLED_LOG)
        if log:
            with Path(log).open("a", encoding="utf-8") as file:
                file.write(f"{what}\n")

    def count_costly(self, service: str, habit: str) -> None:
        """A request that a real server could answer only by working through all of its library."""
        self.costly.setdefault(service, Counter())[habit] += 1

    def costly_total(self, service: str, habit: str = "") -> int:
        """Such requests, all or those of one kind."""
        counts = self.costly.get(service, Counter())
        return counts[habit] if habit else sum(counts.values())

    def count(self, service: str, endpoint: str, target: str = "") -> None:
        """One more request, of this path and query."""
        self._arrivals.append((service, target, self._clock()))
        self.requests.setdefault(service, Counter())[endpoint] += 1

    def count_status(self, service: str, status: int) -> None:
        """One more answer; a connection that was cut counts as status 0."""
        self.statuses.setdefault(service, Counter())[status] += 1

    def count_subjects(self, service: str, subjects: Sequence[str], *, answered: bool) -> None:
        """One more question about each of these, and whether it was answered in full."""
        if subjects:
            self.asked.setdefault(service, Counter()).update(subjects)
            if answered:
                self.answered.setdefault(service, Counter()).update(subjects)

    def reset(self) -> None:
        """Start at zero."""
        self._arrivals.clear()
        for counts in (self.requests, self.statuses, self.asked, self.answered, self.costly):
            counts.clear()
        self.unmodelled.clear()

    def total(self, service: str, endpoint_contains: str = "") -> int:
        """Requests of a service whose endpoint's name holds a text."""
        return sum(n for endpoint, n in self.requests.get(service, Counter()).items() if endpoint_contains in endpoint)

    def arrivals(self, service: str, target_contains: str = "") -> list[tuple[str, float]]:
        """Path and query, and time in seconds of a clock, of those of the last requests whose target holds a text."""
        return [(target, at) for name, target, at in self._arrivals if name == service and target_contains in target]

    def snapshot(self) -> dict[str, dict[str, dict[str, int]]]:
        """``{service: {"requests": {endpoint: n}, "statuses": {status: n}}}``."""
        return {
            service: {
                "requests": dict(sorted(endpoints.items())),
                "statuses": {str(status): n for status, n in sorted(self.statuses.get(service, Counter()).items())},
            }
            for service, endpoints in sorted(self.requests.items())
        }


class Arrivals:
    """When all requests came, by a clock of the stand-ins' own."""

    def __init__(self, seconds: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        """Length of the window that is looked at unless another is asked for."""
        self._clock = clock
        self._arrivals = array("d")

    def arrive(self) -> float:
        """One more request. Returns its time, in seconds of the clock."""
        now = self._clock()
        self._arrivals.append(now)
        return now

    def most_in_window(self, seconds: float | None = None) -> int:
        """The most arrivals, refused ones included, in any window of this length (default: its own)."""
        length = self.seconds if seconds is None else seconds
        most = start = 0
        for end, arrival in enumerate(self._arrivals):
            while self._arrivals[start] <= arrival - length:
                start += 1
            most = max(most, end - start + 1)
        return most

    @property
    def arrivals(self) -> list[float]:
        """Times of all arrivals, in seconds of the clock."""
        return self._arrivals.tolist()

    def reset(self) -> None:
        """Forget the record; what a limit admitted lately still counts against it."""
        del self._arrivals[:]


class RateLimit(Arrivals):
    """A sliding window: at most ``requests`` in any ``seconds``."""

    def __init__(self, requests: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        if requests < 1 or seconds <= 0:
            raise ValueError("a rate limit needs at least one request and a window longer than nothing")
        super().__init__(seconds, clock)
        self.requests = requests
        self._accepted: deque[float] = deque()

    def admit(self) -> bool:
        """Whether one more request is within the limit now. Refused ones do not count against it."""
        now = self.arrive()
        while self._accepted and self._accepted[0] <= now - self.seconds:
            self._accepted.popleft()
        if len(self._accepted) >= self.requests:
            return False
        self._accepted.append(now)
        return True


class DailyQuota:
    """So many requests a day (UTC). The stand-ins' day may be ahead of the clock's."""

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
        """Requests that were admitted today."""
        today = self._today()
        if today != self._day:
            self._day, self._used = today, 0
        return self._used

    @property
    def remaining(self) -> int:
        """Requests that will still be admitted today."""
        return max(0, self.limit - self.used)

    @property
    def resets_at(self) -> int:
        """When the next day begins, as a Unix time."""
        return (self._today() + 1) * _DAY

    @property
    def seconds_left(self) -> int:
        """How long today still lasts by the clock, at least a second."""
        return _DAY - int(self._clock() % _DAY)

    def take(self, requests: int = 1) -> bool:
        """Use some up; False, and nothing used, when there are none left."""
        if self.remaining == 0:
            return False
        self._used += requests
        return True

    def start_day(self) -> None:
        """It is the next day already."""
        self._days_ahead += 1
