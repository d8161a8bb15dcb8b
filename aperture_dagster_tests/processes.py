"""Find processes that tests have started, and wait for their end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from aperture_dagster_tests.waiting import SECONDS, wait_for


def has_ended(process: psutil.Process) -> bool:
    """Whether a process has ended, even if its parent, such as process 1 of a container, has not collected it yet."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_ended(processes: Iterable[psutil.Process]) -> None:
    """Wait until all of these processes have ended."""
    for process in processes:
        wait_for(lambda process=process: has_ended(process), f"still running: {process}", pause=0.01)


def processes_of(folder: Path) -> list[psutil.Process]:
    """List running processes with the folder's path in their command line or environment."""
    found, own = [], os.getpid()
    for process in psutil.process_iter():
        try:
            if process.pid == own or has_ended(process):
                continue
            words = [*process.cmdline(), *process.environ().values()]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if any(str(folder) in word for word in words):
            found.append(process)
    return found


def all_gone(folder: Path, *, seconds: float = SECONDS) -> bool:
    """Wait until no process works in the folder; return False if some still do after ``seconds``."""
    deadline = time.monotonic() + seconds
    while processes_of(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
