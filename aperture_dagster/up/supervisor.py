"""The process that `aperture up` becomes: it starts the parts, restarts those that end, and ends all together.

A part that ends again and again is started less and less often, and the others go on: without a web server, lists are
still made and published.

It runs for months with nothing to do, so it imports no more than the standard library, and sleeps until a signal
arrives or a part prints something. ``aperture up`` checks everything first, then replaces itself with
``python -m aperture_dagster.up.supervisor PLAN``.

The embedded database is not a part: whichever part finds it dead starts it again, and the last part that ends stops it
(:mod:`aperture_dagster.postgres.embedded`). If that one was killed, the supervisor has it stopped
(:mod:`aperture_dagster.up.database`).
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from aperture_dagster.files import locks
from aperture_dagster.up.plan import Plan
from aperture_dagster.up.processes import COLOURS, PartProcess, describe_exit
from aperture_dagster.up.restart import LISTENING, listen
from aperture_dagster.up.signals import AWAITED, STOPPING

DATABASE_STOPPER = "aperture_dagster.up.database"
STARTING_POLL_SECONDS = 0.2
PATIENT_STOP_SECONDS = 5.0
"""How long the end may take before a line says what it waits for."""
BROKEN = 1
"""Exit code if a part could not be kept up when everything was told to end."""


class Supervisor:
    """Runs a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        # Its writing end is open in this process only, and closes with it.
        lifeline, self._lifeline = os.pipe()
        self._restarts, asking = os.pipe()
        for end in (self._restarts, asking):
            os.set_blocking(end, False)
        self.parts = [PartProcess(plan, part, lifeline, asking) for part in plan.parts]
        self._started = time.time()
        self._is_stopping = self._restarts_after = False
        self._signals = _receive_signals()
        self._selector = selectors.DefaultSelector()
        for source in (self._signals, self._restarts, *(part.output.reading for part in self.parts)):
            self._selector.register(source, selectors.EVENT_READ)
        self._listening: socket.socket | None = None
        self._width = max(len(part.part.name) for part in self.parts)
        self._is_terminal = os.isatty(1)

    def run(self) -> int:
        """Run the parts until a signal arrives, then end them; return the exit code."""
        while not self._is_stopping:
            self._start_what_is_due()
            self._wait(self._seconds_to_next_start())
        say("Starting everything anew …" if self._restarts_after else "Stopping …")
        self._write_state()
        broken = [part.part.name for part in self.parts if part.is_broken]
        self._stop()
        self._pass_on_output()
        self._write_state()
        self._stop_database()
        if self._restarts_after:
            self._restart()
        if broken:
            say(f"Stopped. This could not be kept running: {', '.join(broken)}. The exit code is {BROKEN}.")
        return BROKEN if broken else 0

    def _start_what_is_due(self) -> None:
        for part in self.parts:
            if part.state == "starting" and part.can_be_used():
                part.state = "running"
                self._write_state()
            is_due = part.state == "stopped" or (part.state == "waiting" and time.monotonic() >= part.start_at)
            if is_due and self._may_start(part):
                part.start()
                self._write_state()

    def _may_start(self, part: PartProcess) -> bool:
        return all(other.state == "running" for other in self.parts if other.part.stage < part.part.stage)

    def _seconds_to_next_start(self) -> float | None:
        """Return how long there is nothing to start; None if only a signal can change that."""
        times = [part.start_at for part in self.parts if part.state == "waiting" and self._may_start(part)]
        if any(part.state == "starting" for part in self.parts):
            times.append(time.monotonic() + STARTING_POLL_SECONDS)
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _wait(self, seconds: float | None) -> set[int]:
        """Wait for signals and for what parts print, at most so long; return the signals that arrived."""
        self._selector.select(seconds)
        received: set[int] = set()
        with contextlib.suppress(BlockingIOError):
            received = set(os.read(self._signals, 1000))
        # Before how a part ended, its last words.
        self._pass_on_output()
        if received & STOPPING:
            # A service manager may signal all processes of a service at once, and a part may be faster.
            self._is_stopping, self._restarts_after = True, False
        elif self._is_asked_to_restart() and not self._is_stopping:
            self._is_stopping = self._restarts_after = True
        self._collect()
        return received

    def _is_asked_to_restart(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            return bool(os.read(self._restarts, 1000))
        return False

    def _keep_address_open(self) -> None:
        """Listen in place of the web server once it has ended: browsers wait for the next one."""
        is_free = self._listening is None and any(part.part.listens and not part.is_left() for part in self.parts)
        with contextlib.suppress(OSError):
            if is_free:
                self._listening = listen(self.plan.ui.host, self.plan.ui.port)

    def _restart(self) -> None:
        """Become the program that starts everything; returns if a signal has arrived that ends everything."""
        # From now on a signal waits for that program, which lets it end it.
        signal.pthread_sigmask(signal.SIG_BLOCK, AWAITED)
        self._wait(0)
        if not self._restarts_after:
            return
        os.close(self.plan.lock)
        environment = {name: value for name, value in os.environ.items() if name not in self.plan.copied}
        if self._listening is not None:
            self._listening.set_inheritable(True)
            environment[LISTENING] = str(self._listening.fileno())
        os.execve(sys.executable, [sys.executable, *self.plan.again], environment)

    def _pass_on_output(self) -> None:
        for part in self.parts:
            for line in part.output.lines():
                shown = line if self._is_terminal else COLOURS.sub(b"", line)
                _write(f"{part.part.name:<{self._width}} | ".encode() + shown + b"\n")

    def _collect(self) -> None:
        """Collect all children that have ended: parts, and the runs that they left to process 1 of a container."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                for part in self.parts:
                    if part.is_alive and part.pid == pid:
                        self._pass_on_output()
                        part.ended(describe_exit(os.waitstatus_to_exitcode(status)))
                        self._report(part)
                        self._write_state()

    def _report(self, part: PartProcess) -> None:
        """Say how a part ended, until it counts as broken."""
        restarts, now = self.plan.limits.restarts, time.strftime("%H:%M:%S")
        if self._is_stopping:
            return
        if part.failures <= restarts:
            say(f"{now} The {part.part.name} ended ({part.ending}); starting it again.")
        elif part.failures == restarts + 1:
            last = f" It said last: {part.output.last_line}" if part.output.last_line else ""
            say(
                f"{now} The {part.part.name} ended {part.failures} times in a row, the last time with this: "
                f"{part.ending}. From now on it is started after longer pauses, and everything else goes on.{last}"
            )

    def _write_state(self) -> None:
        """Tell other commands what runs; they ignore it when nobody holds the lock.

        The process id is for people: in another container, another process has it.
        """
        ui, path = self.plan.ui, Path(self.plan.state)
        state = {
            "pid": os.getpid(),
            "started": self._started,
            "stopping": self._is_stopping,
            "address": ui.address,
            "host": ui.reachable_host,
            "port": ui.port,
            "socket": next((part.part.address for part in self.parts if isinstance(part.part.address, str)), None),
            "parts": [part.described() for part in self.parts],
        }
        new = path.with_suffix(".new")
        with contextlib.suppress(OSError):
            new.write_text(json.dumps(state), encoding="utf-8")
            new.replace(path)

    def _stop(self) -> None:
        """End the parts that others use after those that use them; kill those that do not end in time.

        A second Ctrl-C does not wait.
        """
        said_at = time.monotonic() + PATIENT_STOP_SECONDS
        is_patient = True
        for stage in sorted({part.part.stage for part in self.parts}, reverse=True):
            parts = [part for part in self.parts if part.part.stage == stage]
            for part in parts:
                part.terminate()
            deadline = time.monotonic() + self.plan.limits.stop_seconds
            while (left := [part for part in parts if part.is_left()]) and time.monotonic() < deadline + 5:
                if not is_patient or time.monotonic() > deadline:
                    for part in left:
                        part.kill()
                elif time.monotonic() > said_at:
                    said_at = deadline
                    say(f"Waiting up to {deadline - time.monotonic():.0f} seconds for: {_names(left)} …")
                if self._restarts_after:
                    self._keep_address_open()
                if signal.SIGINT in self._wait(0.05) and is_patient:
                    is_patient = False
                    say(f"Killing {_names(left)}.")

    def _stop_database(self) -> None:
        """Stop the embedded database if it outlived all parts, since the last one that used it was killed.

        Ctrl-C does not wait for that; it goes on nevertheless.
        """
        database = self.plan.database
        if database is None or not locks.is_held(Path(database.server_lock)):
            return
        try:
            stopper = subprocess.Popen(
                [sys.executable, "-P", "-m", DATABASE_STOPPER, database.folder],
                cwd=self.plan.folder,
                stdin=subprocess.DEVNULL,
                # The home stays locked until it has ended.
                pass_fds=(self.plan.lock,),
                process_group=0,
            )
        except OSError as error:
            say(f"The embedded database could not be stopped: {error}")
            return
        deadline = time.monotonic() + self.plan.limits.stop_seconds
        # What starts anew needs the lock that it holds.
        while stopper.poll() is None and (self._restarts_after or time.monotonic() < deadline):
            if signal.SIGINT in self._wait(0.05):
                break


def _names(parts: Iterable[PartProcess]) -> str:
    return ", ".join(part.part.name for part in parts)


def _receive_signals() -> int:
    """Send the awaited signals to a pipe; return its reading end."""
    reading, writing = os.pipe()
    for end in (reading, writing):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in AWAITED:
        # `nohup` has it ignored. A shell that starts this in its background has SIGINT ignored, too, but may send it
        # later.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    # `aperture up` kept them for this process.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, AWAITED)
    return reading


def say(text: str) -> None:
    """Print a line of the supervisor itself."""
    _write(f"{text}\n".encode(errors="replace"))


def _write(line: bytes) -> None:
    # The terminal may be gone. Python's own file would keep a line that cannot be written, and complain at the end.
    with contextlib.suppress(OSError):
        os.write(1, line)


if __name__ == "__main__":
    sys.exit(Supervisor(Plan.parse(sys.argv[1])).run())
