"""The stand-ins as the host ``media-server`` of a network: they listen on 127.0.0.1, and this passes requests on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from asyncio import StreamReader, StreamWriter

PORT, INSIDE = 8096, 9500


async def _copy(source: StreamReader, target: StreamWriter) -> None:
    try:
        while data := await source.read(1 << 16):
            target.write(data)
            await target.drain()
    finally:
        target.close()


async def _pass_on(reader: StreamReader, writer: StreamWriter) -> None:
    inside_reader, inside_writer = await asyncio.open_connection("127.0.0.1", INSIDE)
    await asyncio.gather(_copy(reader, inside_writer), _copy(inside_reader, writer), return_exceptions=True)


async def _serve() -> None:
    server = await asyncio.start_server(_pass_on, "0.0.0.0", PORT)
    await server.serve_forever()


if __name__ == "__main__":
    subprocess.Popen([sys.executable, "-m", "aperture_dagster.simulator", "--port", str(INSIDE), *sys.argv[1:]])
    # The container, and with it both, ends by a signal.
    asyncio.run(_serve())
