"""Find processes that tests have started, and wait for their end."""

from __future__ import annotations

import time
from pathlib import Path

import psutil


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
