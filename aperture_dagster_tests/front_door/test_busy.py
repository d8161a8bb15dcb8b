"""A media server that hangs costs what needs it, and nothing else: with real sockets, and a stand-in that hangs."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any
from urllib.parse import urlencode

import pytest

from aperture_dagster.front_door.lanes import Lane
from aperture_dagster.front_door.secrets import OPERATOR, read_secret
from aperture_dagster.front_door.sessions import COOKIE, Sessions
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.state import Picture
from aperture_dagster.simulator.world import WorldTitle
from aperture_dagster_tests.front_door.door import PASSWORD, Door
from aperture_dagster_tests.front_door.served import Got, Served, served
from aperture_dagster_tests.waiting import SECONDS

OWN = "127.0.0.9"
HANGS = 8.0


@dataclass
class Busy:
    """A household, its front door on a socket, and Ben's session."""

    door: Door
    served: Served
    item: str
    cookie: str

    def hang(self, path: str) -> None:
        """Let the media server answer what has this in its path after a while."""
        self.door.simulator.state.add_fault(FaultRule("jellyfin", path, kind="slow", delay_seconds=HANGS))

    def sign_in(self, source: str, name: str = "Ben") -> Got:
        return self.served.ask("/sign-in", source, "POST", urlencode({"name": name, "password": PASSWORD}))

    def picture(self, source: str = OWN, item: str | None = None) -> Got:
        return self.served.ask(f"/pictures/{item or self.item}", source, cookie=self.cookie)

    def fetched(self) -> int:
        return len(self.door.simulator.state.arrivals("jellyfin", "/Images/"))

    def check(self, since: float) -> list[Got]:
        """Ask for what needs no service, until the media server does not hang any more."""
        key, got = read_secret(self.door.settings, OPERATOR), list[Got]()
        while time.monotonic() - since < HANGS - 1:
            got += [self.served.ask(path, OWN) for path in ("/health", "/sign-in", "/static/aperture.css")]
            got.append(self.served.ask("/", OWN, cookie=self.cookie))
            got.append(self.served.ask("/operate/runs", OWN, authorization=f"Bearer {key}"))
            # As people ask: with pauses, in which the tests beside this one get on.
            time.sleep(0.2)
        return got


@pytest.fixture
def busy(open_door: Callable[..., Any]) -> Iterator[Busy]:
    with open_door(http_attempts=1) as door:
        door.home.recommend("Ben", 2)
        item = door.place("film-2", WorldTitle("movie:2", "movie", "Heat", tmdb_id=2))
        door.simulator.state.pictures["item", item, "primary"] = Picture("image/jpeg", b"poster")
        ben = door.simulator.state.user_named("Ben").id
        cookie = f"{COOKIE}={Sessions(door.settings).begin(ben, is_administrator=False)}"
        with served(door.settings) as opened:
            yield Busy(door, opened, item, cookie)


def at_once(*calls: Callable[[], Got]) -> tuple[list[Got], list[threading.Thread]]:
    """Make calls at the same time; return what will hold their answers, and the threads."""
    answers: list[Got] = []
    threads = [threading.Thread(target=lambda call=call: answers.append(call())) for call in calls]
    for thread in threads:
        thread.start()
    return answers, threads


def test_pages_and_health_do_not_wait_for_sign_ins_and_pictures_of_a_server_that_hangs(busy: Busy):
    busy.hang("AuthenticateByName")
    busy.hang("/Images/")
    # Pages want to know again whether Ben is still let in.
    busy.hang("/System/Info")
    busy.door.home.shelf.do("UPDATE sessions SET confirmed_at = confirmed_at - interval '1 hour'")
    began = time.monotonic()
    signing_in, first = at_once(*(lambda n=n: busy.sign_in(f"127.0.1.{n}", f"user {n}") for n in range(1, 46)))
    pictures, second = at_once(*(lambda n=n: busy.picture(f"127.0.2.{n}") for n in range(1, 61)))
    got = busy.check(began)
    assert {one.status for one in got} == {200}
    # A second each; the tests beside this one may use all processors for longer.
    assert median(one.seconds for one in got) < 1 and max(one.seconds for one in got) < HANGS / 2
    for thread in [*first, *second]:
        thread.join(SECONDS)
    refused = [one for one in signing_in if one.status == 503]
    assert len(refused) >= 30 and max(one.seconds for one in refused) < HANGS / 2
    assert all("too much to do" in one.text and one.headers["retry-after"] for one in refused)
    # Nobody waited longer than for one answer of the server.
    assert max(one.seconds for one in signing_in) < 2 * HANGS and max(one.seconds for one in pictures) < 20


@pytest.mark.nightly(
    reason="It waits for limits of seconds.",
    instead="front_door/test_busy.py::test_a_lane_is_free_again_after_calls_that_fail_and_calls_that_nobody_waits_for",
)
def test_one_client_does_not_take_all_places_of_those_who_sign_in(busy: Busy):
    busy.hang("AuthenticateByName")
    _, greedy = at_once(*(lambda n=n: busy.sign_in("127.0.1.1", f"user {n}") for n in range(20)))
    time.sleep(1)
    others, waiting = at_once(lambda: busy.sign_in(OWN))
    for thread in [*greedy, *waiting]:
        thread.join(SECONDS)
    assert others[0].status == 303


@pytest.mark.nightly(
    reason="It waits for a limit of seconds.",
    instead="front_door/test_busy.py::test_pages_and_health_do_not_wait_for_sign_ins_and_pictures_of_a_server_that_hangs",
)
def test_a_poster_that_the_server_does_not_send_is_given_up_and_not_asked_for_again(busy: Busy):
    busy.door.simulator.state.add_fault(FaultRule("jellyfin", "/Images/", kind="slow", delay_seconds=30))
    got = busy.picture()
    assert got.status == 404 and 4 < got.seconds < 20
    assert "max-age" in got.headers["cache-control"]
    asked = busy.fetched()
    again = [busy.picture() for _ in range(20)]
    assert {one.status for one in again} == {404} and max(one.seconds for one in again) < 4
    assert busy.fetched() == asked <= 1


def test_a_title_without_a_poster_is_asked_for_once(busy: Busy):
    busy.door.simulator.state.add_fault(FaultRule("jellyfin", "/Images/", status=404))
    assert {busy.picture().status for _ in range(5)} == {404}
    assert busy.fetched() == 1


def test_a_lane_is_free_again_after_calls_that_fail_and_calls_that_nobody_waits_for():
    over = threading.Event()

    async def run() -> None:
        lane = Lane(1, waiting=1, seconds=0.05)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await lane.run(lambda: 1 / 0)
        with pytest.raises(TimeoutError):
            await lane.run(over.wait, 30)
        with pytest.raises(TimeoutError):
            await lane.run(lambda: 1)
        over.set()
        deadline = time.monotonic() + 10
        while True:
            try:
                assert await lane.run(lambda: 2) == 2
                return
            except TimeoutError:
                assert time.monotonic() < deadline

    asyncio.run(run())
