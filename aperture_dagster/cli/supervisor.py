"""The process that `aperture up` becomes: it starts Dagster's parts, waits, and ends them together.

It runs for months with nothing to do, so it imports no more than the standard library and sleeps until a signal
arrives. ``aperture up`` checks everything first, then replaces itself with ``python -m …supervisor PLAN``.

Each part is the leader of a process group, in which its children (the runs) are, too, and holds the reading end of a
pipe. When the pipe closes, because the supervisor wants the part to stop or because it was killed, the part stops its
whole group. That needs no polling, and nobody has to remember a process id.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

KILL_SECONDS = 60.0
START_SECONDS = 180.0
# Its own name is `__main__` where it runs.
THIS = "aperture_dagster.cli.supervisor"

STOPPING = {signal.SIGINT, signal.SIGTERM}
AWAITED = {*STOPPING, signal.SIGCHLD}


@dataclass(frozen=True)
class Part:
    """A Python module that runs with these arguments; ``ready`` is a socket that it listens on once it can be used."""

    name: str
    module: str
    arguments: Sequence[str]
    ready: str | None = None


@dataclass(frozen=True)
class Plan:
    """What the supervisor runs, and where.

    Attributes:
        parts: in the order in which they start; those that others wait for stop last.
        folder: working folder of the parts; None is that of the supervisor.
        lock: descriptor whose lock is held as long as the supervisor or a part is running.
        helpers: process ids of children that were started before, and that end with the parts.
        patience_seconds: time to stop, after which a part is killed. Dagster's daemon gives its threads 30 seconds.
    """

    parts: Sequence[Part]
    lock: int
    folder: str | None = None
    helpers: Sequence[int] = ()
    patience_seconds: float = 40.0

    def command(self) -> list[str]:
        """Return the command that runs this plan."""
        return [sys.executable, "-P", "-m", THIS, json.dumps(asdict(self))]

    @classmethod
    def parse(cls, text: str) -> Plan:
        """Read a plan back from the argument of the command."""
        given = json.loads(text)
        return cls(**given | {"parts": [Part(**part) for part in given["parts"]]})


class RunningPart:
    """A part that has been started."""

    def __init__(self, part: Part, plan: Plan) -> None:
        self.part = part
        reading, self._pipe = os.pipe()
        # A group of its own: otherwise Ctrl-C in the terminal would reach each part directly, and in no order.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", THIS, "--part", str(reading), part.module, *part.arguments],
            cwd=plan.folder,
            pass_fds=(reading, plan.lock),
            start_new_session=True,
        )
        os.close(reading)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def ending(self) -> str | None:
        """Say how the part ended; None while it is running."""
        code = self._process.poll()
        if code is None:
            return None
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def ask_to_stop(self) -> None:
        """Ask the part and its children to stop."""
        os.close(self._pipe)
        # A part that has died already cannot stop the runs that it left behind.
        if self.ending() is not None:
            self._signal_group(signal.SIGTERM)

    def wait(self, patience_seconds: float) -> None:
        """Wait until the part and its children have ended; kill those that do not."""
        deadline = time.monotonic() + patience_seconds
        while self._group_is_running():
            if time.monotonic() > deadline:
                self._signal_group(signal.SIGKILL)
                break
            time.sleep(0.05)
        self._process.wait()

    def _group_is_running(self) -> bool:
        # A process that nobody has waited for would count as running: the leader, and the runs that it has left to the
        # supervisor if that is process 1 of a container.
        self._process.poll()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-self.pid, os.WNOHANG)[0]:
                pass
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)


def supervise(plan: Plan) -> int:
    """Run the parts of a plan until a signal arrives or one of them ends. Returns the exit code."""
    # They stay blocked until the end, so that none is lost and a second Ctrl-C does not interrupt the stopping. A shell
    # may have started this in its background with some of them ignored, and an ignored signal never arrives.
    signal.pthread_sigmask(signal.SIG_BLOCK, AWAITED)
    for number in AWAITED:
        signal.signal(number, lambda *_: None)
    running: list[RunningPart] = []
    failure = None
    try:
        for part in plan.parts:
            running.append(RunningPart(part, plan))
            if part.ready is not None and not _wait_for_socket(part.ready, running):
                break
        while (failure := _ended(running)) is None and signal.sigwait(AWAITED) not in STOPPING:
            pass
    except TimeoutError as error:
        failure = str(error)
    if STOPPING & signal.sigpending():
        # A service manager signals all processes of a service at once, and a part may have been faster.
        failure = None
    _stop(running, plan.patience_seconds)
    for pid in plan.helpers:
        _stop_helper(pid, plan.patience_seconds)
    if failure is None:
        return 0
    # Last, where it is seen: other parts may have complained meanwhile.
    print(f"{failure} Everything else was stopped; start it again with `aperture up`.", file=sys.stderr)
    return 1


def _stop(running: Sequence[RunningPart], patience_seconds: float) -> None:
    """Stop the parts that others use after those that use them."""
    for used in (False, True):
        parts = [part for part in running if (part.part.ready is not None) == used]
        for part in parts:
            part.ask_to_stop()
        for part in parts:
            part.wait(patience_seconds)


def _ended(running: Sequence[RunningPart]) -> str | None:
    """Return a sentence about the first part that has ended; None if all are running."""
    for part in running:
        ending = part.ending()
        if ending is not None:
            return f"The {part.part.name} ended by itself ({ending})."
    return None


def _wait_for_socket(path: str, running: Sequence[RunningPart]) -> bool:
    """Wait until somebody listens on a socket; return False if a part ends or a signal arrives before.

    Raises:
        TimeoutError: nobody does after a while.
    """
    deadline = time.monotonic() + START_SECONDS
    while _ended(running) is None and not STOPPING & signal.sigpending():
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.connect(path)
            return True
        if time.monotonic() > deadline:
            raise TimeoutError(f"The {running[-1].part.name} does not answer after {START_SECONDS:.0f} seconds.")
        time.sleep(0.1)
    return False


def _stop_helper(pid: int, patience_seconds: float) -> None:
    deadline = time.monotonic() + patience_seconds
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGTERM)
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)


def run_part(pipe: int, module: str, arguments: Sequence[str]) -> None:
    """Run a module as the main program of this process, until the pipe closes."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, AWAITED)
    threading.Thread(target=_stop_group_at_end_of, args=(pipe,), daemon=True).start()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _stop_group_at_end_of(pipe: int) -> None:
    os.read(pipe, 1)
    os.killpg(0, signal.SIGTERM)
    time.sleep(KILL_SECONDS)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    if sys.argv[1] == "--part":
        run_part(int(sys.argv[2]), sys.argv[3], sys.argv[4:])
    else:
        sys.exit(supervise(Plan.parse(sys.argv[1])))
