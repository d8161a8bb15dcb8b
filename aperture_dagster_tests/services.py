"""A scripted web server, for what the stand-ins do not do."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.http.client import ServiceClient
from aperture_dagster.http.transport import Transport
from aperture_dagster.simulator.server import RunningSimulator, running_simulator
from aperture_dagster.simulator.worlds import odd_world

NOW = datetime(2026, 5, 17, 15, 30, tzinfo=UTC)
CERTIFICATES = Path(__file__).with_name("certificates")


@dataclass
class Answer:
    """An answer: any body, JSON unless it is text or bytes; ``missing`` bytes are announced and never sent."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0
    missing: int = 0

    def content(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()


@dataclass
class Asked:
    """A request as received."""

    method: str
    target: str
    headers: dict[str, str]
    body: Any
    at: float


class Scripted:
    """Returns the answers in turn, and the last one forever; a function makes the answer from the request."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answers: list[Answer | Callable[[Asked], Answer]] = [Answer({})]
        self.asked: list[Asked] = []
        self._lock = threading.Lock()
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                asked = Asked(
                    self.command,
                    self.path,
                    {name.lower(): value for name, value in self.headers.items()},
                    json.loads(body) if body else None,
                    time.monotonic(),
                )
                with scripted._lock:
                    scripted.asked.append(asked)
                    made = scripted.answers.pop(0) if len(scripted.answers) > 1 else scripted.answers[0]
                made = made if isinstance(made, Answer) else made(asked)
                time.sleep(made.delay)
                content = made.content()
                try:
                    self.send_response(made.status)
                    for name, value in {"content-type": "application/json", **made.headers}.items():
                        self.send_header(name, value)
                    self.send_header("content-length", str(len(content) + made.missing))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    self.close_connection = True

            do_GET = do_POST = answer

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def say(self, *answers: Answer | Callable[[Asked], Answer]) -> None:
        self.answers = list(answers)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    server = Scripted()
    yield server
    server.close()


@pytest.fixture
def scripted_tls() -> Iterator[Scripted]:
    """The same with a self-signed certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "certificate.pem", CERTIFICATES / "key.pem")
    server = Scripted(context)
    yield server
    server.close()


@pytest.fixture
def transport(scripted: Scripted) -> Iterator[Callable[..., Transport]]:
    """Make a transport to the scripted server with short waits."""
    made: list[Transport] = []

    def make(url: str | None = None, **how: Any) -> Transport:
        quick: dict[str, Any] = {"attempts": 3, "first_wait_seconds": 0.01, "timeout_seconds": 5}
        made.append(ServiceClient("The service", url or scripted.url, **quick | how).transport)
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def odd() -> Iterator[RunningSimulator]:
    """The stand-ins with the odd world, for a single test."""
    with running_simulator(odd_world(NOW)) as running:
        yield running


@pytest.fixture(scope="session")
def steady() -> Iterator[RunningSimulator]:
    """The stand-ins with the odd world, shared by tests that do not change it."""
    with running_simulator(odd_world(NOW)) as running:
        yield running
