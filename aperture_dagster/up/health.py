"""Health checks for services that run one part each: ``python -m aperture_dagster.up.health code``.

A service manager asks once a minute for months, so nothing is imported that the check does not need: ``dagster api
grpc-health-check`` and ``dagster-daemon liveness-check`` take two seconds of processor time each.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aperture_dagster.model import printable

ANSWER_SECONDS = 10.0
POLL_SECONDS = 0.5
MOST_AHEAD_SECONDS = 600.0
"""As ``SKEW`` in ``aperture_dagster.model``: the clocks of two hosts may differ by this much."""
NOT_SET_UP = "not set up\n"
"""What ``/health`` answers while no media server is configured."""
RESTORING = "restoring\n"
"""What it answers while a backup is being restored."""
PARTS = ("code", "webserver", "daemon", "all", "container")
UP = ("aperture up", "aperture_dagster.up.supervisor")
"""What the command of a container has in it that runs everything: process 1 is that, or the init in front of it."""
FIRST_PROCESS = Path("/proc/1/cmdline")
HEALTH = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy lastHeartbeatTime } } } }"
LISTS = """{ assetNodes(assetKeys: [{path: ["recommendations"]}]) {
  partitionStats { numPartitions numMaterialized numFailed numMaterializing } } }"""
LOADED = """{ workspaceOrError { ... on Workspace { locationEntries { loadStatus locationOrLoadError {
  __typename ... on PythonError { message } } } } } }"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a part, and print what is wrong with it; return the exit code."""
    given = parse(arguments)
    if given.part == "container" and not runs_everything(FIRST_PROCESS):
        return 0
    deadline, said = time.monotonic() + given.wait, ""
    while (problem := find_problem(given.part, given.host, given.port, key=read_key(given.key))) is not None:
        if time.monotonic() >= deadline:
            _say(f"{problem}, after {given.wait:.0f} seconds." if given.wait else f"{problem}.")
            return 1
        if problem != said:
            said = problem
            _say(f"{problem}; waiting.")
        time.sleep(min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments of the command; ends the program if they are wrong."""
    parser = argparse.ArgumentParser(prog="python -m aperture_dagster.up.health", description=main.__doc__)
    parser.add_argument(
        "part", nargs="?", choices=PARTS, default="all",
        help="code: its server answers. webserver: it answers. daemon: all of its loops are alive, as the webserver "
        "says. all: the webserver answers, has loaded the code, and the daemon is alive. container: all, if the "
        "command of this container is `aperture up` and a media server is configured; else nothing. Default: all.",
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="Where the code server or the webserver is.")
    parser.add_argument("--port", type=int, help="Default: 4000 for code, else 3000.")
    parser.add_argument("--wait", type=float, default=0.0, metavar="SECONDS", help="Wait so long until all is well.")
    parser.add_argument(
        "--key", default=_usual_key_file(), metavar="FILE",
        help="The key of the operator's pages. Default: that of APERTURE_HOME.",
    )  # fmt: skip
    given = parser.parse_args(arguments)
    given.port = given.port or (4000 if given.part == "code" else 3000)
    return given


def _usual_key_file() -> str:
    """Return where the front door keeps the key, as ``aperture_dagster.front_door.secrets`` does."""
    home = os.environ.get("APERTURE_HOME")
    return str(Path(home, "front-door", "operator.secret")) if home else ""


def read_key(path: str) -> str | None:
    """Read the key for the operator's pages; None before the webserver has made it."""
    with contextlib.suppress(OSError, ValueError):
        return Path(path).read_text(encoding="ascii").strip()
    return None


def _say(text: str) -> None:
    # The terminal may be gone.
    with contextlib.suppress(OSError):
        print(printable(text), file=sys.stderr, flush=True)


def find_problem(part: str, host: str, port: int, *, since: float = 0.0, key: str | None = None) -> str | None:
    """Return what is wrong with a part, without a full stop; None if it is well."""
    if part == "code":
        return None if grpc_server_answers(f"{host}:{port}") else f"No code server answers at {host}:{port}"
    silent = f"No webserver answers at {host}:{port}"
    if part == "container" and _health(host, port) in (NOT_SET_UP, RESTORING):
        # It shows what to set, or what happens, and there is nothing to start again.
        return None
    if part == "webserver":
        return None if _health(host, port) is not None else silent
    if part in ("all", "container"):
        data = ask_graphql(host, port, LOADED, key)
        if data is None:
            return silent
        reasons = [_why_not_loaded(one) for one in data["workspaceOrError"].get("locationEntries") or [{}]]
        if any(reason is not None for reason in reasons):
            return f"The webserver at {host}:{port} has not loaded the code{''.join(one or '' for one in reasons)}"
    data = ask_graphql(host, port, HEALTH, key)
    if data is None:
        return f"{silent}, so nothing is known of the daemon" if part == "daemon" else silent
    statuses = data["instance"]["daemonHealth"]["allDaemonStatuses"]
    # To Dagster, a heartbeat that a clock dated in the future is a sign of life until that date.
    latest = time.time() + MOST_AHEAD_SECONDS
    dead = sorted(
        status["daemonType"]
        for status in statuses
        if status["required"] and not (status["healthy"] and since <= (status["lastHeartbeatTime"] or 0.0) <= latest)
    )
    return f"No sign of life from the daemon: {', '.join(dead)}" if dead else None


def lists_made(host: str, port: int, key: str | None = None) -> tuple[bool, str]:
    """Tell whether a list has been made, or has failed, for everybody who takes part, and how many are ready."""
    data = ask_graphql(host, port, LISTS, key) or {}
    stats = next((node.get("partitionStats") for node in data.get("assetNodes") or []), None) or {}
    everybody, made = stats.get("numPartitions") or 0, stats.get("numMaterialized") or 0
    tried = made + (stats.get("numFailed") or 0)
    is_there = made > 0 and tried >= everybody and not stats.get("numMaterializing")
    of_all = f" of {everybody}" if made != everybody else ""
    return is_there, f"{made}{of_all} {'list' if everybody == 1 else 'lists'} {'is' if made == 1 else 'are'} ready"


def runs_everything(first_process: Path) -> bool:
    """Tell whether a container runs all parts, given the file with the words of its first process."""
    try:
        words = first_process.read_text(encoding="utf-8", errors="replace").split("\0")
    except OSError:
        return False
    return any(one in " ".join(words) for one in UP)


def _why_not_loaded(entry: dict[str, Any]) -> str | None:
    """Return the reason as the end of a sentence; empty while the code is being loaded, None once it is."""
    location = entry.get("locationOrLoadError") or {}
    if entry.get("loadStatus") != "LOADED" or not location:
        return ""
    if location.get("__typename") != "PythonError":
        return None
    return f": {(str(location.get('message')).strip().splitlines() or ['no reason given'])[-1]}"


def grpc_server_answers(target: str, seconds: float = ANSWER_SECONDS) -> bool:
    """Tell whether a gRPC server, such as ``code:4000`` or ``unix:/path``, answers a health check in time.

    A connection alone proves little: the kernel accepts it even while the process is stopped.
    """
    # The other checks do without.
    import grpc
    from grpc_health.v1.health_pb2 import HealthCheckRequest
    from grpc_health.v1.health_pb2_grpc import HealthStub

    with grpc.insecure_channel(target) as channel:
        # Its methods are only known at run time.
        health: Any = HealthStub(channel)
        try:
            health.Check(HealthCheckRequest(), timeout=seconds)
        except grpc.RpcError:
            return False
    return True


def ask_graphql(
    host: str, port: int, query: str, key: str | None = None, seconds: float = ANSWER_SECONDS
) -> dict[str, Any] | None:
    """Ask Dagster's webserver a query; None if it does not answer in time, or not with data."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    try:
        with _open(host, port, "/operate/graphql", json.dumps({"query": query}).encode(), headers, seconds) as answer:
            found = json.load(answer)
    except (OSError, ValueError):
        return None
    data = found.get("data") if isinstance(found, dict) else None
    return data if isinstance(data, dict) else None


def _health(host: str, port: int) -> str | None:
    """Return what the webserver says of its health; None if it does not answer."""
    try:
        with _open(host, port, "/health", None, {}, ANSWER_SECONDS) as answer:
            return answer.read(100).decode("utf-8", "replace") if answer.status == 200 else None
    except (OSError, ValueError):
        return None


def _open(host: str, port: int, path: str, body: bytes | None, headers: dict[str, str], seconds: float) -> Any:
    # The name by which every webserver of ours answers, whatever others it knows.
    headers = {"Host": f"localhost:{port}", **headers}
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}{path}"
    # A proxy of the environment is for other hosts.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return opener.open(urllib.request.Request(address, body, headers), timeout=seconds)


if __name__ == "__main__":
    sys.exit(main())
