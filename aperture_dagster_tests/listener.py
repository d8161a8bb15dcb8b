"""A server that records the requests it gets, for tests in which it should get none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aperture_dagster_tests.waiting import SECONDS


class Listener:
    """The requests that arrived at ``url``: method, path and headers of each."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.received: list[str] = []


@contextmanager
def listening(page: str | None = None) -> Iterator[Listener]:
    """Listen on a free port of this machine; answer with a page of HTML, or that nothing is there."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listener.received.append(f"{self.command} {self.path} {dict(self.headers)}")
            if page is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        do_POST = do_PUT = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    listener = Listener(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield listener
    finally:
        server.shutdown()
        thread.join(SECONDS)
        server.server_close()
