"""The process that `aperture up` becomes: it starts the parts, restarts those that end, and stops all together.

A part that ends again and again is started less and less often, and the others go on: without a webserver, lists are
still made and published.

It runs for months with nothing to do, so it imports no more than the standard library and sleeps until a signal
arrives or the next look at the logs is due. ``aperture up`` checks everything first, then replaces itself with
``python -m …supervisor PLAN``.

The embedded database is none of its parts: whoever finds it dead starts it again
(:mod:`aperture_dagster.postgres.embedded`).
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

from aperture_dagster.up.parts import AWAITED, STOPPING, Plan, SupervisedPart, run_part

STARTING_POLL_SECONDS = 0.2
PATIENT_STOP_SECONDS = 5.0


class Supervisor:
    """Runs a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.parts = [SupervisedPart(plan, number) for number in range(len(plan.parts))]
        self.started = time.time()
        self.is_stopping = False
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
        self._next_check = time.monotonic() + plan.limits.check_seconds

    def run(self) -> None:
        """Run the parts until a signal arrives."""
        try:
            while not self.is_stopping:
                self._reap()
                self._start_what_is_due()
                self._look()
                self._sleep()
        finally:
            say("Stopping …")
            self.is_stopping = True
            self._write_state()
            self._stop()

    def _reap(self) -> None:
        """Wait for all children that have ended: parts, and the runs that they left to process 1 of a container."""
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                for one in self.parts:
                    if one.is_alive and one.pid == found[0]:
                        self._note_ending(one, os.waitstatus_to_exitcode(found[1]))

    def _note_ending(self, one: SupervisedPart, code: int) -> None:
        one.ended_with(code)
        self._write_state()
        # A service manager may signal all processes of a service at once, and a part may be faster.
        if one.state != "waiting" or self.is_stopping or self._is_asked_to_stop():
            return
        restarts, now = self.plan.limits.restarts, time.strftime("%H:%M:%S")
        if one.failures <= restarts:
            say(f"{now} The {one.part.name} ended ({one.ending}); starting it again.")
        elif one.failures == restarts + 1:
            last = f" It said last: {one.last_words}" if one.last_words else ""
            say(
                f"{now} The {one.part.name} ended {one.failures} times in a row, the last time with this: "
                f"{one.ending}. From now on it is started after longer pauses, and everything else goes on. Its "
                f"output is in {one.log.path}.{last}"
            )

    def _start_what_is_due(self) -> None:
        """Start parts whose time has come."""
        for one in self.parts:
            is_due = one.state == "stopped" or (one.state == "waiting" and time.monotonic() >= one.start_at)
            if is_due and self._may_start(one):
                one.start()
                self._write_state()

    def _may_start(self, one: SupervisedPart) -> bool:
        return all(other.state in ("running", "done") for other in self.parts if other.part.stage < one.part.stage)

    def _look(self) -> None:
        """See which parts have become usable and, now and then, how long the logs are."""
        for one in self.parts:
            if one.state == "starting" and one.is_usable:
                one.state = "running"
                self._write_state()
        if time.monotonic() >= self._next_check:
            self._next_check = time.monotonic() + self.plan.limits.check_seconds
            for one in self.parts:
                one.log.shorten()

    def _sleep(self) -> None:
        times = [one.start_at for one in self.parts if one.state == "waiting" and self._may_start(one)]
        if any(one.state == "starting" for one in self.parts):
            times.append(time.monotonic() + STARTING_POLL_SECONDS)
        timeout = max(0.0, min([self._next_check, *times]) - time.monotonic())
        # A part that others have waited for may have become usable just now.
        if any(one.state == "stopped" and self._may_start(one) for one in self.parts):
            timeout = 0.0
        select.select([self._signals], [], [], timeout)
        self._is_asked_to_stop()

    def _is_asked_to_stop(self) -> bool:
        """Tell whether a signal has arrived that ends everything."""
        if self._signals_received() & STOPPING:
            self.is_stopping = True
        return self.is_stopping

    def _signals_received(self) -> set[int]:
        """Return the signals that have arrived since the last call."""
        with contextlib.suppress(BlockingIOError):
            return set(os.read(self._signals, 1000))
        return set()

    def _write_state(self) -> None:
        """Tell other commands what runs; they ignore it when nobody holds the lock.

        The process id is for people: in another container, another process has it.
        """
        ui, path = self.plan.ui, Path(self.plan.state)
        state = {
            "pid": os.getpid(),
            "started": self.started,
            "stopping": self.is_stopping,
            "address": ui.address,
            "host": ui.reachable_host,
            "port": ui.port,
            "socket": next((one.part.socket for one in self.parts if one.part.socket is not None), None),
            "parts": [one.described() for one in self.parts if not one.part.is_herald],
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
            parts = [one for one in self.parts if one.part.stage == stage and one.pid is not None]
            for one in parts:
                one.ask_to_stop()
            deadline = time.monotonic() + self.plan.limits.stop_seconds
            while left := [one for one in parts if one.is_alive or one.group_is_running()]:
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


def say(text: str, *, error: bool = False) -> None:
    """Print a line; the terminal may be gone."""
    with contextlib.suppress(OSError):
        # Python would keep a line that cannot be written, and complain at its end.
        os.write(2 if error else 1, f"{text}\n".encode(errors="replace"))


if __name__ == "__main__":
    if sys.argv[1] == "--part":
        run_part(int(sys.argv[2]), sys.argv[3], sys.argv[4:])
    else:
        Supervisor(Plan.parse(sys.argv[1])).run()
