"""`aperture up` as a whole: its parts, a run launched in the UI, a second one on the same home, and its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from aperture_dagster_tests.chaos import environment
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.processes import all_gone, processes_of

pytestmark = pytest.mark.e2e

WORLD = "generated:movies=20,series=2,episodes=6,plays=20"
PATIENCE = 120
LAUNCH = """mutation { launchRun(executionParams: {
  selector: {repositoryLocationName: "aperture", repositoryName: "__repository__", jobName: "sync_users"},
  runConfigData: {} }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
STATUS = '{ runOrError(runId: "%s") { ... on Run { status } } }'


class Up:
    """A running `aperture up --demo`."""

    def __init__(self, home: Path, log: Path, process: subprocess.Popen[bytes], port: int) -> None:
        self.home, self.log, self.process, self.port = home, log, process, port

    def ask(self, query: str) -> Any:
        """Ask the UI's server; None while it does not answer."""
        body = json.dumps({"query": query}).encode()
        address = f"http://127.0.0.1:{self.port}/graphql"
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
        with suppress(OSError), urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)["data"]
        return None

    def wait_for(self, what: Callable[[], Any]) -> Any:
        """Wait for a true value, and return it."""
        deadline = time.monotonic() + PATIENCE
        while not (answer := what()):
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.2)
        return answer

    def code_servers(self) -> list[psutil.Process]:
        """Return the processes that have loaded the definitions."""
        return [one for one in processes_of(self.home) if {"api", "grpc"} <= set(one.cmdline())]


def command(home: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """Return the command and its environment. Nothing starts by itself, so that a test is alone."""
    words = [sys.executable, "-m", "aperture_dagster.cli.main", "up", "--demo", "--world", WORLD, "--home", str(home)]
    more = {"APERTURE_SCHEDULES_ENABLED": "false", "PYTHONPATH": os.environ.get("PYTHONPATH", str(PROJECT))}
    return [*words, "--port", str(port)], environment(home, **more)


@contextmanager
def running_up(tmp_path: Path) -> Iterator[Up]:
    """Start it and wait until the UI answers; whatever is left at the end is an error, and killed."""
    home, log = tmp_path / "home", tmp_path / "up.log"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words, variables = command(home, port)
    with log.open("wb") as out:
        process = subprocess.Popen(words, env=variables, cwd=PROJECT, stdout=out, stderr=out, start_new_session=True)
    try:
        up = Up(home, log, process, port)
        up.wait_for(lambda: up.ask("{ version }"))
        yield up
        assert all_gone(tmp_path, seconds=60)
    finally:
        for one in (process, *processes_of(tmp_path)):
            with suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()


def test_it_runs_what_the_ui_launches_and_ends_when_its_only_code_server_dies(tmp_path: Path):
    with running_up(tmp_path) as up:
        (code_server,) = up.code_servers()
        launched = up.wait_for(lambda: up.ask(LAUNCH))["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched

        def status() -> str:
            answer = up.ask(STATUS % launched["run"]["runId"])
            return answer["runOrError"]["status"] if answer else ""

        assert up.wait_for(lambda: status() in {"SUCCESS", "FAILURE"} and status()) == "SUCCESS"

        words, variables = command(up.home, 0)
        second = subprocess.run(words, env=variables, cwd=PROJECT, capture_output=True, text=True, timeout=PATIENCE)
        assert second.returncode == 1
        (said,) = second.stderr.strip().splitlines()
        assert "`aperture up` is already running" in said and str(up.home) in said

        code_server.kill()
        assert up.process.wait(timeout=PATIENCE) == 1
        assert "The code server ended by itself (killed by SIGKILL)." in up.log.read_text().splitlines()[-1]


def test_nothing_is_left_when_it_is_killed(tmp_path: Path):
    with running_up(tmp_path) as up:
        assert len(processes_of(up.home)) > 4, "with the database and the stand-ins"
        up.process.send_signal(signal.SIGKILL)
        up.process.wait()
