"""Connections that end at a deadline or when cancelled, for httpx, which limits each read but not a whole request."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx


class _Connection:
    """The connection of one thread, and the socket that it has now."""

    def __init__(self, **options: Any) -> None:
        self.client = httpx.Client(**options, limits=httpx.Limits(max_connections=1))
        self._socket: socket.socket | None = None
        self._is_cut = False

    def begin(self) -> None:
        """Begin a request."""
        self._is_cut = False

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Note the socket whenever one is connected; httpx calls this for every step of a request."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._socket = info["return_value"].get_extra_info("socket")
            if self._is_cut:
                self.cut()

    def cut(self) -> None:
        """End the request, in another thread: what waits for the socket, or will when it is connected."""
        self._is_cut = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


class Connections:
    """A connection for each thread; ``options`` are those of :class:`httpx.Client`."""

    def __init__(self, **options: Any) -> None:
        self.cancelled = threading.Event()
        self._options = options
        self._of_thread = threading.local()
        self._all: list[_Connection] = []

    def cancel(self) -> None:
        """End all requests; those that begin later end at once."""
        self.cancelled.set()
        for connection in [*self._all]:
            connection.cut()

    def close(self) -> None:
        """Cancel what is under way and close the connections."""
        self.cancel()
        for connection in [*self._all]:
            connection.client.close()

    @contextmanager
    def stream(self, method: str, url: httpx.URL, *, seconds: float, **request: Any) -> Iterator[httpx.Response]:
        """Send a request and stream its answer, both within so many seconds.

        Raises:
            httpx.ReadTimeout: the time is over.
            httpx.HTTPError: any other failure, also after :meth:`cancel`.
        """
        connection = self._connection()
        connection.begin()
        if self.cancelled.is_set():
            raise httpx.ReadError("cancelled")
        over = threading.Event()

        def end() -> None:
            over.set()
            connection.cut()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            with connection.client.stream(method, url, extensions={"trace": connection.trace}, **request) as response:
                yield response
            # An answer without a length would seem complete where it was cut.
            if over.is_set() or self.cancelled.is_set():
                raise httpx.ReadError("cut off")
        except httpx.HTTPError:
            if over.is_set():
                raise httpx.ReadTimeout("the deadline of the request has passed") from None
            raise
        finally:
            timer.cancel()

    def _connection(self) -> _Connection:
        found: _Connection | None = getattr(self._of_thread, "connection", None)
        if found is None:
            found = self._of_thread.connection = _Connection(**self._options)
            self._all.append(found)
        return found
