"""Child processes that need not import everything first.

Most of what a child process costs is importing Dagster and the product. One server process per test process does that
once and forks: a child costs hundredths of a second instead of one and a half. The children know nothing of the test
process but what they are given: its memory, its patches and its connections are not theirs.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster_tests.clusters import FOLDER, copy_clusters


def _execute(
    program: str,
    arguments: list[str],
    environment: dict[str, str],
    folder: str,
    streams: list[Connection],
    container: bool,
) -> None:
    """Run in the child: become a process that Python started with ``-c program``."""
    for number, stream in enumerate(streams):
        os.dup2(stream.fileno(), number)
        stream.close()
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    if container:
        _enter_container()
    if clusters := environment.get(FOLDER):
        copy_clusters(pytest.MonkeyPatch(), clusters)
    os.chdir(folder)
    sys.argv = ["-c", *arguments]
    try:
        exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})
    finally:
        # multiprocessing ends its children without.
        atexit._run_exitfuncs()
        sys.stdout.flush()


CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWPID = 0x20000, 0x8000000, 0x20000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 2, 4, 8, 0x4000, 0x40000
PR_SET_PDEATHSIG = 1


def _enter_container() -> None:
    """Continue as the first process of namespaces, as ``unshare --pid --ipc --mount-proc --fork --kill-child`` does."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    parent_lives, held_by_parent = os.pipe()
    inner = os.fork()
    if inner:
        _, status = os.waitpid(inner, 0)
        os._exit(abs(os.waitstatus_to_exitcode(status)))
    os.close(held_by_parent)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have been killed before, and its number is unknown here.
    os.set_blocking(parent_lives, False)
    with contextlib.suppress(BlockingIOError):
        os.read(parent_lives, 1)
        os._exit(1)
    os.close(parent_lives)
    libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    if libc.mount(b"proc", b"/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, None):
        raise OSError(ctypes.get_errno(), "mount")


def _start_server() -> None:
    """Start the server, unless it runs, with nothing of the test that needs it first in its environment."""
    server = forkserver._forkserver
    server.set_forkserver_preload(["aperture_dagster_tests.forks_preloaded"])
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ.keys() - {"PATH", "HOME", "PYTHONPATH", "TMPDIR", "LANG"}:
            patch.delenv(name)
        server.ensure_running()


class Fork:
    """A forked process that runs a program, with pipes; a part of the interface of :class:`subprocess.Popen`.

    In a ``container`` it is the first process of a process namespace, and its children end with it; that needs root.
    """

    def __init__(
        self,
        program: str,
        *arguments: str | Path,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        container: bool = False,
    ) -> None:
        context = multiprocessing.get_context("forkserver")
        _start_server()
        (given, stdin), (stdout, said) = os.pipe(), os.pipe()
        # A file: a program that logs much would wait for a reader of a pipe.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        theirs = [Connection(number) for number in (given, said, os.dup(self._errors.fileno()))]
        self._process = context.Process(
            target=_execute,
            args=(
                program, [*map(str, arguments)], dict(os.environ if environment is None else environment),
                str(folder or Path.cwd()), theirs, container,
            ),
        )  # fmt: skip
        self._process.start()
        for one in theirs:
            one.close()
        self.stdin, self.stdout = os.fdopen(stdin, "w", buffering=1), os.fdopen(stdout)

    @property
    def pid(self) -> int:
        """The number of the process."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process."""
        if self.poll() is None:
            self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, and return the exit code."""
        self._process.join(timeout)
        assert self._process.exitcode is not None, "it is still running"
        return self._process.exitcode

    def logged(self) -> str:
        """Return what the process has written to its errors."""
        return os.pread(self._errors.fileno(), 10_000_000, 0).decode()

    def tell(self, given: str) -> None:
        """Send text, and nothing more."""
        if not self.stdin.closed:
            self.stdin.write(given)
            self.stdin.close()

    def communicate(self, given: str = "", timeout: float = 300) -> tuple[str, str]:
        """Send text, wait for the end, and return what the process wrote to its output and its errors."""
        with contextlib.suppress(BrokenPipeError):
            self.tell(given)
        with self.stdout, self._errors:
            said = self.stdout.read()
            self.wait(timeout)
            self._errors.seek(0)
            return said, self._errors.read().decode()


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that has ended."""

    returncode: int
    stdout: str
    stderr: str


def run_fork(program: str, *arguments: str | Path, **options: Any) -> Finished:
    """Run a program in a forked process, without input, and wait for its end; ``options``: see :class:`Fork`."""
    process = Fork(program, *arguments, **options)
    stdout, stderr = process.communicate()
    return Finished(process.wait(), stdout, stderr)
