"""An address for alerts on loopback: a web hook that collects messages, and misbehaves on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aperture_dagster_tests.waiting import SECONDS

TOKEN = "t0k3n-0f-th3-h00k"


class Inbox:
    """Messages that arrived at ``url``. While ``status`` is not 200 they are refused; while ``hang`` is clear
    they are not answered."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.url = f"json://127.0.0.1:{server.server_address[1]}/hooks/{TOKEN}"
        self.messages: list[dict[str, Any]] = []
        self.attempts = 0
        self.status = 200
        self.arrived = threading.Event()
        self.hang = threading.Event()
        self.hang.set()

    def take(self) -> list[dict[str, Any]]:
        """Return the messages that arrived since the last call."""
        taken, self.messages = self.messages, []
        return taken

    @property
    def titles(self) -> list[str]:
        """The titles of the messages, which are then taken."""
        return [message["title"] for message in self.take()]


@contextmanager
def open_inbox() -> Iterator[Inbox]:
    """Serve an inbox until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            inbox.attempts += 1
            inbox.arrived.set()
            inbox.hang.wait(30)
            if inbox.status == 200:
                inbox.messages.append(json.loads(body))
            self.send_response(inbox.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    inbox = Inbox(server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield inbox
    finally:
        inbox.hang.set()
        server.shutdown()
        thread.join(SECONDS)
        server.server_close()
