"""The program of a part: ``python -m aperture_dagster.up.part LIFELINE RESTARTS ANNOUNCEMENT MODULE ARGUMENT …``.

Each part holds the reading end of a pipe, the lifeline, whose other end only the supervisor holds. When the supervisor
is killed, the pipe closes, and the part ends itself and its runs: no process stays behind with the port or the
database. That needs no polling and no process ids, and works on every system that has pipes.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Sequence

from aperture_dagster.up import restart
from aperture_dagster.up.announce import announce
from aperture_dagster.up.signals import AWAITED

KILL_SECONDS = 60.0
"""How long a part may take to end once the supervisor is gone."""


def run_part(lifeline: int, restarts: str, announcement: str, module: str, arguments: Sequence[str]) -> None:
    """Run a module as the main program of this process, until it ends or the lifeline closes.

    Args:
        lifeline: descriptor of the reading end of the pipe.
        restarts: descriptor of :func:`aperture_dagster.up.restart.keep`; empty if the part may not ask for a restart.
        announcement: JSON with the arguments of :func:`aperture_dagster.up.announce.announce`; empty for none.
        module: name of the module.
        arguments: of the module.
    """
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, AWAITED)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    if restarts:
        restart.keep(int(restarts))
    if announcement:
        threading.Thread(target=announce, kwargs=json.loads(announcement), daemon=True).start()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_with(lifeline: int) -> None:
    """Wait until the supervisor is gone, then end the process group: this part and its runs."""
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGTERM)
    time.sleep(KILL_SECONDS)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    run_part(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:])
