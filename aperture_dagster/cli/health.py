"""Health checks for services that run one part each: ``python -m aperture_dagster.cli.health code``.

A service manager asks once a minute for months, so this imports no more than the standard library: 40 ms of processor
time, where ``dagster api grpc-health-check`` and ``dagster-daemon liveness-check`` take two seconds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from aperture_dagster.cli.probes import Patience, ask_graphql, grpc_server_answers
from aperture_dagster.wording import printable

ANSWER_SECONDS = 10.0
POLL_SECONDS = 1.0
MOST_AHEAD_SECONDS = 600.0
"""As ``SKEW`` in ``aperture_dagster.library.moments``: the clocks of two hosts may differ by this much."""
PORTS = {"code": 4000, "webserver": 3000, "daemon": 3000, "all": 3000}
HEALTH = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy lastHeartbeatTime } } } }"
LOADED = "{ repositoriesOrError { __typename ... on RepositoryConnection { nodes { name } } } }"


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a part, and print what is wrong with it; return the exit code."""
    given = parse(arguments)
    return check(given.part, given.host, given.port or PORTS[given.part], wait=given.wait)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments of the command; ends the program if they are wrong."""
    parser = argparse.ArgumentParser(prog="python -m aperture_dagster.cli.health", description=main.__doc__)
    parser.add_argument(
        "part", nargs="?", choices=PORTS, default="all",
        help="code: its server answers. webserver: it answers. daemon: all of its loops are alive, as the webserver "
        "says. all: the webserver answers, has loaded the code, and the daemon is alive. Default: all.",
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="Where the code server or the webserver is.")
    parser.add_argument("--port", type=int, help="Default: 4000 for code, else 3000.")
    parser.add_argument("--wait", type=float, default=0.0, metavar="SECONDS", help="Wait so long until all is well.")
    return parser.parse_args(arguments)


def check(part: str, host: str, port: int, *, wait: float) -> int:
    """Check a part, again and again for ``wait`` seconds until it is well; return the exit code."""
    deadline, said = time.monotonic() + wait, False
    while (problem := find_problem(part, host, port)) is not None:
        if time.monotonic() >= deadline:
            _say(f"{problem}, after {wait:.0f} seconds." if wait else f"{problem}.")
            return 1
        if not said:
            said = True
            _say(f"{problem}; waiting for up to {wait:.0f} seconds.")
        time.sleep(min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))
    return 0


def _say(text: str) -> None:
    print(printable(text), file=sys.stderr, flush=True)


def find_problem(part: str, host: str, port: int) -> str | None:
    """Return what is wrong with a part, without a full stop; None if it is well."""
    patience = Patience(ANSWER_SECONDS)
    if part == "code":
        return None if grpc_server_answers((host, port), patience) else f"No code server answers at {host}:{port}"
    silent = f"No webserver answers at {host}:{port}"
    if part == "webserver":
        return silent if ask_graphql(host, port, "{ version }", patience) is None else None
    if part == "all":
        data = ask_graphql(host, port, LOADED, patience)
        if data is None:
            return silent
        if not data["repositoriesOrError"].get("nodes"):
            return f"The webserver at {host}:{port} has not loaded the code"
    data = ask_graphql(host, port, HEALTH, patience)
    if data is None:
        return f"{silent}, so nothing is known of the daemon" if part == "daemon" else silent
    statuses = data["instance"]["daemonHealth"]["allDaemonStatuses"]
    # To Dagster, a heartbeat that a clock dated in the future is a sign of life until that date.
    latest = time.time() + MOST_AHEAD_SECONDS
    dead = sorted(
        one["daemonType"]
        for one in statuses
        if one["required"] and not (one["healthy"] and (one["lastHeartbeatTime"] or 0.0) <= latest)
    )
    return f"No sign of life from the daemon: {', '.join(dead)}" if dead else None


if __name__ == "__main__":
    sys.exit(main())
