"""Connections that say nothing, or speak slowly, cost those who made them something, and nobody else."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aperture_dagster.front_door.server import HEAD_SECONDS, LARGEST_HEAD, MOST_OF_CLIENT, FairShare, network_of
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster_tests.databases import SpareDatabases
from aperture_dagster_tests.front_door.served import Served, is_open, served
from aperture_dagster_tests.marks import at_night
from aperture_dagster_tests.waiting import SECONDS, wait_for

SILENT = 1_300
OWN = "127.0.0.9"


@pytest.fixture(scope="module")
def of_all(spare_databases: SpareDatabases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings with a database that all tests read and none writes."""
    with spare_databases.one() as url:
        yield load_settings(home=tmp_path_factory.mktemp("home"), timezone="UTC", database_url=url)


@pytest.fixture(scope="module")
def door(of_all: Settings) -> Iterator[Served]:
    """The front door, with systemd's soft limit of descriptors, which cannot be raised; one for all tests."""
    with served(of_all) as opened:
        yield opened


@pytest.fixture(scope="module")
def hasty(of_all: Settings) -> Iterator[Served]:
    """The front door with less patience; one for all tests."""
    with served(of_all, server__HEAD_SECONDS=1.5, house__BODY_SECONDS=1.5) as opened:
        yield opened


def test_a_server_that_is_told_to_end_has_not_failed(of_all: Settings):
    with served(of_all) as door, door.connect() as silent:
        door.process.send_signal(signal.SIGTERM)
        assert door.process.wait(60) == 0 and not is_open(silent)


@pytest.mark.parametrize("addresses", [40, *at_night(1)])
def test_silent_connections_cost_nobody_else_anything(door: Served, addresses: int):
    silent: list[socket.socket] = []
    waits = [door.ask("/sign-in", OWN).seconds]
    for number in range(SILENT):
        silent.append(door.connect(f"127.0.1.{1 + number % addresses}"))
        if number % 100 == 0:
            got = door.ask("/sign-in", OWN)
            assert got.status == 200
            waits.append(got.seconds)
    # Somebody else at the same address gets through as well.
    assert door.ask("/sign-in", "127.0.1.1").status == 200
    assert max(waits) < 2, waits
    left = sum(map(is_open, silent))
    assert left <= MOST_OF_CLIENT * addresses and left < 1_024
    assert door.process.poll() is None and door.ask("/health", OWN).status == 200
    for client in silent:
        client.close()


def test_a_client_with_too_many_connections_loses_its_own(door: Served):
    quiet = door.connect(OWN)
    silent = [door.connect("127.0.1.1") for _ in range(MOST_OF_CLIENT + 20)]
    wait_for(lambda: sum(map(is_open, silent)) <= MOST_OF_CLIENT, lambda: "more are open than a client may have")
    assert is_open(quiet), "the oldest of all is somebody else's"
    for client in [quiet, *silent]:
        client.close()


@pytest.mark.nightly(
    reason="It waits for these ten seconds.",
    instead="front_door/test_connections.py::test_after_an_answer_the_next_head_has_as_long",
)
def test_a_head_has_to_arrive_within_ten_seconds_however_it_trickles_in(door: Served):
    began, client = time.monotonic(), door.connect()
    client.sendall(b"GET /sign-in HTTP/1.1\r\nhost: localhost\r\n")
    with pytest.raises(OSError):
        while True:
            client.sendall(b"x-more: 1\r\n")
            time.sleep(0.5)
            assert time.monotonic() - began < 2 * HEAD_SECONDS
    assert time.monotonic() - began > HEAD_SECONDS - 2


def test_after_an_answer_the_next_head_has_as_long(hasty: Served):
    client = hasty.connect()
    for _ in range(3):
        client.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        answer = b""
        while not answer.endswith(b"ok\n"):
            answer += client.recv(10_000)
    client.sendall(b"GET /health HTTP/1.1\r\n")
    wait_for(lambda: not is_open(client), lambda: "it is still open")


def test_what_belongs_to_no_request_keeps_no_connection_open(hasty: Served):
    """A body that nobody reads, which goes on after the answer."""
    began, client = time.monotonic(), hasty.connect()
    client.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n")
    with pytest.raises(OSError):
        while time.monotonic() - began < 60:
            client.sendall(b"x")
            time.sleep(0.1)


def test_a_form_that_trickles_in_is_given_up(hasty: Served):
    began = time.monotonic()
    with hasty.connect() as client:
        head = "POST /sign-in HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 100\r\n"
        client.sendall(f"{head}content-type: application/x-www-form-urlencoded\r\n\r\nname=".encode())
        client.settimeout(0.5)
        answer = b""
        while not answer:
            assert time.monotonic() - began < 2 * HEAD_SECONDS
            client.sendall(b"x")
            try:
                answer = client.recv(100)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408")


def test_a_head_without_an_end_is_not_kept_in_memory(door: Served):
    client, sent = door.connect(), 0
    client.sendall(b"GET /sign-in HTTP/1.1\r\nhost: localhost\r\n")
    with pytest.raises(OSError):
        while sent < 100 * LARGEST_HEAD:
            client.sendall(b"x-more: " + b"x" * 10_000 + b"\r\n")
            sent += 10_000
    assert sent < 100 * LARGEST_HEAD


def test_a_client_has_so_many_requests_at_once_and_others_are_not_affected(door: Served):
    """Forms whose end is missing, so that they are not answered yet."""
    form = {"content_type": "application/x-www-form-urlencoded", "content_length": "100"}
    busy = [door.send("POST", "/sign-in", "127.0.1.1", **form) for _ in range(MOST_OF_CLIENT)]
    time.sleep(0.5)
    with pytest.raises(OSError):
        got = door.ask("/sign-in", "127.0.1.1")
        raise OSError(got.status) if got.status == 429 else AssertionError(got.status)
    assert door.ask("/sign-in", OWN).status == 200
    for client in busy:
        client.close()
    deadline = time.monotonic() + 10
    while True:
        try:
            assert door.ask("/sign-in", "127.0.1.1").status == 200
            return
        except OSError:
            assert time.monotonic() < deadline


def test_the_soft_limit_of_descriptors_is_raised(of_all: Settings):
    with served(of_all, (1024, 4096)) as door:
        held = [door.connect(f"127.0.1.{1 + number % 40}") for number in range(950)]
        time.sleep(0.5)
        assert all(map(is_open, held)), "there is room for all"
        for client in held:
            client.close()


def test_many_clients_at_once_are_all_answered(door: Served):
    answers: list[int] = []

    def ask(number: int) -> None:
        answers.extend(door.ask("/sign-in", f"127.0.2.{number}").status for _ in range(10))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(1, 31)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert answers == [200] * 300


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.168.1.9", "192.168.1.9"), ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"), ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.168.1.9", "192.168.1.9"), ("::1", "::/64"), ("unknown", ""), ("", ""), ("192.168.1.9:80", ""),
    ],
)  # fmt: skip
def test_a_client_is_an_ipv4_address_or_a_network_of_64_bits(address: str, client: str):
    assert network_of(address) == client


async def _never(scope: Any, receive: Any, send: Any) -> None:
    await receive()


def test_websockets_count_among_the_requests_of_a_client():
    """Those of a browser with the operator's pages."""
    sent: list[Any] = []
    share = FairShare(_never, most=1)
    scope = {"type": "websocket", "client": ("192.168.1.9", 1)}

    async def run(send: Callable[..., Any]) -> None:
        over = asyncio.Event()
        first = asyncio.ensure_future(share(scope, over.wait, send))
        await asyncio.sleep(0)
        await share(scope, over.wait, send)
        over.set()
        await first
        await share(scope, over.wait, send)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    asyncio.run(run(send))
    assert sent == ["websocket.close"]


def test_no_request_waits_while_loaded_modules_are_searched_for_garbage():
    # The server starts, prints how many objects the collector leaves alone, and ends because the application refuses.
    code = """
import gc
from aperture_dagster.front_door.server import serve
async def refusing(scope, receive, send):
    print(gc.get_freeze_count() > 0.9 * len(gc.get_objects()))
    await send({"type": "lifespan.startup.failed"})
serve(refusing, host="127.0.0.1", port=0, log_level="critical")
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["True"], done.stderr
