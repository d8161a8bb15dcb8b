"""The front door in a process of its own, on a real socket, and clients that speak HTTP by hand."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from aperture_dagster.settings import Settings
from aperture_dagster_tests.programs import Program
from aperture_dagster_tests.waiting import wait_for
from aperture_dagster_tests.webserver import free_port

PROGRAM = """
import importlib, json, resource, sys
from aperture_dagster.front_door.app import FrontDoor, members_pages
from aperture_dagster.front_door.gate import Gate
from aperture_dagster.front_door.guard import AllowedHosts, Guard
from aperture_dagster.front_door.house import House
from aperture_dagster.front_door.proxies import Proxies
from aperture_dagster.front_door.server import serve
from aperture_dagster.postgres.database import ReadOnlyDatabase
from aperture_dagster.settings import load_settings
from aperture_dagster_tests.front_door.door import operators_ui

port, descriptors, given, changed = json.loads(sys.argv[1])
for name, value in changed.items():
    module, _, constant = name.rpartition(".")
    setattr(importlib.import_module(f"aperture_dagster.front_door.{module}"), constant, value)
resource.setrlimit(resource.RLIMIT_NOFILE, descriptors)
settings = load_settings(**given)
database = ReadOnlyDatabase(settings)
gate = Gate(settings, database)
door = FrontDoor(operators_ui(), members_pages(House(settings, database, gate)), gate)
guard = Guard(door, AllowedHosts("127.0.0.1", settings.ui_allowed_hosts))
serve(guard, Proxies(settings), host="127.0.0.1", port=port, log_level="warning")
"""


@dataclass(frozen=True)
class Got:
    """An answer, and the seconds that it took."""

    status: int
    headers: dict[str, str]
    text: str
    seconds: float


class Served:
    """The front door, as other machines reach it: ``source`` is the address that a client connects from."""

    def __init__(self, process: Program, port: int) -> None:
        self.process, self.port = process, port
        self.left: list[socket.socket] = []
        """Connections whose answers nobody waits for."""

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        """Open a connection."""
        client = socket.socket()
        client.settimeout(60)
        client.bind((source, 0))
        client.connect(("127.0.0.1", self.port))
        return client

    def send(self, method: str, path: str, source: str = "127.0.0.1", body: str = "", **headers: str) -> socket.socket:
        """Send a request, and return its connection."""
        head = {"host": "localhost", "connection": "close", "accept": "text/html"}
        head |= {name.replace("_", "-"): value for name, value in headers.items()}
        if body:
            head |= {"content-type": "application/x-www-form-urlencoded", "content-length": str(len(body))}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", body]
        client = self.connect(source)
        client.sendall("\r\n".join(lines).encode())
        return client

    def ask(self, path: str, source: str = "127.0.0.1", method: str = "GET", body: str = "", **headers: str) -> Got:
        """Send a request, and return the answer."""
        began = time.monotonic()
        with self.send(method, path, source, body, **headers) as client:
            return receive(client, began)


def receive(client: socket.socket, began: float) -> Got:
    """Read the answer to a request that was sent at a time."""
    content = b""
    while chunk := client.recv(65_536):
        content += chunk
    if not content:
        raise ConnectionError("there was no answer")
    head, _, text = content.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    pairs = [line.partition(": ") for line in lines]
    headers: dict[str, str] = {}
    for name, _, value in pairs:
        before = headers.get(name.lower())
        headers[name.lower()] = value if before is None else f"{before}, {value}"
    return Got(int(first.split()[1]), headers, text.decode("utf-8", "replace"), time.monotonic() - began)


def is_open(client: socket.socket) -> bool:
    """Tell whether the server has not ended a connection on which it said nothing."""
    client.setblocking(False)
    with suppress(BlockingIOError):
        try:
            return client.recv(1) != b""
        except ConnectionError:
            return False
    return True


def _as_text(value: Any) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


@contextmanager
def served(settings: Settings, descriptors: tuple[int, int] = (1024, 1024), **changed: Any) -> Iterator[Served]:
    """Serve the front door of a household with soft and hard limits of descriptors.

    ``changed`` are constants by module and name, such as ``server__HEAD_SECONDS``.
    """
    port = free_port()
    given: dict[str, Any] = {name: getattr(settings, name) for name in settings.model_fields_set}
    constants = {name.replace("__", ".", 1): value for name, value in changed.items()}
    process = Program(PROGRAM, json.dumps([port, descriptors, given, constants], default=_as_text))
    door = Served(process, port)

    def answers() -> bool:
        with suppress(OSError):
            return door.ask("/health").status == 200
        return False

    try:
        wait_for(answers, lambda: f"the front door does not start: {process.logged()}", process=process)
        yield door
    finally:
        for client in door.left:
            client.close()
        process.kill()
        process.wait()
