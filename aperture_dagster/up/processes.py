"""The processes of a part: how it is started, what it prints, and when it is started again.

Each part leads a process group, with its runs. A code server that dies leaves its runs behind, and they go on. Its
successor joins their group, so that they end with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, Literal

from aperture_dagster.up.plan import Part, Plan

RUNNER = "aperture_dagster.up.part"
COLOURS = re.compile(rb"\x1b\[[0-9;]*m")
LONGEST_LINE = 10_000
LAST_WORDS = 200
READS = 16

State = Literal["stopped", "starting", "running", "waiting"]
"""*waiting*: it ended, and a pause passes before it is started again."""


class Output:
    """What a part and its runs print: a pipe that all of its processes write to, read line by line."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        self._rest = b""
        self.last_line = ""

    def lines(self) -> Iterator[bytes]:
        """Yield the lines that were printed since the last call, without their ends."""
        # Not until it is empty: one that prints without end must not keep the supervisor from everything else.
        for _ in range(READS):
            try:
                read = os.read(self.reading, 65_536)
            except BlockingIOError:
                return
            *lines, self._rest = (self._rest + read).split(b"\n")
            if len(self._rest) > LONGEST_LINE:
                lines, self._rest = [*lines, self._rest], b""
            for line in lines:
                if words := COLOURS.sub(b"", line).decode("utf-8", "replace").strip():
                    self.last_line = words[:LAST_WORDS]
                yield line


class PartProcess:
    """A part of the plan: its process, and how often in a row it failed.

    Attributes:
        state: what it is doing.
        since: when it was started, in seconds since the epoch.
        start_at: when it is started again, by the monotonic clock; of interest while it waits.
        failures: how often in a row it ended before it had lasted.
        ending: how it ended the last time.
    """

    def __init__(self, plan: Plan, part: Part, lifeline: int, restarts: int | None = None) -> None:
        self.part, self.output = part, Output()
        self.state: State = "stopped"
        self.since = self.start_at = self._started_at = 0.0
        self.failures = 0
        self.ending: str | None = None
        self.pid: int | None = None
        self._plan, self._lifeline = plan, lifeline
        self._restarts = restarts if part.may_restart else None
        self._listening = plan.listening if part.listens else None
        self._group: int | None = None

    def start(self) -> None:
        """Start it, or note why that failed."""
        self.since, self._started_at, self.state = time.time(), time.monotonic(), "starting"
        self.output.last_line = ""
        try:
            try:
                process = self._popen(self._group or 0)
            except PermissionError:
                # Nobody is left in that group.
                self._group, process = None, self._popen(0)
        except OSError as error:
            self.ended(f"it cannot be started: {error.strerror}")
            return
        self.pid = process.pid
        if self._listening is not None:
            # Once it ends, it listens itself when it is started again.
            os.close(self._listening)
            self._listening = None
        self._group = self._group or self.pid
        # The supervisor collects the exit codes of all of its children; Popen would warn of one that it has not seen.
        process.returncode = 0

    def _popen(self, group: int) -> subprocess.Popen[bytes]:
        asking = [] if self._restarts is None else [self._restarts]
        listening = [] if self._listening is None else [self._listening]
        command = [sys.executable, "-P", "-m", RUNNER, str(self._lifeline), "".join(map(str, asking))]
        command += [self._announcement(), self.part.module, *self.part.arguments]
        return subprocess.Popen(
            [*command, *(option for one in listening for option in ("--listening", str(one)))],
            cwd=self._plan.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if self.part.says_errors_only else self.output.writing,
            stderr=self.output.writing,
            pass_fds=(self._lifeline, self._plan.lock, *asking, *listening),
            # Not that of the supervisor: otherwise Ctrl-C in the terminal would reach each part, and in no order.
            process_group=group,
        )

    def _announcement(self) -> str:
        if self.part.ready is None:
            return ""
        ui = self._plan.ui
        where = {"host": ui.reachable_host, "port": ui.port, "address": ui.address}
        return json.dumps({**where, "key": self._plan.key, "since": self.since, "ready": self.part.ready})

    @property
    def is_alive(self) -> bool:
        """Whether it has been started and has not ended."""
        return self.state in ("starting", "running")

    @property
    def is_broken(self) -> bool:
        """Whether it is down, and ended so often in a row that it cannot be kept running."""
        return self.state == "waiting" and self.failures > self._plan.limits.restarts

    def can_be_used(self) -> bool:
        """Return whether others can use it: one with an address listens there only when it is ready to answer."""
        address = self.part.address
        if address is None:
            return True
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        with socket.socket(family) as connection, contextlib.suppress(OSError):
            connection.settimeout(1.0)
            connection.connect(address if isinstance(address, str) else ("127.0.0.1", address))
            return True
        return False

    def ended(self, how: str) -> None:
        """Note how it ended, and when to start it again: the more often in a row, the later."""
        limits, now = self._plan.limits, time.monotonic()
        self.ending = how
        self.failures = 1 if now - self._started_at > limits.lasting_seconds else self.failures + 1
        # The exponent is limited as well: a part may fail for months.
        pause = min(limits.longest_pause_seconds, limits.pause_seconds * 2 ** min(self.failures - 1, 30))
        self.state, self.start_at = "waiting", now + pause

    def is_left(self) -> bool:
        """Return whether the part, or a run that it has started, is still there."""
        return self.is_alive or self._signal(0)

    def terminate(self) -> None:
        """Ask the part and its runs to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the part and its runs at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> bool:
        """Send a signal to the group; return whether somebody is in it."""
        if self._group is None:
            return False
        try:
            os.killpg(self._group, number)
        except ProcessLookupError:
            return False
        except PermissionError:
            # On macOS, of a group whose processes have ended and were not collected yet.
            return True
        return True

    def described(self) -> dict[str, Any]:
        """Return what other commands may know of it."""
        return {
            "name": self.part.name,
            "state": self.state,
            "since": self.since,
            "ending": self.ending,
            "failures": self.failures,
            "is_broken": self.is_broken,
        }


def describe_exit(code: int) -> str:
    """Say how a process ended, given its exit code; a negative one is the number of a signal."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        # Not all real-time signals have a name.
        return f"killed by signal {-code}"
