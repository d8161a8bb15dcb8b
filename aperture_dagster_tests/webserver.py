"""The UI's server: queries as the UI sends them, and applications served in a thread."""

from __future__ import annotations

import json
import random
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn

from aperture_dagster_tests.waiting import SECONDS, wait_for

# Below the ports that systems give to connections, so that no client takes one before its server does.
PORTS = range(20_000, 32_768)


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def ask(port: int, query: str) -> Any:
    """Return the answer to a GraphQL query; None while the server does not answer."""
    body = json.dumps({"query": query}).encode()
    address = f"http://127.0.0.1:{port}/operate/graphql"
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with suppress(OSError), urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)["data"]
    return None


@contextmanager
def serving(app: Any, port: int) -> Iterator[None]:
    """Serve an ASGI application on a port of this machine."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started, lambda: "the server does not start")
        yield
    finally:
        server.should_exit = True
        thread.join(SECONDS)
