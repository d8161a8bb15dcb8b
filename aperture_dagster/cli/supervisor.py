"""The process that `aperture up` becomes: it starts the parts, restarts those that die, and stops all together.

It runs for months with nothing to do, so it imports no more than the standard library and sleeps until a signal
arrives or the next check is due. ``aperture up`` checks everything first, then replaces itself with
``python -m …supervisor PLAN``.

The embedded database is none of its parts: whoever finds it dead starts it again
(:mod:`aperture_dagster.storage.embedded`).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any, Literal

from aperture_dagster.cli.parts import AWAITED, STOPPING, PartLog, Plan, RunningPart, run_part
from aperture_dagster.cli.probes import Interrupted, Patience, ask_graphql, grpc_server_answers

READY_QUERY = """{ instance { daemonHealth { allDaemonStatuses { daemonType required lastHeartbeatTime } } }
  workspaceLocationEntryOrError(name: "%s") { ... on WorkspaceLocationEntry {
    loadStatus locationOrLoadError { __typename ... on PythonError { message } } } } }"""
MOST_FAILURES = 5
"""Lines of the log of failures that are shown at once."""
STARTING_POLL_SECONDS = 0.2
PATIENT_STOP_SECONDS = 5.0

State = Literal["stopped", "starting", "running", "waiting"]


class SupervisedPart:
    """A part of the plan, and its history."""

    def __init__(self, plan: Plan, number: int) -> None:
        self.part, self._plan = plan.parts[number], plan
        self.log = PartLog(plan.logs, self.part.name)
        self.process: RunningPart | None = None
        self.state: State = "stopped"
        self.since = 0.0
        """When it was started, in seconds since the epoch."""
        self.start_at = 0.0
        self.endings: list[float] = []
        self.ending: str | None = None
        self.ended_at: float | None = None
        self.last_words = ""
        self.unanswered = 0
        self._started_at = 0.0

    def start(self) -> None:
        """Start it, or note why that failed."""
        self.since, self._started_at = time.time(), time.monotonic()
        group = self.process.group if self.process is not None else None
        try:
            self.process = RunningPart(self.part, self._plan, self.log, group)
        except OSError as error:
            self.ended(f"it cannot be started: {error.strerror}")
            return
        self.log.note(f"started as process {self.process.pid}")
        self.state, self.unanswered = "starting", 0

    def ended(self, how: str) -> None:
        """Note how it ended, and schedule its restart: the more often it ended lately, the later."""
        limits, now = self._plan.limits, time.monotonic()
        self.ending, self.ended_at = how, time.time()
        if self.process is not None:
            self.process.close_pipe()
        self.endings = [*(one for one in self.endings if now - one < limits.window_seconds), now]
        self.state, self.start_at = "waiting", now + limits.pause_seconds * 2 ** (len(self.endings) - 1)

    @property
    def is_given_up(self) -> bool:
        """Whether it ended too often."""
        return len(self.endings) > self._plan.limits.restarts

    @property
    def takes_too_long(self) -> bool:
        """Whether it should have been usable by now."""
        return self.state == "starting" and time.monotonic() - self._started_at > self._plan.limits.start_seconds

    def described(self) -> dict[str, Any]:
        """Return what other commands may know of it."""
        restarts = max(0, len(self.endings) - (self.state == "waiting"))
        return {
            "name": self.part.name,
            "state": self.state,
            "since": self.since,
            "restarts": restarts,
            "ending": self.ending,
            "ended": self.ended_at,
        }


class Supervisor:
    """Runs a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.parts = [SupervisedPart(plan, number) for number in range(len(plan.parts))]
        self.started = time.time()
        self.is_ready = self.is_stopping = False
        self._signals, written = os.pipe()
        for end in (self._signals, written):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(written, warn_on_full_buffer=False)
        for number in AWAITED:
            # `nohup` has it ignored. A shell that starts this in its background has SIGINT ignored, too, but may send
            # it later.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, lambda *_: None)
        # Until now they were kept for this process.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, AWAITED)
        self._missing = self._said_missing = ""
        self._next_check = time.monotonic() + plan.limits.check_seconds
        self._heartbeats: dict[str, tuple[float, int]] = {}
        self._said_of_ui = ""
        self._failures_seen = self._size_of_failures()

    def run(self) -> int:
        """Run the parts until a signal arrives or one of them cannot be kept alive; return the exit code."""
        failure = None
        try:
            while not self.is_stopping and failure is None:
                self._reap()
                failure = self._restart_what_ended()
                if failure is None:
                    with contextlib.suppress(Interrupted):
                        self._look()
                    self._sleep()
        finally:
            # A service manager signals all processes of a service at once, and a part may have been faster.
            if self.is_stopping or self._signals_received() & STOPPING:
                failure = None
                say("Stopping …")
            self.is_stopping = True
            self._write_state()
            self._stop()
            with contextlib.suppress(OSError):
                Path(self.plan.state).unlink()
        if failure is None:
            return 0
        # Last, where it is seen.
        say(f"{failure} Everything else was stopped; start it again with `aperture up`.", error=True)
        return 1

    def _look(self) -> None:
        """See which parts have become usable and, now and then, whether the others still are."""
        for one in self.parts:
            if one.state == "starting" and self._is_usable(one):
                one.state = "running"
                self._write_state()
        if not self.is_ready:
            self._missing = self._announce()
            self.is_ready = not self._missing
            if self.is_ready:
                self._write_state()
        if time.monotonic() >= self._next_check:
            self._check()

    def _sleep(self) -> None:
        now = time.monotonic()
        times = [one.start_at for one in self.parts if one.state == "waiting" and self._may_start(one)]
        if not self.is_ready or any(one.state == "starting" for one in self.parts):
            times.append(now + STARTING_POLL_SECONDS)
        elif self.plan.ui is not None or self.plan.failures is not None or any(one.part.socket for one in self.parts):
            times.append(self._next_check)
        timeout = max(0.0, min(times) - now) if times else None
        select.select([self._signals], [], [], timeout)
        if self._signals_received() & STOPPING:
            self.is_stopping = True

    def _signals_received(self) -> set[int]:
        """Return the signals that have arrived since the last call."""
        with contextlib.suppress(BlockingIOError):
            return set(os.read(self._signals, 1000))
        return set()

    def _reap(self) -> None:
        """Wait for all children that have ended: parts, and the runs that they left to process 1 of a container."""
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                for one in self.parts:
                    if one.process is not None and one.process.pid == found[0]:
                        one.process.ended_with(os.waitstatus_to_exitcode(found[1]))

    def _restart_what_ended(self) -> str | None:
        """Start parts whose time has come; return a sentence about one that is given up."""
        for one in self.parts:
            process = one.process
            if one.state in ("starting", "running"):
                if process is not None and process.code is not None:
                    self._note_ending(one, _described(process.code))
                elif one.takes_too_long:
                    self._kill(one, f"it did not answer within {self.plan.limits.start_seconds:.0f} seconds")
            if one.is_given_up:
                said = f" It said last: {one.last_words}" if one.last_words else ""
                return (
                    f"The {one.part.name} ended {len(one.endings)} times within "
                    f"{self.plan.limits.window_seconds / 60:.0f} minutes, the last time with this: {one.ending}. "
                    f"Its output is in {one.log.path}.{said}"
                )
            is_due = one.state == "stopped" or (one.state == "waiting" and time.monotonic() >= one.start_at)
            if is_due and self._may_start(one):
                one.start()
                self._write_state()
        return None

    def _may_start(self, one: SupervisedPart) -> bool:
        return all(other.state == "running" for other in self.parts if other.part.stage < one.part.stage)

    def _kill(self, one: SupervisedPart, why: str) -> None:
        """Kill a part that hangs; its runs go on."""
        if one.process is not None:
            one.process.kill()
            # Otherwise its exit code would be taken for that of its successor.
            while one.process.code is None:
                self._reap()
                time.sleep(0.01)
        self._note_ending(one, why)

    def _note_ending(self, one: SupervisedPart, how: str) -> None:
        one.last_words = one.log.last_line()
        one.log.note(f"ended: {how}")
        one.ended(how)
        self._heartbeats = {}
        self._write_state()
        if not one.is_given_up:
            say(f"{time.strftime('%H:%M:%S')} The {one.part.name} ended ({how}); starting it again.")

    def _is_usable(self, one: SupervisedPart) -> bool:
        return one.part.socket is None or grpc_server_answers(one.part.socket, self._patience(2.0))

    def _announce(self) -> str:
        """Say that all is ready, if it is, and return what is missing."""
        waiting = [one.part.name for one in self.parts if one.state != "running"]
        ui = self.plan.ui
        if waiting or ui is None:
            return ", ".join(waiting)
        data = ask_graphql(ui.reachable_host, ui.port, READY_QUERY % ui.location, self._patience())
        if data is None:
            return "webserver"
        problem = load_error(data)
        if problem and problem != self._said_of_ui:
            self._said_of_ui = problem
            say(f"The UI is at {ui.address}, but Dagster cannot load the project: {problem}")
        if problem is not None:
            return "code server"
        daemon = max(one.since for one in self.parts if one.part.name == "daemon")
        if not all(beat >= daemon for beat in heartbeats(data).values()):
            return "daemon"
        say(f"Ready: {ui.address} (Ctrl-C stops it).")
        if ui.host != ui.reachable_host:
            say(
                f"From other machines: http://{os.uname().nodename}:{ui.port}. It asks for no password: "
                "docs/remote-access.md says how to protect it."
            )
        return ""

    def _check(self) -> None:
        """Look for parts that are alive and do not answer, for new failures, and for logs that are too long."""
        limits = self.plan.limits
        self._next_check = time.monotonic() + limits.check_seconds
        for one in self.parts:
            one.log.shorten()
        self._show_failures()
        if self.plan.ui is not None and self._missing not in ("", self._said_missing):
            self._said_missing = self._missing
            say(f"Not ready yet: waiting for the {self._missing}. {self.plan.logs} holds what the parts print.")
        for one in [one for one in self.parts if one.state == "running"]:
            if one.part.socket is not None:
                self._note_answer(one, grpc_server_answers(one.part.socket, self._patience()))
            elif self.plan.ui is not None and one.part.name == "webserver":
                self._note_answer(one, ask_graphql(*self._ui, "{ version }", self._patience()) is not None)
            elif self.plan.ui is not None and one.part.name == "daemon":
                self._check_heartbeats(one)

    @property
    def _ui(self) -> tuple[str, int]:
        assert self.plan.ui is not None
        return self.plan.ui.reachable_host, self.plan.ui.port

    def _note_answer(self, one: SupervisedPart, answers: bool) -> None:
        one.unanswered = 0 if answers else one.unanswered + 1
        if one.unanswered >= self.plan.limits.unanswered_checks:
            minutes = self.plan.limits.unanswered_checks * self.plan.limits.check_seconds / 60
            self._kill(one, f"it had not answered for {minutes:.0f} minutes")

    def _check_heartbeats(self, one: SupervisedPart) -> None:
        """Count checks in which a loop of the daemon had given no new sign of life.

        Checks are counted instead of seconds, since a computer that was asleep had no time to give any.
        """
        data = ask_graphql(*self._ui, READY_QUERY % "", self._patience())
        if data is None:
            return
        before = self._heartbeats
        self._heartbeats = {
            loop: (beat, before[loop][1] + 1 if loop in before and before[loop][0] == beat else 0)
            for loop, beat in heartbeats(data).items()
        }
        silent = [loop for loop, (_, checks) in self._heartbeats.items() if checks >= self.plan.limits.silent_checks]
        if silent:
            minutes = self.plan.limits.silent_checks * self.plan.limits.check_seconds / 60
            self._kill(one, f"no sign of life for {minutes:.0f} minutes from {', '.join(sorted(silent))}")

    def _size_of_failures(self) -> int:
        with contextlib.suppress(OSError):
            return Path(self.plan.failures).stat().st_size if self.plan.failures else 0
        return 0

    def _show_failures(self) -> None:
        """Show new lines of the log of failures: the journal of a service manager should show them without the UI."""
        size, seen = self._size_of_failures(), self._failures_seen
        self._failures_seen = size
        if self.plan.failures is None or size <= seen:
            # The beginning is removed when it becomes too long.
            return
        with contextlib.suppress(OSError), Path(self.plan.failures).open("rb") as file:
            file.seek(seen)
            lines = file.read(100_000).decode("utf-8", "replace").splitlines()
            for line in lines[:MOST_FAILURES]:
                say(line)
            if len(lines) > MOST_FAILURES:
                say(f"… and {len(lines) - MOST_FAILURES} more: {self.plan.failures}")

    def _patience(self, seconds: float | None = None) -> Patience:
        return Patience(self.plan.limits.answer_seconds if seconds is None else seconds, self._signals)

    def _write_state(self) -> None:
        """Tell other commands what runs; they ignore it when nobody holds the lock.

        The process id is for people: in another container, another process has it.
        """
        ui, path = self.plan.ui, Path(self.plan.state)
        sockets = [one.part.socket for one in self.parts if one.part.socket is not None]
        state = {
            "pid": os.getpid(),
            "started": self.started,
            "ready": self.is_ready,
            "stopping": self.is_stopping,
            "address": ui.address if ui else None,
            "host": ui.reachable_host if ui else None,
            "port": ui.port if ui else None,
            "socket": sockets[0] if sockets else None,
            "parts": [one.described() for one in self.parts],
        }
        new = path.with_suffix(".new")
        with contextlib.suppress(OSError):
            new.write_text(json.dumps(state), encoding="utf-8")
            new.replace(path)

    def _stop(self) -> None:
        """Stop the parts that others use after those that use them; kill those that do not stop."""
        began = time.monotonic()
        has_said = False
        for stage in sorted({one.part.stage for one in self.parts}, reverse=True):
            processes = [one.process for one in self.parts if one.part.stage == stage and one.process is not None]
            for one in processes:
                one.ask_to_stop()
            deadline = time.monotonic() + self.plan.limits.stop_seconds
            while left := [one for one in processes if one.code is None or one.group_is_running()]:
                self._reap()
                now = time.monotonic()
                if now > deadline:
                    for one in left:
                        one.signal_group(signal.SIGKILL)
                is_asked = bool(self._signals_received() & STOPPING)
                if is_asked or (not has_said and now - began > PATIENT_STOP_SECONDS):
                    has_said = True
                    names = " and the ".join(one.part.name for one in left)
                    say(f"Waiting up to {max(0, deadline - now):.0f} seconds for the {names} to end …")
                if now > deadline + 5:
                    break
                time.sleep(0.05)


def heartbeats(data: dict[str, Any]) -> dict[str, float]:
    """Return the time of the last heartbeat of each loop of the daemon that is needed; 0 if there was none."""
    statuses = data["instance"]["daemonHealth"]["allDaemonStatuses"]
    return {one["daemonType"]: one["lastHeartbeatTime"] or 0.0 for one in statuses if one["required"]}


def load_error(data: dict[str, Any]) -> str | None:
    """Return why the code location is not loaded; None if it is. Empty as long as it is being loaded."""
    entry = data.get("workspaceLocationEntryOrError") or {}
    location = entry.get("locationOrLoadError") or {}
    if entry.get("loadStatus") != "LOADED" or not location:
        return ""
    if location.get("__typename") == "PythonError":
        return (str(location.get("message")).strip().splitlines() or ["no reason given"])[-1]
    return None


def say(text: str, *, error: bool = False) -> None:
    """Print a line; the terminal may be gone."""
    with contextlib.suppress(OSError):
        # Python would keep a line that cannot be written, and complain at its end.
        os.write(2 if error else 1, f"{text}\n".encode(errors="replace"))


def _described(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    # Not all real-time signals have a name.
    known = -code in {int(one) for one in signal.Signals}
    return f"killed by {signal.Signals(-code).name if known else f'signal {-code}'}"


if __name__ == "__main__":
    if sys.argv[1] == "--part":
        run_part(int(sys.argv[2]), sys.argv[3], sys.argv[4:])
    else:
        sys.exit(Supervisor(Plan.parse(sys.argv[1])).run())
