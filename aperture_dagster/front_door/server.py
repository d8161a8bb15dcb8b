"""The server below the front door: uvicorn, with limits on connections that uvicorn lacks.

uvicorn limits neither how many connections are open, nor how long a client may take to send the head of a request, nor
how long that head may be. (hypercorn and granian limit the time at most.) A connection that stays silent costs a
descriptor, and a process that runs out of descriptors does nothing at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import logging
import resource
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from aperture_dagster.front_door.proxies import Forwarding, Proxies
from aperture_dagster.settings.types import address_of

_LOG = logging.getLogger(__name__)
HEAD_SECONDS = 10.0
"""Time for a client to send the head of its next request."""
LARGEST_HEAD = 65_536
MOST_CONNECTIONS = 1_000
MOST_OF_CLIENT = 200
"""Connections of a client, and its requests at once, which a proxy may forward. A household may be one client."""
STOP_SECONDS = 2
"""Time for requests to end, some of which wait for a service, when the server stops."""
NOT_STARTED = 3
"""Exit code, as uvicorn's own, of a server that could not be started."""
SPARE_DESCRIPTORS = 400
"""What else the process opens, and connections that were accepted but not counted yet."""


def network_of(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or the /64 of an IPv6 address; empty for anything else."""
    found = address_of(address)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found or "")


class Connections:
    """The open connections of a server, within limits.

    At a limit, the oldest connection that still waits for the head of a request is closed; if every connection has sent
    one, the new connection is closed. Silent connections therefore cost nobody else anything, from however many
    addresses they come.

    Args:
        most: connections in all.
        most_of_client: connections of an address or IPv6 network.
        is_shared: tells whether many clients share an address, as they do behind a proxy.
    """

    def __init__(
        self, most: int, most_of_client: int = MOST_OF_CLIENT, is_shared: Callable[[str], bool] = lambda _: False
    ) -> None:
        self._most, self._most_of_client, self._is_shared = most, most_of_client, is_shared
        self._open: dict[asyncio.Transport, str] = {}
        self._of_client: Counter[str] = Counter()
        self._waiting: dict[asyncio.Transport, None] = {}
        self._upgraded: set[asyncio.Transport] = set()

    def admit(self, transport: asyncio.Transport, address: str) -> bool:
        """Count a new connection, which waits for a head; False if there is no room for it."""
        for upgraded in [one for one in self._upgraded if one.is_closing()]:
            self.release(upgraded)
        client = "" if self._is_shared(address) else network_of(address)
        if client and self._of_client[client] >= self._most_of_client and not self._evict(client):
            return False
        if len(self._open) >= self._most and not self._evict():
            return False
        self._open[transport] = client
        self._of_client[client] += 1
        self._waiting[transport] = None
        return True

    def is_waiting(self, transport: asyncio.Transport) -> bool:
        """Tell whether a connection waits for a head."""
        return transport in self._waiting

    def wait(self, transport: asyncio.Transport) -> None:
        """Note that a connection waits for a head again."""
        if transport in self._open:
            self._waiting[transport] = None

    def serve(self, transport: asyncio.Transport) -> None:
        """Note that the head has arrived."""
        self._waiting.pop(transport, None)

    def upgrade(self, transport: asyncio.Transport) -> None:
        """Note that the connection carries a WebSocket, whose end nobody announces."""
        if transport in self._open:
            self._upgraded.add(transport)

    def release(self, transport: asyncio.Transport) -> None:
        """Forget a connection that has ended."""
        client = self._open.pop(transport, None)
        self._waiting.pop(transport, None)
        self._upgraded.discard(transport)
        if client is not None:
            self._of_client[client] -= 1
            if not self._of_client[client]:
                del self._of_client[client]

    def _evict(self, client: str | None = None) -> bool:
        oldest = next((one for one in self._waiting if client is None or self._open[one] == client), None)
        if oldest is not None:
            self.release(oldest)
            oldest.abort()
        return oldest is not None


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol on connections that are counted, and that end unless a head arrives in time."""

    open_connections: Connections
    _deadline: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Admit a connection, or end it."""
        super().connection_made(transport)
        if self.open_connections.admit(transport, self.client[0] if self.client else ""):
            self._await_head()
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        self.open_connections.release(self.transport)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass data on; end the connection if the head is too large."""
        super().data_received(data)
        if self._deadline is not None:
            self._head_bytes += len(data)
            if self._head_bytes > LARGEST_HEAD:
                self.transport.abort()

    def on_headers_complete(self) -> None:
        """Begin a request."""
        self._stop_waiting()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """End a request, and wait for the next one."""
        super().on_response_complete()
        if not self.pipeline and not self.transport.is_closing():
            self._await_head()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over, which still counts."""
        self.open_connections.upgrade(self.transport)
        super().handle_websocket_upgrade()

    def _await_head(self) -> None:
        self._stop_waiting()
        self.open_connections.wait(self.transport)
        self._deadline, self._head_bytes = self.loop.call_later(HEAD_SECONDS, self.transport.abort), 0

    def _stop_waiting(self) -> None:
        self.open_connections.serve(self.transport)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class FairShare:
    """Middleware that limits the requests of a client at once, wherever its connections come from.

    A proxy's connections carry the requests of many clients, which can be told apart only one by one.
    """

    def __init__(self, app: ASGIApp, most: int = MOST_OF_CLIENT) -> None:
        self._app, self._most = app, most
        self._running: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it with status 429."""
        client = network_of(scope["client"][0]) if scope.get("client") else ""
        if not client:
            await self._app(scope, receive, send)
        elif self._running[client] >= self._most:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1013})
                return
            answer = PlainTextResponse("Too many requests at once.\n", 429, {"retry-after": "1"})
            await answer(scope, receive, send)
        else:
            self._running[client] += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._running[client] -= 1
                if not self._running[client]:
                    del self._running[client]


def raise_descriptor_limit() -> int:
    """Raise the soft limit of descriptors to the hard one; return the limit.

    The soft limit is 1,024 in most places for the sake of programs that use ``select``, which this process does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError) as error:
        # macOS has a hard limit that it does not allow.
        _LOG.info("the limit of descriptors stays at %d: %s", soft, error)
        return soft
    return hard


def leave_loaded_modules_alone() -> None:
    """Keep the garbage collector away from everything that is loaded by now.

    A full collection searches all of it. With Dagster loaded, the request that happens to cause one waits 0.2 s.
    """
    gc.collect()
    gc.freeze()


def create_server(app: ASGIApp, proxies: Proxies | None = None, **options: Any) -> uvicorn.Server:
    """Create a server with limits.

    Args:
        app: the application.
        proxies: those that say whose requests they forward; without them, nobody does, and nobody is remembered.
        options: what is passed to ``uvicorn.Config``.
    """
    descriptors = raise_descriptor_limit()
    # RLIM_INFINITY is negative.
    most = MOST_CONNECTIONS if descriptors < 0 else min(MOST_CONNECTIONS, descriptors - SPARE_DESCRIPTORS)

    class Protocol(LimitedProtocol):
        open_connections = Connections(max(most, 50), is_shared=proxies.trusts if proxies else lambda _: False)

    # uvicorn's own would trust what its environment says.
    served: ASGIApp = FairShare(app) if proxies is None else Forwarding(FairShare(app), proxies)
    stopping = {"timeout_graceful_shutdown": STOP_SECONDS}
    return uvicorn.Server(uvicorn.Config(served, http=Protocol, proxy_headers=False, **stopping, **options))


def run(server: uvicorn.Server, listening: socket.socket | None = None) -> None:
    """Run a server in the main thread until it is told to end, or a signal arrives; after SIGTERM the exit code is 0.

    ``listening`` is a socket to serve, in place of one at the server's own address. It stays open.
    """
    leave_loaded_modules_alone()
    # Once it has stopped, uvicorn raises the signal again. Stopping when told to is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # It closes the sockets that it is given.
    with contextlib.suppress(KeyboardInterrupt):
        server.run(None if listening is None else [listening.dup()])
    if not server.started:
        sys.exit(NOT_STARTED)


def serve(
    app: ASGIApp, proxies: Proxies | None = None, *, listening: socket.socket | None = None, **options: Any
) -> None:
    """Run a server of an application, as :func:`create_server` and :func:`run` say."""
    run(create_server(app, proxies, **options), listening)
