"""Set-up as a program: ``python -m aperture_dagster.front_door.set_up START``, with what ``aperture up`` knows as JSON.

When all is set, it becomes ``aperture up``. The address stays open meanwhile: browsers wait instead of being refused.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from collections.abc import Sequence
from typing import NoReturn

from aperture_dagster.front_door.proxies import Proxies
from aperture_dagster.front_door.server import create_server, run
from aperture_dagster.front_door.set_up.pages import SetUp, Start, new_code
from aperture_dagster.settings import environment_outside, load_settings
from aperture_dagster.up.restart import LISTENING, inherited, listen

_LOG = logging.getLogger("aperture_dagster.front_door.set_up")


def main(text: str) -> None:
    """Serve the pages until a signal arrives, or until something else is to be started."""
    given = json.loads(text)
    settings = load_settings()
    # Where `aperture up` prints its lines, so that they are in one place.
    logging.basicConfig(
        stream=sys.stdout, format="%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%Y-%m-%dT%H:%M:%S%z"
    )
    start = Start(given["host"], given["again"], given["demo"], new_code() if given["needs_code"] else "")
    descriptor = inherited(given["host"], given["port"])
    listening = listen(given["host"], given["port"]) if descriptor is None else socket.socket(fileno=descriptor)
    with listening:
        if start.code:
            _LOG.warning("The code for set-up, good until the next start: %s", start.code)

        def stop() -> None:
            server.should_exit = True

        set_up = SetUp(start, settings, stop)
        server = create_server(set_up.app(), Proxies(settings), log_level="warning")
        run(server, listening)
        if set_up.becomes is not None:
            _become(set_up.becomes, listening.fileno())


def _become(arguments: Sequence[str], listening: int) -> NoReturn:
    os.set_inheritable(listening, True)
    command = [sys.executable, "-P", "-m", "aperture_dagster.cli.main", "up", *arguments]
    os.execve(sys.executable, command, environment_outside() | {LISTENING: str(listening)})


if __name__ == "__main__":
    main(sys.argv[1])
