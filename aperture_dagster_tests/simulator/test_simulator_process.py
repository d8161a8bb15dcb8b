"""The simulator as a process: its port file, and its end with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from aperture_dagster.settings import Settings, environment_names
from aperture_dagster.simulator.__main__ import load_world
from aperture_dagster_tests.waiting import SECONDS, wait_for

MODULE = [sys.executable, "-m", "aperture_dagster.simulator"]
ROOT = Path(__file__).parents[2]
# A parent that starts the simulator and then sleeps until it is killed.
PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen([*sys.argv[1:], "--parent-pid", str(os.getpid())])
print(child.pid, flush=True)
time.sleep(600)
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def read_port(path: Path) -> int | None:
    return int(path.read_text()) if path.exists() else None


@pytest.fixture
def port_file(tmp_path: Path) -> Path:
    return tmp_path / "port"


def test_it_answers_once_the_port_file_exists_and_stops_on_a_signal(port_file: Path) -> None:
    command = [*MODULE, "--world", "generated:movies=30,series=2,episodes=9,plays=50", "--users", "4"]
    command += ["--omdb-daily-limit", "1"]
    process = subprocess.Popen([*command, "--port-file", str(port_file)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        port = wait_for(lambda: read_port(port_file), "there is no port")
        users = httpx.get(f"http://127.0.0.1:{port}/jellyfin/Users", params={"ApiKey": "demo-jellyfin-key"}).json()
        assert len(users) == 4
        assert list(port_file.parent.iterdir()) == [port_file]
        omdb = [httpx.get(f"http://127.0.0.1:{port}/omdb", params={"apikey": "demo-omdb-key"}) for _ in range(2)]
        assert [answer.status_code for answer in omdb] == [200, 401]
    finally:
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=SECONDS)[0]
    address, *lines = output.splitlines()
    assert address == f"simulator: http://127.0.0.1:{port}"
    # Settings, each of them, for who wants to develop against it.
    variables = dict(line.split("=", 1) for line in lines)
    known = {name for setting in Settings.model_fields for name in environment_names(setting)}
    needed = {"TMDB_API_KEY", "OMDB_API_KEY", "MDBLIST_API_KEY", "APERTURE_TMDB_IMAGE_URL", "APERTURE_SECRET_KEY"}
    assert needed | {"TRAKT_CLIENT_ID", "SEERR_API_KEY"} <= set(variables) <= known
    assert (variables["APERTURE_OMDB_URL"], variables["APERTURE_OMDB_DAILY_LIMIT"]) == (f"{address[11:]}/omdb", "1")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads process states from /proc")
def test_it_exits_when_its_parent_is_killed(port_file: Path) -> None:
    command = [sys.executable, "-c", PARENT, *MODULE, "--world", "odd", "--port-file", str(port_file)]
    parent = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        port = wait_for(lambda: read_port(port_file), "there is no port")
        os.kill(parent.pid, signal.SIGKILL)
        wait_for(lambda: not is_running(child), "it outlives its parent")
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/jellyfin/System/Info/Public")
    finally:
        parent.kill()
        parent.wait(timeout=SECONDS)
        parent.stdout.close()
        if is_running(child):
            os.kill(child, signal.SIGKILL)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads process states from /proc")
def test_it_exits_when_its_parent_has_already_ended(port_file: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    process = subprocess.Popen([*MODULE, "--world", "odd", "--parent-pid", str(gone.pid)], cwd=ROOT)
    assert process.wait(timeout=SECONDS) == 0


@pytest.mark.parametrize("world", ["no such folder", "generated:films=3", "generated:movies=many"])
def test_the_error_for_an_unknown_world_names_it(world: str, now) -> None:
    with pytest.raises(ValueError, match=world.split("=")[0].removeprefix("generated:")):
        load_world(world, users=None, now=now)


def test_a_port_file_that_cannot_be_written_is_an_error_of_one_line(tmp_path: Path) -> None:
    command = [*MODULE, "--world", "odd", "--port-file", str(tmp_path / "missing" / "port")]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert finished.returncode == 2
    assert finished.stderr.startswith("simulator: ") and finished.stderr.count("\n") == 1


def test_a_taken_port_is_an_error_of_one_line() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        finished = subprocess.run(
            [*MODULE, "--world", "odd", "--port", port], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS
        )
    assert finished.returncode == 2
    assert finished.stderr.startswith("simulator: ") and finished.stderr.count("\n") == 1
