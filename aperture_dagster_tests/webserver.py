"""Queries to the UI's server, as the UI sends them."""

from __future__ import annotations

import json
import socket
import urllib.request
from contextlib import suppress
from typing import Any


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(port: int, query: str) -> Any:
    """Return the answer to a GraphQL query; None while the server does not answer."""
    body = json.dumps({"query": query}).encode()
    address = f"http://127.0.0.1:{port}/operate/graphql"
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with suppress(OSError), urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)["data"]
    return None
