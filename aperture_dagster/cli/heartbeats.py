"""Whether `aperture up` runs on a home, and whether each of its parts is alive."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aperture_dagster.cli.probes import Patience, ask_graphql, grpc_server_answers
from aperture_dagster.cli.up_files import UpFiles, read_state
from aperture_dagster.library.moments import SKEW
from aperture_dagster.library.status import PartState
from aperture_dagster.settings import Settings
from aperture_dagster.storage import locks

if TYPE_CHECKING:
    from dagster import DagsterInstance

PROBE_SECONDS = 10.0
LATE_SECONDS = 300.0
"""A loop of the daemon writes a heartbeat every 30 seconds, but the evaluation of a slow sensor may delay it."""
STARTING_SECONDS = 120.0
LOOPS = {
    "SENSOR": "sensors",
    "SCHEDULER": "schedules",
    "ASSET": "automation",
    "QUEUED_RUN_COORDINATOR": "queue of runs",
    "BACKFILL": "backfills",
    "MONITORING": "run monitoring",
    "EVENT_LOG_CONSUMER": "run retries",
    "FRESHNESS_DAEMON": "freshness",
}
START = "start `aperture up`"


@dataclass(frozen=True, slots=True)
class UpStatus:
    """What runs on a home.

    Attributes:
        is_running: somebody holds the lock of `aperture up`; it may be starting or stopping.
        address: address of the UI, as its own machine reaches it; None unless it runs.
        started: when `aperture up` was started; None unless it runs.
        parts: `aperture up` itself, then each part if it runs.
        schedules_fire: a daemon is alive, so schedules and sensors are evaluated.
    """

    is_running: bool
    address: str | None
    started: datetime | None
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


def up_is_running(home: Path) -> bool:
    """Tell whether `aperture up` runs on a home; it may be starting or stopping."""
    return locks.is_held(UpFiles.of_home(home).lock)


def read_parts(settings: Settings, instance: DagsterInstance | None = None) -> UpStatus:
    """Look whether `aperture up` runs on the home of the settings, and ask each of its parts for a sign of life.

    Takes a moment if all is well, and up to 20 seconds if parts do not answer. ``instance``: by default, the one of
    ``DAGSTER_HOME``; it holds the heartbeats of the daemon.

    Raises:
        DatabaseError: the heartbeats cannot be read.
    """
    import dagster as dg

    if instance is None:
        with dg.DagsterInstance.get() as opened:
            return read_parts(settings, opened)
    heartbeats = {
        kind: Heartbeat(beat.timestamp, beat.errors[0].message.strip() if beat.errors else None)
        for kind, beat in instance.get_daemon_heartbeats().items()
    }
    loops, now = instance.get_required_daemon_types(), datetime.now(UTC).timestamp()
    if not up_is_running(settings.home_path):
        return judge_stopped(settings.home_path, heartbeats, loops, now=now)
    state = read_state(UpFiles.of_home(settings.home_path).state)
    answers = {
        "code server": grpc_server_answers(str(state.get("socket", "")), Patience(PROBE_SECONDS)),
        "webserver": _webserver_answers(state),
    }
    return judge_running(state, answers, heartbeats, loops, now=now)


def judge_stopped(home: Path, heartbeats: Mapping[str, Heartbeat], loops: Iterable[str], *, now: float) -> UpStatus:
    """Judge a home on which `aperture up` does not run; a daemon that is a service of its own may."""
    silent = [loop for loop in loops if loop not in heartbeats or not heartbeats[loop].is_fresh(now)]
    last = max((beat.timestamp for beat in heartbeats.values() if beat.is_fresh(now)), default=0.0)
    # The heartbeats of one that ended a moment ago are fresh, too.
    fires = not silent and now - last < STARTING_SECONDS / 2
    if fires:
        message = f"a service of its own; its last sign of life was {max(0, now - last):.0f} seconds ago"
        part = PartState("daemon", "ok", message)
    else:
        message = f"not running on {home}, so no schedule or sensor is evaluated: {START}"
        part = PartState("aperture up", "warning", message)
    return UpStatus(False, None, None, (part,), fires)


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
    parts: Mapping[str, Mapping[str, Any]] = {part["name"]: part for part in state.get("parts", ())}
    daemon = judge_daemon(parts.get("daemon", {}), heartbeats, loops, now=now)
    found = [daemon if name == "daemon" else _judge(part, answers.get(name)) for name, part in parts.items()]
    started = state.get("started")
    about = "stopping" if state.get("stopping") else "running" if state.get("ready") else "starting"
    address = state.get("address")
    about += f"; the UI is at {address}" if state.get("ready") else ""
    mine = PartState("aperture up", "ok" if state.get("ready") else "warning", about)
    return UpStatus(
        is_running=True,
        address=address,
        started=datetime.fromtimestamp(started, UTC) if started else None,
        parts=(mine, *found),
        schedules_fire="daemon" in parts and daemon.state in ("ok", "warning"),
    )


def judge_daemon(
    part: Mapping[str, Any], heartbeats: Mapping[str, Heartbeat], loops: Iterable[str], *, now: float
) -> PartState:
    """Judge the daemon by the heartbeats of its loops: one that is silent does nothing, whatever the others do."""
    since = float(part.get("since", 0.0))
    # Started by a clock that has been set back since.
    is_ahead = since > now + SKEW.total_seconds()
    silent, failing = [], []
    for loop in sorted(loops):
        beat = heartbeats.get(loop)
        name = LOOPS.get(loop, loop.lower().replace("_", " "))
        if beat is None or not (since <= beat.timestamp or is_ahead) or not beat.is_fresh(now):
            silent.append(name)
        elif beat.error:
            failing.append(f"{name}: {beat.error.splitlines()[0]}")
    if part.get("state") != "running":
        return _judge(part, None)
    if silent and not is_ahead and now - since < STARTING_SECONDS:
        return PartState("daemon", "warning", f"starting; no sign of life yet: {', '.join(silent)}")
    if silent:
        message = f"no sign of life for more than {LATE_SECONDS / 60:.0f} minutes: {', '.join(silent)}"
        return PartState("daemon", "failed", f"{message}. Stop `aperture up`, and start it again")
    if failing:
        return PartState("daemon", "warning", f"alive, with errors in the last minutes: {'; '.join(failing)}")
    last = max((beat.timestamp for beat in heartbeats.values() if beat.is_fresh(now)), default=now)
    return PartState(
        "daemon", "ok", f"all loops alive, the last sign {max(0, now - last):.0f} seconds ago{_past(part)}"
    )


def _judge(part: Mapping[str, Any], answers: bool | None) -> PartState:
    name = str(part.get("name", "daemon"))
    if part.get("state") == "waiting":
        return PartState(name, "failed", f"ended ({part.get('ending')}), and is about to be restarted")
    if part.get("state") != "running":
        return PartState(name, "warning", "starting")
    if answers is False:
        return PartState(name, "failed", "does not answer; it is restarted if that goes on for minutes")
    return PartState(name, "ok", f"{'alive' if answers is None else 'answers'}{_past(part)}")


def _past(part: Mapping[str, Any]) -> str:
    count, ended = part.get("restarts", 0), part.get("ended")
    if not count or not ended:
        return ""
    last = datetime.fromtimestamp(ended, UTC).isoformat(sep=" ", timespec="minutes")
    times = "once" if count == 1 else f"{count} times"
    return f"; restarted {times}, the last time at {last} ({part.get('ending')})"


def _webserver_answers(state: Mapping[str, Any]) -> bool:
    host, port = state.get("host"), state.get("port")
    if not host or not port:
        return False
    return ask_graphql(str(host), int(port), "{ version }", Patience(PROBE_SECONDS)) is not None
