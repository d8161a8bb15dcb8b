"""Whether `aperture up` runs on a home, and whether each of its parts is alive."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aperture_dagster.maintenance.status import PartState
from aperture_dagster.model import SKEW
from aperture_dagster.up.health import find_problem, grpc_server_answers

if TYPE_CHECKING:
    from dagster import DagsterInstance

from aperture_dagster.up.files import UpFiles, read_state, up_is_running

LATE_SECONDS = 300.0
"""A loop of the daemon writes a heartbeat every 30 seconds, but the evaluation of a slow sensor may delay it."""
STARTING_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class UpStatus:
    """What runs on a home.

    Attributes:
        is_running: somebody holds the lock of `aperture up`; it may be starting or stopping.
        address: address of the UI, as its own machine reaches it; None unless it runs.
        parts: `aperture up` itself, then each part if it runs.
        schedules_fire: a daemon is alive, so schedules and sensors are evaluated.
    """

    is_running: bool
    address: str | None
    parts: tuple[PartState, ...]
    schedules_fire: bool


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last sign of life of a loop of the daemon: seconds since the epoch, and its latest error."""

    timestamp: float
    error: str | None = None

    def is_fresh(self, now: float) -> bool:
        """Return whether it was given in the last minutes; one that is dated in the future may be of any age."""
        return -SKEW.total_seconds() <= now - self.timestamp <= LATE_SECONDS


def read_parts(home: Path, instance: DagsterInstance) -> UpStatus:
    """Look whether `aperture up` runs on a home, and ask each of its parts for a sign of life.

    Takes a moment if all is well, and up to 20 seconds if parts do not answer. ``instance`` holds the heartbeats of the
    daemon.

    Raises:
        DatabaseError: the heartbeats cannot be read.
    """
    file, is_running = UpFiles.of_home(home).state, up_is_running(home)
    # What an `aperture up` writes last is that its daemon ended: later heartbeats are those of another daemon.
    since = file.stat().st_mtime if file.exists() and not is_running else 0.0
    heartbeats = {
        kind: Heartbeat(beat.timestamp, beat.errors[0].message.strip() if beat.errors else None)
        for kind, beat in instance.get_daemon_heartbeats().items()
        if beat.timestamp > since
    }
    loops, now = instance.get_required_daemon_types(), datetime.now(UTC).timestamp()
    if not is_running:
        return judge_stopped(home, heartbeats, loops, now=now)
    state = read_state(file)
    answers = {}
    if state:
        answers["code server"] = grpc_server_answers(f"unix:{state['socket']}")
        answers["webserver"] = find_problem("webserver", state["host"], state["port"]) is None
    return judge_running(state, answers, heartbeats, loops, now=now)


def judge_stopped(home: Path, heartbeats: Mapping[str, Heartbeat], loops: Iterable[str], *, now: float) -> UpStatus:
    """Judge a home on which `aperture up` does not run; a daemon that is a service of its own may."""
    silent = [loop for loop in loops if loop not in heartbeats or not heartbeats[loop].is_fresh(now)]
    age = now - max((beat.timestamp for beat in heartbeats.values() if beat.is_fresh(now)), default=0.0)
    # The heartbeats of one that was killed a moment ago are fresh, too.
    if not silent and age < STARTING_SECONDS / 2:
        message = f"a service of its own; its last sign of life was {max(0, age):.0f} seconds ago"
        return UpStatus(False, None, (PartState("daemon", "ok", message),), schedules_fire=True)
    message = f"not running on {home}, so no schedule or sensor is evaluated: start `aperture up`"
    return UpStatus(False, None, (PartState("aperture up", "warning", message),), schedules_fire=False)


def judge_running(
    state: Mapping[str, Any],
    answers: Mapping[str, bool],
    heartbeats: Mapping[str, Heartbeat],
    loops: Iterable[str],
    *,
    now: float,
) -> UpStatus:
    """Judge a running `aperture up`.

    Args:
        state: contents of its state file; empty while it starts.
        answers: whether the parts that can be asked have answered, by name.
        heartbeats: of the daemon's loops, by type.
        loops: types that the instance needs.
        now: seconds since the epoch.
    """
    parts = state.get("parts", ())
    found = [
        _judge_daemon(part, heartbeats, loops, now=now)
        if part["name"] == "daemon" and part["state"] == "running"
        else _judge(part, answers.get(part["name"]), now=now)
        for part in parts
    ]
    address = state.get("address")
    about = "stopping" if state.get("stopping") else f"running; the UI is at {address}" if parts else "starting"
    is_well = bool(parts) and all(one.state == "ok" for one in found) and not state.get("stopping")
    mine = PartState("aperture up", "ok" if is_well else "warning", about)
    fires = any(one.name == "daemon" and one.state in ("ok", "warning") for one in found)
    return UpStatus(True, address, (mine, *found), schedules_fire=fires)


def _judge(part: Mapping[str, Any], answers: bool | None, *, now: float) -> PartState:
    if part["state"] == "waiting" and part.get("is_broken"):
        message = f"cannot be kept running: it ended {part['failures']} times in a row ({part['ending']})"
        return PartState(part["name"], "failed", f"{message}. `aperture up` has printed why, and tries it now and then")
    if part["state"] == "waiting":
        return PartState(part["name"], "failed", f"ended ({part['ending']}), and is about to be restarted")
    if part["state"] != "running" or (answers is False and 0 <= now - part["since"] < STARTING_SECONDS):
        return PartState(part["name"], "warning", "starting")
    if answers is False:
        return PartState(part["name"], "failed", "does not answer: restart `aperture up` if that goes on for minutes")
    return PartState(part["name"], "ok", "alive" if answers is None else "answers")


def _judge_daemon(
    part: Mapping[str, Any], heartbeats: Mapping[str, Heartbeat], loops: Iterable[str], *, now: float
) -> PartState:
    """Judge the daemon by the heartbeats of its loops: one that is silent does nothing, whatever the others do."""
    silent, failing = [], []
    for loop in sorted(loops):
        beat, name = heartbeats.get(loop), loop.lower().replace("_", " ")
        if beat is None or not part["since"] <= beat.timestamp or not beat.is_fresh(now):
            silent.append(name)
        elif beat.error:
            failing.append(f"{name}: {beat.error.splitlines()[0]}")
    if silent and now - part["since"] < STARTING_SECONDS:
        return PartState("daemon", "warning", f"starting; no sign of life yet: {', '.join(silent)}")
    if silent:
        message = f"no sign of life for more than {LATE_SECONDS / 60:.0f} minutes: {', '.join(silent)}"
        return PartState("daemon", "failed", f"{message}. Stop `aperture up`, and start it again")
    if failing:
        return PartState("daemon", "warning", f"alive, with errors in the last minutes: {'; '.join(failing)}")
    return PartState("daemon", "ok", "all loops alive")
