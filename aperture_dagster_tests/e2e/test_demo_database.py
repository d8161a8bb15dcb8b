"""A demo uses its own database and never connects to the configured one."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from aperture_dagster_tests.chaos import environment
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.processes import all_gone, processes_of

pytestmark = pytest.mark.e2e

APERTURE = Path(sys.executable).with_name("aperture")
SMALL = "generated:movies=30,series=2,episodes=8,users=2,plays=20"
HEALTH = """{ workspaceOrError { ... on Workspace { locationEntries { loadStatus } } }
              instance { daemonHealth { allDaemonStatuses { daemonType healthy } } } }"""


class ForeignServer:
    """A port that counts connections."""

    def __init__(self) -> None:
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            connection.close()

    def variables(self) -> dict[str, str]:
        url = f"postgresql://ann:hush-very-secret@127.0.0.1:{self.port}"
        return {"APERTURE_DATABASE_URL": f"{url}/films", "APERTURE_DAGSTER_DATABASE_URL": f"{url}/runs"}

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def foreign() -> Iterator[ForeignServer]:
    server = ForeignServer()
    yield server
    server.close()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    left = [] if all_gone(tmp_path) else processes_of(tmp_path)
    for process in left:
        process.kill()
    assert not left


def test_a_demo_does_not_connect_to_the_configured_database(home: Path, foreign: ForeignServer):
    """Otherwise the demo would fill the operator's database with invented titles."""
    done = subprocess.run(
        [APERTURE, "demo", "--world", SMALL],
        env=environment(home, APERTURE_HOME=str(home), **foreign.variables()),
        cwd=PROJECT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert foreign.connections == 0
    lines = [line for line in done.stdout.splitlines() if "APERTURE_DATABASE_URL" in line]
    assert len(lines) == 1 and "APERTURE_DAGSTER_DATABASE_URL are ignored" in lines[0]
    assert "hush" not in done.stdout + done.stderr
    assert (home / "demo" / "postgres" / "PG_VERSION").exists()


def test_the_ui_of_a_demo_does_not_connect_to_the_configured_database(home: Path, foreign: ForeignServer):
    """Not even if the database is set in a file .env, which takes precedence in Dagster.

    Without a media server and without --demo: the operator has not asked for a demo.
    """
    elsewhere = home.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".env").write_text("".join(f"{key}={value}\n" for key, value in foreign.variables().items()))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (home.parent / "up.log").open("w+") as log:
        process = subprocess.Popen(
            [APERTURE, "up", "--port", str(port), "--world", SMALL],
            env=environment(home, APERTURE_HOME=str(home), **foreign.variables()),
            cwd=elsewhere, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 240
            while not everything_runs(port):
                assert process.poll() is None and time.monotonic() < deadline, (home.parent / "up.log").read_text()
                time.sleep(0.5)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(300)
    assert foreign.connections == 0
    assert "are ignored" in (home.parent / "up.log").read_text()


def everything_runs(port: int) -> bool:
    """Return whether the UI answers, the code is loaded and the daemons have sent heartbeats."""
    body = json.dumps({"query": HEALTH}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql", body, {"Content-Type": "application/json"}
    )  # fmt: skip
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            data = json.load(answer)["data"]
    except (urllib.error.URLError, OSError):
        return False
    healthy = {
        status["daemonType"] for status in data["instance"]["daemonHealth"]["allDaemonStatuses"] if status["healthy"]
    }
    return "SENSOR" in healthy and any(
        entry["loadStatus"] == "LOADED" for entry in data["workspaceOrError"]["locationEntries"]
    )
