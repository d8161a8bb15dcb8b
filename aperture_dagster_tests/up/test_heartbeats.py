"""Whether the parts of `aperture up` are alive is judged by signs of life, not by their being started."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dagster._daemon.types import DaemonHeartbeat

from aperture_dagster.up import health
from aperture_dagster.up.files import UpFiles
from aperture_dagster.up.heartbeats import Heartbeat, UpStatus, judge_running, judge_stopped, read_parts

LOOPS = {"SENSOR", "SCHEDULER"}
NOW = 10_000.0
STARTED = NOW - 3600


def state(**daemon: Any) -> dict[str, Any]:
    """Return the state file of an `aperture up` that was started an hour ago."""
    running = {"state": "running", "since": STARTED, "ending": None}
    parts = [running | {"name": name} for name in ("code server", "webserver")]
    own = running | {"name": "daemon"} | daemon
    return {"address": "http://127.0.0.1:3000", "started": STARTED, "parts": [*parts, own]}


def judged(
    seconds: dict[str, float], errors: dict[str, str] | None = None, answers: bool = True, **daemon: Any
) -> UpStatus:
    """Judge loops whose last heartbeats are ``seconds`` old."""
    beats = {loop: Heartbeat(NOW - age, (errors or {}).get(loop)) for loop, age in seconds.items()}
    answered = {"code server": answers, "webserver": True}
    return judge_running(state(**daemon), answered, beats, LOOPS, now=NOW)


def of(status: UpStatus, name: str) -> tuple[str, str]:
    """Return state and message of a part."""
    (part,) = (part for part in status.parts if part.name == name)
    return part.state, part.message


def test_a_system_whose_loops_all_give_signs_of_life_is_well():
    status = judged({"SENSOR": 10, "SCHEDULER": 20})
    assert {part.state for part in status.parts} == {"ok"}
    assert status.schedules_fire and status.address == "http://127.0.0.1:3000"


def test_one_silent_loop_is_a_failure_though_the_others_are_alive():
    status = judged({"SENSOR": 10, "SCHEDULER": 600})
    found, message = of(status, "daemon")
    assert found == "failed" and "scheduler" in message and "sensor" not in message
    assert not status.schedules_fire


def test_a_loop_that_the_instance_does_not_need_may_be_silent():
    assert of(judged({"SENSOR": 10, "SCHEDULER": 20, "FRESHNESS_DAEMON": 9000}), "daemon")[0] == "ok"


@pytest.mark.parametrize(("since", "expected"), [(NOW - 20, "warning"), (NOW - 200, "failed")])
def test_heartbeats_of_the_daemon_before_do_not_count(since: float, expected: str):
    found, message = of(judged({"SENSOR": 250, "SCHEDULER": 250}, since=since), "daemon")
    assert found == expected and "sensor" in message


def test_an_error_of_a_loop_is_shown_and_does_not_stop_schedules():
    status = judged({"SENSOR": 10, "SCHEDULER": 20}, errors={"SENSOR": "no route to host\nmore"})
    found, message = of(status, "daemon")
    assert found == "warning" and message.endswith("sensor: no route to host")
    assert status.schedules_fire


def test_a_part_that_is_about_to_be_started_again_is_a_failure():
    status = judged({"SENSOR": 10, "SCHEDULER": 20}, state="waiting", ending="killed by SIGKILL")
    assert of(status, "daemon") == ("failed", "ended (killed by SIGKILL), and is about to be restarted")
    assert not status.schedules_fire


def test_a_code_server_that_does_not_answer_is_a_failure():
    assert of(judged({"SENSOR": 10, "SCHEDULER": 20}, answers=False), "code server")[0] == "failed"


def test_an_aperture_up_that_has_written_no_state_yet_is_starting():
    status = judge_running({}, {}, {}, LOOPS, now=NOW)
    assert status.is_running and not status.schedules_fire
    assert [part.message for part in status.parts] == ["starting"]


@pytest.mark.parametrize(
    ("sensors", "schedules", "fires"), [(20, 25, True), (20, 1800, False), (1800, 1800, False), (200, 200, False)]
)
def test_without_aperture_up_schedules_fire_only_if_another_daemon_is_alive(
    sensors: float, schedules: float, fires: bool
):
    beats = {"SENSOR": Heartbeat(NOW - sensors), "SCHEDULER": Heartbeat(NOW - schedules)}
    status = judge_stopped(Path("/home"), beats, LOOPS, now=NOW)
    assert (status.is_running, status.schedules_fire) == (False, fires)
    (part,) = status.parts
    if fires:
        assert (part.name, part.state) == ("daemon", "ok") and part.message.endswith("was 20 seconds ago")
    else:
        assert (part.name, part.state) == ("aperture up", "warning")
        assert "not running on /home" in part.message and "start `aperture up`" in part.message


@pytest.mark.parametrize(("seconds", "fires"), [(-5, False), (5, True)])
def test_heartbeats_from_before_the_end_of_aperture_up_are_of_its_own_daemon(
    tmp_path: Path, seconds: float, fires: bool
):
    state = UpFiles.of_home(tmp_path).state
    state.parent.mkdir()
    state.write_text("{}")
    ended = time.time()
    os.utime(state, times=(ended, ended))
    beat = DaemonHeartbeat(ended + seconds, "SENSOR", "1", [])
    instance: Any = SimpleNamespace(
        get_daemon_heartbeats=lambda: {"SENSOR": beat}, get_required_daemon_types=lambda: {"SENSOR"}
    )
    assert read_parts(tmp_path, instance).schedules_fire is fires


def test_heartbeats_dated_in_the_future_are_no_signs_of_life():
    year = 365 * 86_400.0
    ahead = {"SENSOR": -year, "SCHEDULER": -year}
    found, message = of(judged(ahead), "daemon")
    assert found == "failed" and "sensor" in message and "scheduler" in message
    status = judge_stopped(Path("/home"), {loop: Heartbeat(NOW + year) for loop in LOOPS}, LOOPS, now=NOW)
    assert not status.schedules_fire and of(status, "aperture up")[0] == "warning"
    assert of(judged({"SENSOR": -30, "SCHEDULER": 20}), "daemon")[0] == "ok", "clocks of two hosts differ a little"


@pytest.mark.parametrize(("beat", "expected"), [(-10.0, None), (365 * 86_400.0, "No sign of life from the daemon")])
def test_a_container_is_not_healthy_by_heartbeats_from_the_future(
    beat: float, expected: str | None, monkeypatch: pytest.MonkeyPatch
):
    loop = {"daemonType": "SENSOR", "required": True, "healthy": True, "lastHeartbeatTime": time.time() + beat}
    answer = {"instance": {"daemonHealth": {"allDaemonStatuses": [loop]}}}
    monkeypatch.setattr(health, "ask_graphql", lambda *_: answer)
    found = health.find_problem("daemon", "127.0.0.1", 3000)
    assert (found is None) if expected is None else (found or "").startswith(expected)


def test_a_part_that_was_started_a_moment_ago_need_not_answer_yet():
    for age, expected in ((5.0, "warning"), (3600.0, "failed")):
        part = {"name": "webserver", "state": "running", "since": NOW - age, "ending": None}
        found = judge_running({"parts": [part], "address": "http://x"}, {"webserver": False}, {}, (), now=NOW)
        assert of(found, "webserver")[0] == expected
