"""Say on the terminal when everything works, and when everybody has a first list.

A thread of the web server does this, since the web server knows both: it asks it as any other program would.
"""

from __future__ import annotations

import time

from aperture_dagster.model import printable
from aperture_dagster.up.health import find_problem, lists_made, read_key

POLL_SECONDS = 0.5
SILENT_SECONDS = 60.0
"""After how long a start says what it waits for."""
LISTS_POLL_SHARE = 0.02
"""Share of the time since the start after which it looks for lists again: a home may have none for weeks."""


def announce(host: str, port: int, *, key: str, since: float, ready: str, address: str) -> None:
    """Print when all parts work and, after that, when everybody has a first list; return then.

    Args:
        host: where this machine reaches the web server.
        port: likewise.
        key: file with the key for the operator's pages.
        since: seconds since the epoch; earlier heartbeats of the daemon do not count.
        ready: what to print once all parts work.
        address: the address for people, printed with the number of lists.
    """
    started, last_problem = time.monotonic(), ""
    while problem := find_problem("all", host, port, since=since, key=read_key(key)):
        if time.monotonic() - started > SILENT_SECONDS and problem != last_problem:
            last_problem = problem
            _say(f"Not ready yet: {problem}.")
        time.sleep(POLL_SECONDS)
    _say(ready)
    while True:
        are_there, sentence = lists_made(host, port, read_key(key))
        if are_there:
            break
        time.sleep(min(max(1.0, LISTS_POLL_SHARE * (time.monotonic() - started)), 300.0))
    _say(f"{sentence}: {address}/")


def _say(text: str) -> None:
    print(printable(text), flush=True)
