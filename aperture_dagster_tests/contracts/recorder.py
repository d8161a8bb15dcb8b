"""Record the traffic between a client and the stand-ins, byte for byte."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.types import ASGIApp, Receive, Scope, Send

from aperture_dagster.simulator.server import RunningSimulator, Simulator, running
from aperture_dagster.simulator.settings import TMDB_PATH, SimulatorSettings
from aperture_dagster.simulator.world import World

Headers = tuple[tuple[str, str], ...]
# The specification's paths begin where its server's address ends, and hold the version.
_MOUNT = TMDB_PATH.removesuffix("/3")


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its response. ``path`` is as in the specification; header names are in lower case."""

    method: str
    path: str
    query_string: str
    request_headers: Headers
    request_body: bytes
    status: int
    answer_headers: Headers
    answer_body: bytes

    @property
    def query(self) -> list[tuple[str, str]]:
        """The query as sent, in order, including repeated names."""
        return parse_qsl(self.query_string, keep_blank_values=True, strict_parsing=bool(self.query_string))

    @property
    def appended(self) -> list[str]:
        """The parts that a TMDb request appends."""
        return [part for name, value in self.query if name == "append_to_response" for part in value.split(",")]

    def header(self, name: str, of: str = "answer") -> str:
        """Return a header's value, or ``""``."""
        return dict(self.answer_headers if of == "answer" else self.request_headers).get(name, "")

    def json(self) -> Any:
        """Parse the response."""
        return json.loads(self.answer_body)

    def but(self, *, query: list[tuple[str, str]] | None = None, content: Any = None, **facts: Any) -> Exchange:
        """Return a copy with another query, other JSON in the response, or other fields."""
        if query is not None:
            facts["query_string"] = urlencode(query)
        if content is not None:
            facts["answer_body"] = json.dumps(content).encode()
        return replace(self, **facts)

    def __str__(self) -> str:
        """Describe the request without the ids, which change from run to run."""
        path = re.sub(r"[0-9a-f]{32}", "…", self.path)
        return f"{self.method} {path} -> {self.status}"


class Recorder:
    """ASGI middleware that records every exchange with the stand-in of TMDb."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application
        self.exchanges: list[Exchange] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and record it with its response."""
        sent, received = bytearray(), bytearray()
        start: MutableMapping[str, Any] = {}

        async def receiving() -> MutableMapping[str, Any]:
            message = await receive()
            sent.extend(message.get("body", b""))
            return message

        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            received.extend(message.get("body", b""))
            # Record before sending, so that a client with the response finds the exchange.
            if message["type"] == "http.response.body" and not message.get("more_body"):
                self._keep(scope, bytes(sent), start, bytes(received))
            await send(message)

        await self._application(scope, receiving, sending)

    def _keep(self, scope: Scope, sent: bytes, start: MutableMapping[str, Any], received: bytes) -> None:
        raw_path = scope["raw_path"].decode("latin-1")
        if not raw_path.startswith(f"{_MOUNT}/"):
            return
        self.exchanges.append(
            Exchange(
                scope["method"],
                raw_path.removeprefix(_MOUNT),
                scope["query_string"].decode("latin-1"),
                _text(scope["headers"]),
                sent,
                start["status"],
                _text(start["headers"]),
                received,
            )
        )


def _text(headers: list[tuple[bytes, bytes]]) -> Headers:
    return tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers)


@contextmanager
def recorded(world: World, settings: SimulatorSettings | None = None) -> Iterator[tuple[RunningSimulator, Recorder]]:
    """Serve a world over HTTP with a recorder."""
    simulator = Simulator(world, settings)
    recorder = Recorder(simulator.app)
    simulator.app = recorder
    with running(simulator) as served:
        yield served, recorder
