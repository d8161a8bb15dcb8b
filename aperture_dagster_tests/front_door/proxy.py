"""A reverse proxy that treats the headers of a request as Caddy, nginx and others do, WebSockets included."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

Host = Literal["kept", "without port", "replaced"]
"""What becomes of the header: kept (Caddy), without its port (nginx with ``$host``), replaced by the UI's address."""


@contextmanager
def reverse_proxy(port: int, ui: int, host: Host) -> Iterator[None]:
    """Forward what arrives at a port of this machine to the UI at another, until the block ends."""

    def changed(head: str) -> str:
        (name,) = re.findall(r"^host: *(\S+)\r$", head, re.MULTILINE | re.IGNORECASE)
        new = {"kept": name, "without port": name.partition(":")[0], "replaced": f"127.0.0.1:{ui}"}[host]
        head = re.sub(r"^host:.*$", f"Host: {new}\r", head, flags=re.MULTILINE | re.IGNORECASE)
        if "upgrade: websocket" not in head.lower():
            # Each request has a connection of its own, so that each has its headers changed.
            head = re.sub(r"^connection:.*$", "Connection: close\r", head, flags=re.MULTILINE | re.IGNORECASE)
        return f"{head}X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: {name}\r\n\r\n"

    async def forward(reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reading.read(65536):
                writing.write(data)
                await writing.drain()
        writing.close()

    async def serve(reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            head = (await reading.readuntil(b"\r\n\r\n")).decode("latin-1").removesuffix("\r\n")
            inner_reading, inner_writing = await asyncio.open_connection("127.0.0.1", ui)
            inner_writing.write(changed(head).encode("latin-1"))
            await asyncio.gather(forward(reading, inner_writing), forward(inner_reading, writing))
        writing.close()

    started, stop = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", port)
        loops.append(asyncio.get_running_loop())
        started.set()
        await stop.wait()
        server.close()

    # Playwright has a loop of its own in this thread. What is open at the end is cancelled.
    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    assert started.wait(60)
    try:
        yield
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join()
