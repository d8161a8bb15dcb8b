"""Ask a part of `aperture up` whether it works, with nothing but sockets: grpc alone would take more memory than the
supervisor has.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import time
from collections.abc import Iterator
from typing import Any

HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS = 0, 1, 4
END_STREAM, END_HEADERS = 1, 4
HEALTH_CHECK = b"/grpc.health.v1.Health/Check"
LONGEST_ANSWER = 1_000_000


class Interrupted(Exception):
    """A signal arrived before the answer."""


class Patience:
    """A time limit that ends early when a file descriptor can be read."""

    def __init__(self, seconds: float, interrupt: int | None = None) -> None:
        self._deadline = time.monotonic() + seconds
        self._interrupt = [] if interrupt is None else [interrupt]

    def wait(self, connection: socket.socket, *, to_write: bool = False) -> None:
        """Wait until a connection can be used.

        Raises:
            TimeoutError: the time is over.
            Interrupted: the file descriptor can be read.
        """
        left = max(0.0, self._deadline - time.monotonic())
        write = [connection] if to_write else []
        readable, writable, _ = select.select([connection, *self._interrupt], write, [], left)
        if self._interrupt and self._interrupt[0] in readable:
            raise Interrupted
        if not writable and connection not in readable:
            raise TimeoutError


def family_of(host: str) -> socket.AddressFamily:
    """Return the family of an address that a server listens on."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def grpc_server_answers(address: str | tuple[str, int], patience: Patience) -> bool:
    """Tell whether a gRPC server answers a health check, which one of its threads has to do.

    ``address``: path of a Unix socket, or host and port.

    A connection alone proves little: the kernel accepts it even while the process is stopped.

    Raises:
        Interrupted: see :class:`Patience`.
    """
    family = socket.AF_UNIX if isinstance(address, str) else family_of(address[0])
    with contextlib.suppress(OSError), _connected(family, address, patience) as connection:
        call = _frame(SETTINGS, 0, 0, b"")
        call += _frame(HEADERS, END_HEADERS, 1, _request_headers(HEALTH_CHECK))
        # A message of no bytes, not compressed: the health of the server as a whole.
        call += _frame(DATA, END_STREAM, 1, b"\0\0\0\0\0")
        _send(connection, HTTP2_PREFACE + call, patience)
        received = b""
        while len(received) < LONGEST_ANSWER:
            patience.wait(connection)
            more = connection.recv(65536)
            if not more:
                return False
            received += more
            if any(kind == HEADERS and stream == 1 for kind, stream in _frames(received)):
                return True
    return False


def ask_graphql(host: str, port: int, query: str, patience: Patience) -> dict[str, Any] | None:
    """Ask Dagster's webserver a query; None if it does not answer, or not with data.

    Raises:
        Interrupted: see :class:`Patience`.
    """
    body = json.dumps({"query": query}).encode()
    head = (
        f"POST /graphql HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    received = b""
    try:
        with _connected(family_of(host), (host, port), patience) as connection:
            _send(connection, head.encode() + body, patience)
            while len(received) < LONGEST_ANSWER:
                patience.wait(connection)
                more = connection.recv(65536)
                if not more:
                    break
                received += more
        answer = json.loads(received.partition(b"\r\n\r\n")[2])
    except (OSError, ValueError):
        return None
    data = answer.get("data") if isinstance(answer, dict) else None
    return data if isinstance(data, dict) else None


@contextlib.contextmanager
def _connected(family: int, address: Any, patience: Patience) -> Iterator[socket.socket]:
    with socket.socket(family) as connection:
        connection.setblocking(False)
        code = connection.connect_ex(address)
        with contextlib.suppress(BlockingIOError):
            if code:
                raise OSError(code, os.strerror(code))
        patience.wait(connection, to_write=True)
        code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        yield connection


def _send(connection: socket.socket, data: bytes, patience: Patience) -> None:
    while data:
        patience.wait(connection, to_write=True)
        data = data[connection.send(data) :]


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _frames(received: bytes) -> Iterator[tuple[int, int]]:
    """Yield kind and stream of each complete frame."""
    while len(received) >= 9:
        length = 9 + int.from_bytes(received[:3], "big")
        if len(received) < length:
            return
        yield received[3], int.from_bytes(received[5:9], "big")
        received = received[length:]


def _request_headers(path: bytes) -> bytes:
    """Encode the headers of a call (RFC 7541) with the static table and without compression."""

    def text(value: bytes) -> bytes:
        return bytes([len(value)]) + value

    method_post, scheme_http = b"\x83", b"\x86"
    return b"".join(
        [
            method_post,
            scheme_http,
            b"\x04" + text(path),
            b"\x01" + text(b"localhost"),
            b"\x0f\x10" + text(b"application/grpc"),
            b"\x00" + text(b"te") + text(b"trailers"),
        ]
    )
