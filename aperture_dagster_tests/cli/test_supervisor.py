"""What `aperture up` starts ends with it, however it ends; and it ends when a part does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aperture_dagster.cli.supervisor import Part, Plan
from aperture_dagster.storage import locks
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.processes import all_gone, processes_of

PART = """
import pathlib, signal, socket, subprocess, sys, time
folder, name, *options = sys.argv[1:]
folder = pathlib.Path(folder)
signal.signal(signal.SIGTERM, signal.SIG_IGN if "stubborn" in options else lambda *_: sys.exit(0))
if "listens" in options:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / "socket"))
    listening.listen()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", str(folder)])
(folder / f"{name}.started").write_text(f"{child.pid}")
try:
    while not (folder / f"{name}.end").exists():
        time.sleep(0.05)
finally:
    while "patient" in options and not (folder / "go").exists():
        time.sleep(0.02)
    (folder / f"{name}.ended").write_text(str(time.monotonic()))
sys.exit(3)
"""


# Becomes a command whose process is the parent of orphaned descendants, as process 1 of a container is.
ADOPT = """
import ctypes, os, sys
set_child_subreaper = 36
assert ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""


class Supervised:
    """A supervisor with parts, in a folder."""

    def __init__(self, folder: Path, *parts: Part, patience_seconds: float = 30, adopts: bool = False) -> None:
        self.folder = folder
        self.lock_file = folder / "lock"
        lock = locks.acquire(self.lock_file)
        assert lock is not None
        os.set_inheritable(lock, True)
        command = Plan(parts, lock, str(folder), patience_seconds=patience_seconds).command()
        self.process = subprocess.Popen(
            [sys.executable, "-c", ADOPT, *command] if adopts else command,
            env=os.environ | {"PYTHONPATH": f"{PROJECT}{os.pathsep}{folder}"},
            stderr=subprocess.PIPE,
            pass_fds=(lock,),
            text=True,
        )
        locks.release(lock)

    def wait_for(self, *names: str) -> None:
        """Wait for files that the parts write."""
        deadline = time.monotonic() + 60
        while not all((self.folder / name).exists() for name in names):
            assert time.monotonic() < deadline, f"{names} did not appear"
            time.sleep(0.02)

    def end(self) -> tuple[int, str]:
        """Wait for the end of the supervisor, which leaves nothing behind; return its exit code and what it said."""
        code = self.process.wait(timeout=90)
        assert not processes_of(self.folder), "also not what a part has started"
        assert self.process.stderr is not None
        return code, self.process.stderr.read()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Supervised]]:
    """Yield a function that starts a supervisor with a part for each of the given lists of options."""
    (tmp_path / "part_of_test.py").write_text(PART)

    def started(patience_seconds: float = 30, adopts: bool = False, **parts: str) -> Supervised:
        planned = [
            Part(
                name, "part_of_test", [str(tmp_path), name, *options.split()],
                ready=str(tmp_path / "socket") if "listens" in options else None,
            )
            for name, options in parts.items()
        ]  # fmt: skip
        supervised = Supervised(tmp_path, *planned, patience_seconds=patience_seconds, adopts=adopts)
        supervised.wait_for(*(f"{name}.started" for name in parts))
        return supervised

    yield started
    left = processes_of(tmp_path)
    for process in left:
        process.kill()
    assert not left


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_every_part_and_what_the_parts_have_started(
    start: Callable[..., Supervised], number: signal.Signals, tmp_path: Path
):
    up = start(server="listens", daemon="")
    up.process.send_signal(number)
    assert up.end() == (0, "")


def test_nothing_is_left_after_a_kill_and_the_home_stays_locked_until_then(
    start: Callable[..., Supervised], tmp_path: Path
):
    up = start(server="listens", daemon="patient")
    up.process.kill()
    up.process.wait()
    assert locks.is_held(up.lock_file), "the daemon is still stopping"
    (tmp_path / "go").touch()
    assert all_gone(tmp_path)
    assert not locks.is_held(up.lock_file)


def test_a_part_that_dies_ends_the_others_with_a_sentence_and_an_exit_code(
    start: Callable[..., Supervised], tmp_path: Path
):
    up = start(server="listens", daemon="")
    (tmp_path / "server.end").touch()
    code, said = up.end()
    assert code == 1
    assert said.startswith("The server ended by itself (exit code 3).") and said.count("\n") == 1


def test_the_part_that_others_use_stops_last(start: Callable[..., Supervised], tmp_path: Path):
    up = start(server="listens", daemon="patient")
    up.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert not (tmp_path / "server.ended").exists(), "the daemon has not ended yet"
    (tmp_path / "go").touch()
    assert up.end() == (0, "")
    assert (tmp_path / "server.ended").exists()


def test_a_part_that_does_not_stop_is_killed(start: Callable[..., Supervised], tmp_path: Path):
    up = start(patience_seconds=0.5, daemon="stubborn")
    up.process.send_signal(signal.SIGTERM)
    assert up.end() == (0, "")


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
def test_as_process_1_of_a_container_it_does_not_wait_for_runs_that_have_ended(
    start: Callable[..., Supervised], tmp_path: Path
):
    # Longer than the test waits.
    up = start(patience_seconds=600, adopts=True, server="listens", daemon="")
    up.process.send_signal(signal.SIGTERM)
    assert up.end() == (0, "")
    assert not processes_of(tmp_path)


def test_a_second_signal_does_not_interrupt_the_stopping(start: Callable[..., Supervised], tmp_path: Path):
    up = start(patience_seconds=2, daemon="stubborn")
    for _ in range(3):
        up.process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    assert up.end() == (0, "")


def test_the_supervisor_imports_nothing_but_the_standard_library():
    code = "import sys, aperture_dagster.cli.supervisor; print(*sys.modules)"
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    ours = {name for name in names if name.startswith("aperture_dagster")}
    assert ours == {"aperture_dagster", "aperture_dagster.cli", "aperture_dagster.cli.supervisor"}
    assert not {"click", "dagster", "pydantic", "sqlalchemy", "asyncio", "tempfile"}.intersection(names)
