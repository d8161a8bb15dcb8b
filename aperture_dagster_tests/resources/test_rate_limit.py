"""A limit is never exceeded in any window, and used to the full."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import pytest

from aperture_dagster.resources.rate_limit import RateLimit
from aperture_dagster.resources.tmdb import Tmdb
from aperture_dagster.simulator.odd_world import odd_world
from aperture_dagster.simulator.server import running_simulator
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster_tests.resources.conftest import NOW


class Hands:
    """A clock that stands still unless somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def limit(self, requests: int, seconds: float) -> RateLimit:
        return RateLimit(requests, seconds, clock=lambda: self.now, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def most_in_window(starts: list[float], seconds: float) -> int:
    return max(sum(start <= other < start + seconds for other in starts) for start in starts)


def starts_of(limit: RateLimit, hands: Hands, count: int, pauses: list[float]) -> list[float]:
    starts = []
    for number in range(count):
        hands.now += pauses[number % len(pauses)]
        turn = limit.wait()
        starts.append(hands.now)
        limit.answered(turn)
    return starts


@pytest.mark.parametrize(("requests", "seconds"), [(1, 1.0), (2, 0.1), (40, 10.0), (50, 1.0)])
def test_no_window_ever_holds_more_than_the_limit(requests: int, seconds: float):
    random = Random(7)
    for _ in range(5):
        hands = Hands()
        pauses = [random.choice((0, 0, random.random() * seconds, seconds * 3)) for _ in range(11)]
        starts = starts_of(hands.limit(requests, seconds), hands, 300, pauses)
        assert most_in_window(starts, seconds) <= requests


def test_it_works_at_the_limit_when_there_is_enough_to_do():
    hands = Hands()
    starts = starts_of(hands.limit(40, 10), hands, 401, [0.0])
    # 400 requests after the first, at 4 a second.
    assert (starts[-1] - starts[0]) <= 100 / 0.95


def test_a_burst_passes_at_once_after_a_rest():
    hands = Hands()
    limit = hands.limit(40, 10)
    assert set(starts_of(limit, hands, 40, [0.0])) == {100.0}
    hands.now += 11
    assert set(starts_of(limit, hands, 40, [0.0])) == {111.0}


def test_a_request_that_was_long_under_way_counts_from_its_answer():
    hands = Hands()
    limit = hands.limit(1, 10)
    turn = limit.wait()
    limit.sent(turn)
    hands.now += 7
    # The service may have got it only now.
    limit.answered(turn)
    limit.wait()
    assert hands.now >= 117


def test_threads_share_the_limit():
    starts: list[float] = []
    lock = threading.Lock()
    limit = RateLimit(10, 0.2)

    def work(_: int) -> None:
        turn = limit.wait()
        with lock:
            starts.append(time.monotonic())
        limit.answered(turn)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    # A thread may be late after its turn came, never early: so many starts take so long at least.
    assert max(starts) - min(starts) >= 0.2 * 3 * 0.95


def arrivals_of(
    limit: RateLimit, hands: Hands, answers: list[tuple[float, float]], late: Callable[[], float] = lambda: 1e-9
) -> list[float]:
    """Requests one after the other start; each arrives and is answered so many seconds after its start. Who sleeps
    wakes so much too late.
    """
    arrivals: list[float] = []
    under_way: list[tuple[float, Any]] = []
    for arrives, answered in answers:
        waits = limit.wait
        # Whatever is answered while the next one waits its turn is known by then.
        real_sleep = limit._sleep

        def sleep(seconds: float, real_sleep: Any = real_sleep) -> None:
            until = hands.now + seconds
            for moment, turn in sorted(under_way, key=lambda one: one[0]):
                if moment <= until:
                    hands.now = max(hands.now, moment)
                    limit.answered(turn)
                    under_way.remove((moment, turn))
            real_sleep(max(until - hands.now, 0.0) + late())

        limit._sleep = sleep
        turn = waits()
        limit._sleep = real_sleep
        limit.sent(turn)
        arrivals.append(hands.now + arrives)
        under_way.append((hands.now + answered, turn))
    return arrivals


def test_slow_answers_cost_little_of_the_rate_and_no_window_is_ever_too_full():
    random = Random(3)
    hands = Hands()
    # The service gets it within 20 ms, and thinks for 50-200 ms.
    answers = [(0.02 * random.random(), 0.05 + 0.15 * random.random()) for _ in range(801)]
    arrivals = arrivals_of(hands.limit(40, 1.0), hands, answers)
    assert most_in_window(sorted(arrivals), 1.0) <= 40
    assert (arrivals[-1] - arrivals[0]) <= 20 / 0.95


@pytest.mark.parametrize(("dawdling", "late"), [(0.042, 0.0), (0.042, 0.006)], ids=["dawdling", "dawdling and late"])
def test_requests_that_dawdle_fill_no_window_and_threads_that_wake_late_cost_little_of_the_rate(
    dawdling: float, late: float
):
    random = Random(4)
    hands = Hands()
    # One in nine comes so long after it was sent, the others after 5 ms; answers take their time anyway.
    answers = [(dawdling if n % 9 == 0 else 0.005, 0.05 + 0.15 * random.random()) for n in range(801)]
    arrivals = sorted(arrivals_of(hands.limit(40, 1.0), hands, answers, lambda: 1e-9 + late * random.random()))
    assert most_in_window(arrivals, 1.0) <= 40
    assert (arrivals[800] - arrivals[40]) <= 19 / 0.95


def test_a_request_that_waits_for_its_connection_counts_from_when_it_leaves():
    hands = Hands()
    limit = hands.limit(1, 1.0)
    first = limit.wait()
    looked = 0

    def sleep(seconds: float) -> None:
        nonlocal looked
        looked += 1
        hands.now += seconds
        if looked == 1_000:
            limit.sent(first)

    limit._sleep = sleep
    limit.wait()
    assert hands.now - (first.at or 0) >= 1.0
    assert (first.at or 0) > 101, "it had not left for longer than a whole period"


def test_a_service_that_stood_still_is_not_flooded_when_it_goes_on():
    random = Random(5)
    hands = Hands()
    answers = []
    for number in range(400):
        # Now and then requests lie half a second in front of its door.
        stuck = 0.5 if number % 100 in range(40, 52) else 0.0
        answers.append((stuck + 0.005, stuck + 0.05 + 0.01 * random.random()))
    arrivals = arrivals_of(hands.limit(40, 1.0), hands, answers)
    assert most_in_window(sorted(arrivals), 1.0) <= 40


def test_what_one_client_sent_counts_for_the_next():
    hands = Hands()
    first = hands.limit(40, 10)
    starts = starts_of(first, hands, 40, [0.1])
    second = hands.limit(40, 10)
    second.resume(first.ages())
    more = starts_of(second, hands, 40, [0.0])
    assert most_in_window(starts + more, 10) <= 40


def test_after_a_client_that_left_no_word_a_whole_period_passes():
    hands = Hands()
    limit = hands.limit(40, 10)
    limit.resume_unknown()
    assert starts_of(limit, hands, 40, [0.0])[0] >= 110


def test_the_service_itself_never_sees_more_than_the_limit_from_client_after_client():
    stand_ins = SimulatorSettings(tmdb_limit=(20, 0.5))
    with running_simulator(odd_world(NOW), stand_ins) as simulator:
        ages: list[float] = []
        for _ in range(3):
            limit = RateLimit(20, 0.5)
            limit.resume(ages)
            client = Tmdb.connect(simulator.tmdb_url, "demo-tmdb-key", limit=limit, concurrency=4)
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda n, client=client: client.find("movie", imdb_id=f"tt{n}"), range(20)))
            client.close()
            ages = limit.ages()
        assert simulator.state.tmdb_most_in_window() <= 20
        assert simulator.state.counters.statuses["tmdb"][429] == 0
