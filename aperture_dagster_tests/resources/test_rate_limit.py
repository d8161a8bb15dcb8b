"""A limit is never exceeded in any window, and used to the full."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

from aperture_dagster.resources.tmdb import Tmdb
from aperture_dagster.resources.transport import RateLimit, shared_limit
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
        limit.wait()
        starts.append(hands.now)
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
        limit.wait()
        with lock:
            starts.append(time.monotonic())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    # A thread may be late after its turn came, never early: so many starts take so long at least.
    assert max(starts) - min(starts) >= 0.2 * 3 * 0.95


def test_clients_of_one_service_share_the_limit_within_a_process():
    assert shared_limit("http://a", 40, 10.0) is shared_limit("http://a", 40, 10.0)
    assert shared_limit("http://a", 40, 10.0) is not shared_limit("http://b", 40, 10.0)


def test_the_service_itself_never_sees_more_than_the_limit_from_client_after_client():
    stand_ins = SimulatorSettings(tmdb_limit=(20, 0.5))
    with running_simulator(odd_world(NOW), stand_ins) as simulator:
        for _ in range(3):
            client = Tmdb.connect(simulator.tmdb_url, "demo-tmdb-key", requests=20, period_seconds=0.5, concurrency=4)
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda n, client=client: client.find("movie", imdb_id=f"tt{n}"), range(20)))
            client.close()
        assert simulator.state.tmdb_most_in_window() <= 20
        assert simulator.state.counters.statuses["tmdb"][429] == 0
