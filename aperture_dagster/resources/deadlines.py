"""Network connections with a deadline, for httpx, which limits each read but not a request as a whole."""

from __future__ import annotations

import math
import ssl
import threading
import time
from collections.abc import Iterable
from typing import Any

import httpcore

# How long a read may block before it checks for cancellation.
POLL_SECONDS = 1.0


class BoundedBackend(httpcore.SyncBackend):
    """Connections whose reads and writes end at a deadline of the calling thread, or when cancelled."""

    def __init__(self, cancelled: threading.Event) -> None:
        self._cancelled = cancelled
        self._of_thread = threading.local()

    def start(self, seconds: float) -> None:
        """Start the deadline of this thread's next request."""
        self._of_thread.deadline = time.monotonic() + seconds

    def left(self, timeout: float | None, error: type[Exception]) -> float:
        """Return the seconds that an operation may take; raise ``error`` after the deadline or a cancellation."""
        seconds = self._of_thread.deadline - time.monotonic()
        if seconds <= 0 or self._cancelled.is_set():
            raise error("the deadline of the request has passed")
        return seconds if timeout is None else min(timeout, seconds)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect within the deadline."""
        timeout = self.left(timeout, httpcore.ConnectTimeout)
        return _BoundedStream(super().connect_tcp(host, port, timeout, local_address, socket_options), self)


class _BoundedStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, backend: BoundedBackend) -> None:
        self._stream = stream
        self._backend = backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        until = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            try:
                patience = min(POLL_SECONDS, max(until - time.monotonic(), 0.001))
                return self._stream.read(max_bytes, self._backend.left(patience, httpcore.ReadTimeout))
            except httpcore.ReadTimeout:
                if time.monotonic() >= until:
                    raise
                self._backend.left(None, httpcore.ReadTimeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._backend.left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        timeout = self._backend.left(timeout, httpcore.ConnectTimeout)
        return _BoundedStream(self._stream.start_tls(ssl_context, server_hostname, timeout), self._backend)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
