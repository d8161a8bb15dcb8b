"""Processes of other programs in tests: who runs, and that nobody is left."""

from __future__ import annotations

import time
from pathlib import Path

import psutil


def processes_of(folder: Path) -> list[psutil.Process]:
    """Living processes that have a folder, or something in it, on their command line or in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() == psutil.STATUS_ZOMBIE or process.pid == psutil.Process().pid:
                continue
            said = [*process.cmdline(), *process.environ().values()]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if any(str(folder) in word for word in said):
            found.append(process)
    return found


def all_gone(folder: Path, *, seconds: float = 20) -> bool:
    """Whether every process that works in a folder has ended, now or soon."""
    deadline = time.monotonic() + seconds
    while processes_of(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
