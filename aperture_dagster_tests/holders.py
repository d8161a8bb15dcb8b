"""Helpers to use an embedded server from other processes, and to kill it."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg

from aperture_dagster.postgres.embedded import release_embedded_server
from aperture_dagster.settings.home import project_root
from aperture_dagster_tests.clusters import FOLDER
from aperture_dagster_tests.processes import processes_of, wait_until_ended
from aperture_dagster_tests.programs import Program

HOLD = """
import sys
from pathlib import Path
from aperture_dagster.postgres.embedded import start_embedded_server
print(start_embedded_server(Path(sys.argv[1])), flush=True)
for line in sys.stdin:
    print(start_embedded_server(Path(sys.argv[1])), flush=True)
"""


class Holder:
    """Another process that uses the server until ``end`` or ``kill``."""

    def __init__(
        self, folder: Path, *, inside: Callable[[list[str | Path]], list[str]] | None = None, **environment: str
    ) -> None:
        environment = {**os.environ, **environment}
        if inside is not None:
            # As another user, perhaps, who may write nothing into this project, nor read clusters to copy.
            environment["PYTHONDONTWRITEBYTECODE"] = "1"
            environment.pop(FOLDER, None)
        self._process = Program(HOLD, folder, environment=environment, folder=project_root(), inside=inside)

    @property
    def pid(self) -> int:
        return self._process.pid

    def url(self) -> str:
        """Wait for the process to print the server's URL, and return it."""
        return self._process.readline().strip()

    def start_again(self) -> str:
        print("again", file=self._process.stdin, flush=True)
        return self.url()

    def end(self) -> None:
        """End normally, like a program that has finished."""
        self._process.communicate()

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


def run(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def server_pid(folder: Path) -> int:
    return int((folder / "postmaster.pid").read_text().splitlines()[0])


def kill_server(folder: Path) -> None:
    """Kill the server like the kernel does when memory is low."""
    pid = server_pid(folder)
    children = psutil.Process(pid).children(recursive=True)
    os.kill(pid, signal.SIGKILL)
    # The postmaster's children exit on their own after it.
    wait_until_ended(children)


@contextmanager
def temporary_data_directory() -> Iterator[Path]:
    """Yield a path for a new cluster; afterwards stop its server and kill its processes."""
    with tempfile.TemporaryDirectory(prefix="aperture-embedded-", ignore_cleanup_errors=True) as made:
        data = Path(made).resolve() / "postgres"
        try:
            yield data
        finally:
            release_embedded_server(data)
            for process in processes_of(data.parent):
                process.kill()


@contextmanager
def holder_factory(folder: Path) -> Iterator[Callable[..., Holder]]:
    """Yield a function that starts holders of a server; kill those still running afterwards."""
    made: list[Holder] = []

    def make(**options: Any) -> Holder:
        made.append(Holder(folder, **options))
        return made[-1]

    yield make
    for holder in made:
        if holder.is_running:
            holder.kill()
