"""Processes that test mutants, each in its own copy of the project."""

from __future__ import annotations

import compileall
import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil

Task = TypeVar("Task")

PREFIX = "mutants-"
MEMORY = Path("/dev/shm")
ROOM = 2 * 1024**3


class Worker:
    """A running worker; see ``worker.py`` for its requests."""

    def __init__(self, project: Path, copy: Path, log: Path) -> None:
        self._project = project
        self._copy = copy
        self._log = log
        self._process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        shutil.rmtree(self._copy, ignore_errors=True)
        copy_project(self._project, self._copy)
        environment = os.environ | {
            "PYTHONPATH": str(self._copy),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",
            "TMPDIR": str(self._copy.parent),
        }
        with self._log.open("ab") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "aperture_dagster_tests.mutants.worker"],
                cwd=self._copy,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request; return the answer. If the worker or its server dies of it, another one tries again."""
        for _ in range(2):
            assert self._process.stdin and self._process.stdout
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(json.dumps(request) + "\n")
                self._process.stdin.flush()
            if line := self._process.stdout.readline():
                return json.loads(line)
            self.close()
            self._process = self._start()
        raise RuntimeError(f"A worker ended twice at the same request: see {self._log}.")

    def close(self) -> None:
        """Let it end."""
        assert self._process.stdin
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def running_workers(project: Path, count: int, log: Path) -> Iterator[list[Worker]]:
    """Start workers, each in a copy of the project, which is removed at the end."""
    in_memory = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM
    parent = MEMORY if in_memory else Path(tempfile.gettempdir())
    remove_abandoned(parent)
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent))
    workers: list[Worker] = []
    try:
        for number in range(count):
            workers.append(Worker(project, folder / str(number) / "project", log))
        yield workers
    finally:
        for worker in workers:
            worker.close()
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(parent: Path) -> None:
    """Remove the copies of runs that were killed."""
    for folder in parent.glob(f"{PREFIX}*-*"):
        owner = folder.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def copy_project(project: Path, copy: Path) -> None:
    """Copy what is in the project's repository, or could be, and compile it."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (project / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(project / name, copy / name)
    if (project / ".venv").exists():
        (copy / ".venv").symlink_to((project / ".venv").resolve())
    for package in ("aperture_dagster", "aperture_dagster_tests"):
        compileall.compile_dir(copy / package, quiet=2)


def share_out(
    workers: list[Worker], tasks: Iterable[Task], work: Callable[[Worker, Task], Any]
) -> Iterator[tuple[Task, Any]]:
    """Let the workers do all tasks; yield each with its result, in the order in which they end."""
    waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
    ended: queue.SimpleQueue[tuple[Task | None, Any]] = queue.SimpleQueue()
    stopped = threading.Event()
    for task in tasks:
        waiting.put(task)

    def run(worker: Worker) -> None:
        try:
            while not stopped.is_set():
                task = waiting.get_nowait()
                ended.put((task, work(worker, task)))
        except queue.Empty:
            ended.put((None, None))
        except BaseException as error:
            ended.put((None, error))

    threads = [threading.Thread(target=run, args=(worker,), daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    left = len(threads)
    try:
        while left:
            task, result = ended.get()
            if task is not None:
                yield task, result
                continue
            left -= 1
            if isinstance(result, BaseException):
                raise result
    finally:
        stopped.set()
