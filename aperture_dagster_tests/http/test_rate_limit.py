"""A rate limit is never exceeded in any window, and almost fully used."""

from __future__ import annotations

import itertools
import threading
from random import Random

import pytest

from aperture_dagster.http.rate_limit import CATCH_UP_SECONDS, JITTER_SECONDS, Pacer
from aperture_dagster_tests.interleaving import Side, Stop, WatchedLock
from aperture_dagster_tests.waiting import SECONDS

# The clock is read when a pacer is made, to see whether to wait, and to note when the request was sent.
SEEN_TO_BE_FREE = 3
LIMITS = [(1, 1.0), (3, 1.0), (40, 10.0), (40, 1.0), (400, 10.0)]


class SetClock:
    """A clock that advances only when somebody sleeps, and wakes them up late."""

    def __init__(self, seed: int = 0, late: float = 0.0) -> None:
        self.now = 100.0
        self._random, self._late = Random(seed), late

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds + self._random.random() * self._late


def departures(pacer: Pacer, clock: SetClock, count: int, pauses: list[float]) -> list[float]:
    """Return the times at which ``count`` requests are sent, each requested a pause after the previous one."""
    times = []
    for number in range(count):
        clock.now += pauses[number % len(pauses)]
        pacer.wait(clock.sleep)
        times.append(clock.now)
    return times


def most_in_window(times: list[float], seconds: float) -> int:
    return max(sum(start <= other < start + seconds for other in times) for start in times)


@pytest.mark.parametrize(("requests", "seconds"), LIMITS)
@pytest.mark.parametrize("late", [0.0, 0.005, 0.2])
def test_no_window_of_the_service_holds_more_than_the_limit(requests: int, seconds: float, late: float):
    """Requests take different times to arrive."""
    random = Random(7)
    clock = SetClock(8, late)
    pauses = [random.choice((0, 0, 0, random.random() * seconds / requests, seconds * 3)) for _ in range(101)]
    times = departures(Pacer(requests, seconds, clock=lambda: clock.now), clock, 3 * requests + 200, pauses)
    arrivals = [time + random.random() * (JITTER_SECONDS - 0.02) for time in times]
    assert most_in_window(arrivals, seconds) <= requests


def test_requests_are_evenly_spaced_without_a_burst():
    clock = SetClock()
    pacer = Pacer(400, 10, clock=lambda: clock.now)
    clock.now += 60
    times = departures(pacer, clock, 400, [0.0])
    assert most_in_window(times, 1.0) <= 41


@pytest.mark.parametrize(("requests", "seconds", "share"), [(40, 10.0, 0.9), (400, 10.0, 0.9), (40, 1.0, 0.85)])
def test_the_limit_is_used_even_when_threads_wake_up_late(requests: int, seconds: float, share: float):
    clock = SetClock(5, late=0.004)
    times = departures(Pacer(requests, seconds, clock=lambda: clock.now), clock, 10 * requests + 1, [0.0])
    assert 10 * seconds / (times[-1] - times[0]) >= share


def test_the_first_request_waits_one_spacing():
    """A previous process may have just sent a request."""
    clock = SetClock()
    times: list[float] = []
    for _ in range(5):
        # Each is killed right after its last request.
        times += departures(Pacer(40, 10, clock=lambda: clock.now), clock, 20, [0.0])
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= 10.1 / 40 - 1e-9
    assert most_in_window(times, 10) <= 40


def test_of_two_threads_that_find_the_same_moment_free_one_waits_for_the_next():
    clock, lock, stop = SetClock(), WatchedLock(), Stop()
    sent: dict[int, float] = {}
    looks = itertools.count(1)

    def now() -> float:
        # The first thread has just seen that it may send, and notes that now.
        if next(looks) == SEEN_TO_BE_FREE:
            stop.arrive()
        sent[threading.get_ident()] = clock.now
        return clock.now

    def send() -> float:
        pacer.wait(clock.sleep)
        return sent[threading.get_ident()]

    pacer = Pacer(10, 0.9, clock=now)
    pacer._lock = lock  # pyright: ignore[reportAttributeAccessIssue]
    clock.now += 60
    first = Side(send)
    stop.wait_for(first)
    second = Side(send)
    lock.wait_until_wanted(second)
    stop.go_on()
    assert second.result(SECONDS) - first.result(SECONDS) >= pacer.spacing - CATCH_UP_SECONDS - 1e-9
