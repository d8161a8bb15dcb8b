"""The parts of `aperture up`: how each is described, started and stopped, and the log that it writes.

Each part is in a process group with its children (the runs), and holds the reading end of a pipe. When the pipe closes,
because the supervisor wants the part to stop or because it was killed, the part stops its whole group. That needs no
polling, and nobody has to remember a process id.

A code server that dies leaves its runs behind, and they go on. Its successor joins their group, so that they end with
it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

KILL_SECONDS = 60.0
LONGEST_LOG = 5_000_000
SUPERVISOR = "aperture_dagster.up.supervisor"
COLOURS = re.compile(r"\x1b\[[0-9;]*m")

STOPPING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
AWAITED = {*STOPPING, signal.SIGCHLD}

State = Literal["stopped", "starting", "running", "waiting", "done"]


@dataclass(frozen=True)
class Part:
    """A Python module that runs with these arguments.

    Attributes:
        stage: parts of a stage start once all of the earlier stages can be used, and stop before them.
        socket: Unix socket that it listens on once it can be used.
        pid: process id if it has been started already.
        is_herald: it says on the terminal what has become ready, and then ends.
    """

    name: str
    module: str
    arguments: Sequence[str]
    stage: int = 0
    socket: str | None = None
    pid: int | None = None
    is_herald: bool = False


@dataclass(frozen=True)
class Ui:
    """Where the webserver listens.

    Attributes:
        published: in a container that listens on all addresses, the address under which its host reaches it.
    """

    host: str
    port: int
    published: str | None = None

    @property
    def reachable_host(self) -> str:
        """Host under which this machine reaches it."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)

    @property
    def address(self) -> str:
        """Address for the browser of this machine, or of the host of this container."""
        if self.published is not None:
            return self.published
        host = self.reachable_host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


@dataclass(frozen=True)
class Limits:
    """Times and counts that decide when a part is killed or started again.

    Attributes:
        stop_seconds: time to stop, after which a part is killed. Dagster's daemon gives its threads 30 seconds.
        check_seconds: time between two looks at the size of the logs.
        pause_seconds: pause before a part is started again; doubles each time until the part lasts.
        longest_pause_seconds: the longest such pause.
        restarts: how often a part that does not last is started again before the terminal calls it broken.
        lasting_seconds: how long a part has to run to have lasted.
    """

    stop_seconds: float = 40.0
    check_seconds: float = 60.0
    pause_seconds: float = 1.0
    longest_pause_seconds: float = 300.0
    restarts: int = 5
    lasting_seconds: float = 600.0


@dataclass(frozen=True)
class Plan:
    """What the supervisor runs, and where.

    Attributes:
        parts: in the order in which they start.
        lock: descriptor whose lock is held as long as the supervisor or a part is running.
        state: file that tells other commands what runs.
        logs: folder for what the parts print.
        ui: where the webserver listens.
        folder: working folder of the parts; None is that of the supervisor.
    """

    parts: Sequence[Part]
    lock: int
    state: str
    logs: str
    ui: Ui
    folder: str | None = None
    limits: Limits = field(default_factory=Limits)

    def command(self) -> list[str]:
        """Return the command that runs this plan."""
        return [sys.executable, "-P", "-m", SUPERVISOR, json.dumps(asdict(self))]

    @classmethod
    def parse(cls, text: str) -> Plan:
        """Read a plan back from the argument of the command."""
        given = json.loads(text)
        parts, limits = [Part(**part) for part in given["parts"]], Limits(**given["limits"])
        return cls(**given | {"parts": parts, "limits": limits, "ui": Ui(**given["ui"])})


class PartLog:
    """What a part and its runs print, limited in size: a part that logs errors without end must not fill the disk."""

    def __init__(self, folder: str, name: str) -> None:
        self.path = Path(folder, f"{name.replace(' ', '-')}.log")

    def open(self) -> int:
        """Open it for a part; returns a descriptor."""
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)

    def note(self, text: str) -> None:
        """Append a line about the part."""
        with contextlib.suppress(OSError), os.fdopen(self.open(), "ab", buffering=0) as log:
            log.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n".encode())

    def shorten(self) -> None:
        """Move a log that has become too long aside. The part goes on writing to the same file."""
        with contextlib.suppress(OSError):
            if self.path.stat().st_size > LONGEST_LOG:
                try:
                    self._keep_end(self.path.with_suffix(".1.log"))
                finally:
                    # Even if the disk is full.
                    os.truncate(self.path, 0)

    def _keep_end(self, older: Path) -> None:
        older.touch(mode=0o600)
        with self.path.open("rb") as file:
            file.seek(-LONGEST_LOG, os.SEEK_END)
            older.write_bytes(file.read(LONGEST_LOG))

    def last_line(self) -> str:
        """Return the last line that the part has printed since its start, without colours; empty if there is none."""
        with contextlib.suppress(OSError), self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - 4000))
            for line in reversed(COLOURS.sub("", file.read().decode("utf-8", "replace")).splitlines()):
                if line.startswith("--- "):
                    return ""
                if line.strip():
                    return line.strip()[:200]
        return ""


class SupervisedPart:
    """A part of the plan: its process, and how often in a row it failed."""

    def __init__(self, plan: Plan, number: int) -> None:
        self.part, self._plan = plan.parts[number], plan
        self.log = PartLog(plan.logs, self.part.name)
        self.state: State = "stopped"
        self.since = 0.0
        """When it was started, in seconds since the epoch."""
        self.start_at = 0.0
        self.failures = 0
        """How often in a row it ended before it had lasted."""
        self._started_at = 0.0
        self.ending: str | None = None
        self.last_words = ""
        self.pid: int | None = None
        self._group: int | None = None
        self._pipe: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or note why that failed."""
        self.since, self._started_at, self.state = time.time(), time.monotonic(), "starting"
        if self.part.pid is not None and self._group is None:
            # It was started with a group of its own.
            self.pid = self._group = self.part.pid
            return
        try:
            try:
                self._process = self._popen(self._group or 0)
            except PermissionError:
                # Nobody is left in that group.
                self._group, self._process = None, self._popen(0)
        except OSError as error:
            self.ended(f"it cannot be started: {error.strerror}")
            return
        self.pid = self._process.pid
        self._group = self._group or self.pid
        self.log.note(f"started as process {self.pid}")

    def _popen(self, group: int) -> subprocess.Popen[bytes]:
        reading, self._pipe = os.pipe()
        output = os.dup(1) if self.part.is_herald else self.log.open()
        command = [sys.executable, "-P", "-m", SUPERVISOR, "--part", str(reading), self.part.module]
        try:
            return subprocess.Popen(
                [*command, *self.part.arguments],
                cwd=self._plan.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(reading, self._plan.lock),
                # Not that of the supervisor: otherwise Ctrl-C in the terminal would reach each part, and in no order.
                process_group=group,
            )
        except BaseException:
            self._close_pipe()
            raise
        finally:
            os.close(reading)
            os.close(output)

    @property
    def is_alive(self) -> bool:
        """Whether it has been started and has not ended."""
        return self.state in ("starting", "running")

    @property
    def is_usable(self) -> bool:
        """Whether others can use it. One with a socket listens on it only when it is ready to answer."""
        if self.part.socket is None:
            return True
        with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError):
            connection.settimeout(1.0)
            connection.connect(self.part.socket)
            return True
        return False

    def ended_with(self, code: int) -> None:
        """Note the exit code, which the supervisor has collected."""
        if self._process is not None:
            self._process.returncode = code
        if self.part.is_herald and code == 0:
            self._close_pipe()
            self.state = "done"
        else:
            self.ended(_described(code))

    def ended(self, how: str) -> None:
        """Note how it ended, and schedule its restart: the more often in a row, the later."""
        limits, now = self._plan.limits, time.monotonic()
        self.ending, self.last_words = how, self.log.last_line()
        self.log.note(f"ended: {how}")
        self._close_pipe()
        self.failures = 1 if now - self._started_at > limits.lasting_seconds else self.failures + 1
        # The exponent is limited as well: a part may fail for months.
        pause = min(limits.longest_pause_seconds, limits.pause_seconds * 2 ** min(self.failures - 1, 30))
        self.state, self.start_at = "waiting", now + pause

    def ask_to_stop(self) -> None:
        """Ask the part and its children to stop."""
        if self._pipe is not None and self.is_alive:
            self._close_pipe()
        else:
            # One that has died cannot stop the runs that it left behind; one that was adopted has no pipe.
            self.signal_group(signal.SIGTERM)

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None

    def group_is_running(self) -> bool:
        """Tell whether the part or one of its children is running."""
        try:
            if self._group is not None:
                os.killpg(self._group, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return self._group is not None

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the part and its children."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._group is not None:
                os.killpg(self._group, number)

    def described(self) -> dict[str, Any]:
        """Return what other commands may know of it."""
        return {"name": self.part.name, "state": self.state, "since": self.since, "ending": self.ending}


def _described(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    # Not all real-time signals have a name.
    known = -code in {int(one) for one in signal.Signals}
    return f"killed by {signal.Signals(-code).name if known else f'signal {-code}'}"


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
