"""The processes of `aperture up`: how each is described, started and stopped, and the log that it writes.

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
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

KILL_SECONDS = 60.0
LONGEST_LOG = 5_000_000
SUPERVISOR = "aperture_dagster.cli.supervisor"
COLOURS = re.compile(r"\x1b\[[0-9;]*m")

STOPPING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
AWAITED = {*STOPPING, signal.SIGCHLD}


@dataclass(frozen=True)
class Part:
    """A Python module that runs with these arguments.

    Attributes:
        stage: parts of a stage start once all of the earlier stages can be used, and stop before them.
        socket: Unix socket of its gRPC server, which it listens on once it can be used; it must go on answering.
        pid: process id if it has been started already.
    """

    name: str
    module: str
    arguments: Sequence[str]
    stage: int = 0
    socket: str | None = None
    pid: int | None = None


@dataclass(frozen=True)
class Ui:
    """Where the webserver listens, and the code location that it has to load."""

    host: str
    port: int
    location: str

    @property
    def reachable_host(self) -> str:
        """Host under which this machine reaches it."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)

    @property
    def address(self) -> str:
        """Address for the browser of this machine."""
        host = self.reachable_host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


@dataclass(frozen=True)
class Limits:
    """Times and counts that decide when a part is started again, killed or given up.

    Attributes:
        stop_seconds: time to stop, after which a part is killed. Dagster's daemon gives its threads 30 seconds.
        start_seconds: time until a part can be used, after which it is killed and started again.
        check_seconds: time between two checks of what runs.
        answer_seconds: time for the answer to a check.
        unanswered_checks: checks in a row without an answer, after which a part counts as hung.
        silent_checks: checks in a row without a new heartbeat of a loop, after which the daemon counts as hung: half an
            hour, after which Dagster, too, reports it.
        pause_seconds: pause before a part is started again; doubles with each time that it ended lately.
        restarts: how often a part may end within ``window_seconds`` and be started again.
    """

    stop_seconds: float = 40.0
    start_seconds: float = 180.0
    check_seconds: float = 60.0
    answer_seconds: float = 15.0
    unanswered_checks: int = 4
    silent_checks: int = 30
    pause_seconds: float = 1.0
    restarts: int = 5
    window_seconds: float = 600.0


@dataclass(frozen=True)
class Plan:
    """What the supervisor runs, and where.

    Attributes:
        parts: in the order in which they start.
        lock: descriptor whose lock is held as long as the supervisor or a part is running.
        state: file that tells other commands what runs.
        logs: folder for what the parts print.
        folder: working folder of the parts; None is that of the supervisor.
        ui: the webserver to ask whether all is ready; None if there is none.
        failures: log of failures whose new lines are shown on the terminal.
    """

    parts: Sequence[Part]
    lock: int
    state: str
    logs: str
    folder: str | None = None
    ui: Ui | None = None
    failures: str | None = None
    limits: Limits = field(default_factory=Limits)

    def command(self) -> list[str]:
        """Return the command that runs this plan."""
        return [sys.executable, "-P", "-m", SUPERVISOR, json.dumps(asdict(self))]

    @classmethod
    def parse(cls, text: str) -> Plan:
        """Read a plan back from the argument of the command."""
        given = json.loads(text)
        given["parts"] = [Part(**part) for part in given["parts"]]
        given["ui"] = Ui(**given["ui"]) if given["ui"] else None
        return cls(**given | {"limits": Limits(**given["limits"])})


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
        with contextlib.suppress(OSError):
            log = self.open()
            try:
                os.write(log, f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n".encode())
            finally:
                os.close(log)

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


class RunningPart:
    """A part that has been started; ``code`` is its exit code once somebody has waited for it."""

    def __init__(self, part: Part, plan: Plan, log: PartLog, group: int | None) -> None:
        self.part = part
        self.code: int | None = None
        self._pipe: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        if part.pid is not None and group is None:
            # It was started with a group of its own.
            self.pid = self.group = part.pid
            return
        reading, self._pipe = os.pipe()
        output, process_group = log.open(), 0
        command = [sys.executable, "-P", "-m", SUPERVISOR, "--part", str(reading), part.module, *part.arguments]
        try:
            # Not the group of the supervisor: otherwise Ctrl-C in the terminal would reach each part, and in no order.
            for process_group in [group or 0, 0]:
                try:
                    self._process = subprocess.Popen(
                        command,
                        cwd=plan.folder,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=output,
                        pass_fds=(reading, plan.lock),
                        process_group=process_group,
                    )
                except PermissionError:
                    # Nobody is left in that group.
                    if not process_group:
                        raise
                else:
                    break
        except BaseException:
            os.close(self._pipe)
            raise
        finally:
            os.close(reading)
            os.close(output)
        assert self._process is not None
        self.pid = self._process.pid
        self.group = process_group or self.pid

    def ended_with(self, code: int) -> None:
        """Note the exit code, which the supervisor has collected."""
        self.code = code
        if self._process is not None:
            self._process.returncode = code

    def ask_to_stop(self) -> None:
        """Ask the part and its children to stop."""
        is_told = self.close_pipe() and self.code is None
        # One that has died cannot stop the runs that it left behind; one that was adopted has no pipe.
        if not is_told:
            self.signal_group(signal.SIGTERM)

    def close_pipe(self) -> bool:
        """Close the pipe; return False if there was none."""
        if self._pipe is None:
            return False
        with contextlib.suppress(OSError):
            os.close(self._pipe)
        self._pipe = None
        return True

    def kill(self) -> None:
        """Kill the part alone; its runs go on."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def group_is_running(self) -> bool:
        """Tell whether the part or one of its children is running."""
        try:
            os.killpg(self.group, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the part and its children."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.group, number)


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
