"""Programs that tests run as processes of their own. Nobody waits for one for ever, whatever it does or keeps open."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aperture_dagster_tests.clusters import FOLDER
from aperture_dagster_tests.waiting import SECONDS

PROJECT = Path(__file__).resolve().parents[1]


class Program:
    """A process that runs a Python program, with pipes; a part of the interface of :class:`subprocess.Popen`.

    Args:
        program: its text.
        arguments: in ``sys.argv`` behind the first.
        environment: all of its variables; by default, those of this process.
        folder: where it works.
        inside: makes the command line that runs another one in a container, such as :func:`users.contained`.
    """

    def __init__(
        self,
        program: str,
        *arguments: str | Path,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        inside: Callable[[list[str | Path]], list[str]] | None = None,
    ) -> None:
        variables = dict(os.environ if environment is None else environment)
        command: list[str | Path] = [sys.executable, "-c", program, *arguments]
        if FOLDER in variables:
            # Initializing a cluster takes longer than all the rest.
            command[1:2] = ["-m", "aperture_dagster_tests.clusters"]
            variables["PYTHONPATH"] = str(PROJECT)
        # A file: a program that logs much would wait for a reader of a pipe.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            command if inside is None else inside(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._errors, text=True, bufsize=1, env=variables, cwd=folder,
        )  # fmt: skip
        assert self._process.stdin is not None
        self.stdin = self._process.stdin
        self._said: list[str] = []
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self._said.append(line)
                self._lines.put(line)
        self._lines.put("")

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        return self._process.poll()

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        return self._process.poll()

    def send_signal(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill the process."""
        self.send_signal(signal.SIGKILL)

    def logged(self) -> str:
        """Return what the process has written to its errors."""
        return os.pread(self._errors.fileno(), 10_000_000, 0).decode()

    def tell(self, given: str) -> None:
        """Send text of at most 64 kB, which the pipe takes at once, and nothing more."""
        with contextlib.suppress(BrokenPipeError):
            if not self.stdin.closed:
                self.stdin.write(given)
                self.stdin.close()

    def readline(self, seconds: float = SECONDS) -> str:
        """Return the next line of the output, empty at its end.

        Raises AssertionError, with what the program wrote, if there is none after ``seconds``; it is killed then.
        """
        try:
            return self._lines.get(timeout=seconds)
        except queue.Empty:
            self._give_up("wrote no line", seconds)

    def lines(self) -> Iterator[str]:
        """Yield the lines of the output to its end; each is waited for like one of :meth:`readline`."""
        while line := self.readline():
            yield line

    def wait(self, timeout: float = SECONDS) -> int:
        """Wait for the end, and return the exit code.

        Raises AssertionError, with what the program wrote, if it goes on for ``timeout`` seconds; it is killed then.
        """
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._give_up("went on", timeout)

    def communicate(self, given: str = "", timeout: float = SECONDS) -> tuple[str, str]:
        """Send text, wait for the end, and return what the process wrote to its output and its errors.

        Raises AssertionError, with what the program wrote, if it, or a process that has its output, goes on for
        ``timeout`` seconds; it is killed then.
        """
        deadline = time.monotonic() + timeout
        self.tell(given)
        self._reader.join(timeout)
        if self._reader.is_alive():
            self._give_up("went on", timeout)
        self.wait(max(deadline - time.monotonic(), 1.0))
        return "".join(self._said), self.logged()

    def _give_up(self, what: str, seconds: float) -> Any:
        self.kill()
        self._process.wait(SECONDS)
        said = f"it said {''.join(self._said)!r}, and of errors: {self.logged()}"
        raise AssertionError(f"the program {what} for {seconds:.0f} s; {said}")


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that has ended."""

    returncode: int
    stdout: str
    stderr: str


def run_program(program: str, *arguments: str | Path, **options: Any) -> Finished:
    """Run a program without input, and wait for its end; ``options``: see :class:`Program`."""
    process = Program(program, *arguments, **options)
    stdout, stderr = process.communicate()
    return Finished(process.wait(), stdout, stderr)
