"""What every Python under ``tools/dates.py`` does first, so that shifting the clock breaks nothing else.

libfaketime 0.9.10 with a monotonic clock that is left alone makes an invalid time of what ``time.sleep`` asks for since
Python 3.11, an absolute one, so that each call fails: it sleeps as ``select`` does. And a program that is started with
few variables, as PostgreSQL's server is, would be left on today's date, which is a wrong clock.
"""

import os
import select
import subprocess
import time
from typing import Any

VARIABLES = ("LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC", "TZ")


def sleep(seconds: float, /) -> None:
    """Return after so many seconds; raises ValueError if they are negative, as :func:`time.sleep` does."""
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    select.select([], [], [], seconds)


def shift(environment: dict[str, str]) -> dict[str, str]:
    """Return variables of a program with those that shift its clock as that of this process is shifted."""
    return {name: os.environ[name] for name in VARIABLES if name in os.environ} | environment


def apply() -> None:
    """Let this process sleep, and shift the clocks of what it starts with variables of its own."""
    time.sleep = sleep
    start = subprocess.Popen.__init__

    def start_shifted(self: Any, *arguments: Any, env: Any = None, **options: Any) -> None:
        start(self, *arguments, env=None if env is None else shift(dict(env)), **options)

    subprocess.Popen.__init__ = start_shifted


if "libfaketime" in os.environ.get("LD_PRELOAD", ""):
    apply()
