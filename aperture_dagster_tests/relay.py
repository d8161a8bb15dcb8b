"""A network between a client and PostgreSQL that a test can cut, in each of the ways in which networks end."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import make_url

from aperture_dagster_tests.waiting import SECONDS


class Relay:
    """A port of this machine that passes bytes on to a server.

    Attributes:
        url: address of the database by this port.
    """

    def __init__(self, url: str) -> None:
        target = make_url(url)
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = target.set(host="127.0.0.1", port=self._listener.getsockname()[1], query={}).render_as_string(
            hide_password=False
        )
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._servers: set[socket.socket] = set()
        self._is_cut = False
        self._closed = False
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._pass_on, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Pass nothing on, and tell neither side: packets are lost."""
        self._is_cut = True

    def end_sessions(self) -> None:
        """Close the server's side, as its own keepalives do after a cut."""
        with self._lock:
            for server in self._servers:
                with contextlib.suppress(OSError):
                    server.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Close both sides of every connection, as a restart of the server or of a firewall does."""
        with self._lock:
            for side in self._pairs:
                with contextlib.suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the relay and its connections."""
        self._closed = True
        self.reset()
        self._thread.join(SECONDS)
        for side in (*self._pairs, self._listener):
            side.close()

    def _pass_on(self) -> None:
        while not self._closed:
            for key, _ in self._selector.select(0.05):
                source = key.fileobj
                assert isinstance(source, socket.socket)
                if source is self._listener:
                    self._accept()
                elif not self._is_cut:
                    self._copy(source)
                else:
                    # Neither answered nor acknowledged by the other side.
                    with contextlib.suppress(OSError):
                        source.recv(65536)
                        if source in self._servers:
                            self._selector.unregister(source)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        query_host = self._target.query.get("host")
        host = self._target.host or (query_host if isinstance(query_host, str) else "")
        port = self._target.port or int(str(self._target.query.get("port", 5432)))
        if Path(host).is_dir():
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{host}/.s.PGSQL.{port}")
        else:
            server = socket.create_connection((host, port))
        with self._lock:
            self._pairs |= {client: server, server: client}
            self._servers.add(server)
        for side in (client, server):
            self._selector.register(side, selectors.EVENT_READ)

    def _copy(self, source: socket.socket) -> None:
        other = self._pairs[source]
        try:
            data = source.recv(65536)
            if data:
                other.sendall(data)
                return
        except OSError:
            pass
        self._selector.unregister(source)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def relay(url: str) -> Iterator[Relay]:
    """Open a relay to the server of a database during the block."""
    opened = Relay(url)
    try:
        yield opened
    finally:
        opened.close()
