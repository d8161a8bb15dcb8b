"""Start processes for tests, find those that were started, and wait for their end."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from aperture_dagster_tests.conftest import PROJECT


@contextmanager
def running(
    command: list[str], environment: dict[str, str], log: Path, *, seconds: float = 20
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the block ends, then stop it and its children; they are killed after ``seconds``.

    What it prints is appended to ``log``.
    """
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, env=environment, cwd=PROJECT, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def processes_of(folder: Path) -> list[psutil.Process]:
    """List running processes with the folder's path in their command line or environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() == psutil.STATUS_ZOMBIE or process.pid == psutil.Process().pid:
                continue
            words = [*process.cmdline(), *process.environ().values()]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if any(str(folder) in word for word in words):
            found.append(process)
    return found


def all_gone(folder: Path, *, seconds: float = 240) -> bool:
    """Wait until no process works in the folder; return False if some still do after ``seconds``."""
    deadline = time.monotonic() + seconds
    while processes_of(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
