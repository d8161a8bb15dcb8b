"""What the stand-ins count: requests, answers, and how close together they came."""

from __future__ import annotations

import time
from array import array
from collections import Counter, deque
from collections.abc import Callable

_KEPT_ARRIVALS = 10_000


class Counters:
    """Requests by service and endpoint, answers by service and status; and when the last requests came."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._arrivals: deque[tuple[str, str, float]] = deque(maxlen=_KEPT_ARRIVALS)
        self.requests: dict[str, Counter[str]] = {}
        self.statuses: dict[str, Counter[int]] = {}

    def count(self, service: str, endpoint: str, target: str = "") -> None:
        """One more request, of this path and query."""
        self._arrivals.append((service, target, self._clock()))
        self.requests.setdefault(service, Counter())[endpoint] += 1

    def count_status(self, service: str, status: int) -> None:
        """One more answer; a connection that was cut counts as status 0."""
        self.statuses.setdefault(service, Counter())[status] += 1

    def reset(self) -> None:
        """Start at zero."""
        self._arrivals.clear()
        self.requests.clear()
        self.statuses.clear()

    def total(self, service: str, endpoint_contains: str = "") -> int:
        """Requests of a service whose endpoint's name holds a text."""
        return sum(n for endpoint, n in self.requests.get(service, Counter()).items() if endpoint_contains in endpoint)

    def arrivals(self, service: str, target_contains: str = "") -> list[float]:
        """When a service got those of the last requests whose path and query hold a text, in seconds of a clock."""
        return [at for name, target, at in self._arrivals if name == service and target_contains in target]

    def snapshot(self) -> dict[str, dict[str, dict[str, int]]]:
        """``{service: {"requests": {endpoint: n}, "statuses": {status: n}}}``."""
        return {
            service: {
                "requests": dict(sorted(endpoints.items())),
                "statuses": {str(status): n for status, n in sorted(self.statuses.get(service, Counter()).items())},
            }
            for service, endpoints in sorted(self.requests.items())
        }


class RateLimit:
    """A sliding window: at most ``requests`` in any ``seconds``, by its own clock. Records every arrival."""

    def __init__(self, requests: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        if requests < 1 or seconds <= 0:
            raise ValueError("a rate limit needs at least one request and a window longer than nothing")
        self.requests = requests
        self.seconds = seconds
        self._clock = clock
        self._accepted: deque[float] = deque()
        self._arrivals = array("d")

    def admit(self) -> bool:
        """Whether one more request is within the limit now. Refused ones do not count against it."""
        now = self._clock()
        self._arrivals.append(now)
        while self._accepted and self._accepted[0] <= now - self.seconds:
            self._accepted.popleft()
        if len(self._accepted) >= self.requests:
            return False
        self._accepted.append(now)
        return True

    def most_in_window(self, seconds: float | None = None) -> int:
        """The most arrivals, refused ones included, in any window of this length (default: the limit's)."""
        length = self.seconds if seconds is None else seconds
        most = start = 0
        for end, arrival in enumerate(self._arrivals):
            while self._arrivals[start] <= arrival - length:
                start += 1
            most = max(most, end - start + 1)
        return most

    @property
    def arrivals(self) -> list[float]:
        """Times of all arrivals, in seconds of the window's clock."""
        return self._arrivals.tolist()

    def reset(self) -> None:
        """Forget the record; what was admitted lately still counts against the limit."""
        del self._arrivals[:]
