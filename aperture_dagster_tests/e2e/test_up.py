"""`aperture up` as a whole: its parts, a run launched in the UI, a second one on the same home, and its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from aperture_dagster_tests.chaos import environment
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.processes import all_gone, processes_of
from aperture_dagster_tests.waiting import wait_for
from aperture_dagster_tests.webserver import ask, free_port

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.nightly(
        reason="Each part is killed and started again, which takes a minute of processor time.",
        instead="cli/test_supervisor.py::test_a_part_that_dies_is_started_again_while_its_runs_and_the_other_parts_go_on",
    ),
]

WORLD = "generated:movies=20,series=2,episodes=6,plays=20"
PATIENCE = 120
LAUNCH = """mutation { launchRun(executionParams: {
  selector: {repositoryLocationName: "aperture", repositoryName: "__repository__", jobName: "sync_users"},
  runConfigData: {} }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
SENSOR = '{repositoryLocationName: "aperture", repositoryName: "__repository__", sensorName: "%s"}'
START = f"mutation {{ startSensor(sensorSelector: {SENSOR}) {{ ... on Sensor {{ sensorState {{ status }} }} }} }}"
TICKS = f"{{ sensorOrError(sensorSelector: {SENSOR}) {{ ... on Sensor {{ sensorState {{ ticks {{ status }} }} }} }} }}"
STATUS = '{ runOrError(runId: "%s") { ... on Run { status } } }'


class Up:
    """A running `aperture up --demo`."""

    def __init__(self, home: Path, log: Path, process: subprocess.Popen[bytes], port: int) -> None:
        self.home, self.log, self.process, self.port = home, log, process, port

    def ask(self, query: str) -> Any:
        """Ask the UI's server; None while it does not answer."""
        return ask(self.port, query)

    def wait_for(self, what: Callable[[], Any]) -> Any:
        """Wait for a true value, and return it."""
        return wait_for(what, self.log.read_text, pause=0.2, process=self.process)

    def part(self, *words: str) -> psutil.Process:
        """Return the process with these words in its command line."""
        (found,) = (one for one in processes_of(self.home) if set(words) <= set(one.cmdline()))
        return found

    def postmaster(self) -> psutil.Process:
        """Return the main process of the embedded database."""
        mark = f"aperture.data_directory={self.home / 'postgres'}"
        (found,) = (one for one in psutil.process_iter() if mark in _words_of(one))
        return found

    def launch(self) -> str:
        """Launch a run that asks the media server, in the UI; return its id."""

        def launched() -> str | None:
            answer = self.ask(LAUNCH) or {}
            return answer.get("launchRun", {}).get("run", {}).get("runId")

        return self.wait_for(launched)

    def wait_for_run(self, run: str, *statuses: str) -> str:
        """Wait until a run has one of these statuses; return it."""

        def status() -> str | None:
            answer = self.ask(STATUS % run)
            return answer["runOrError"].get("status") if answer else None

        return self.wait_for(lambda: (found := status()) in statuses and found)

    def requires_a_tick_of(self, sensor: str) -> None:
        """Switch a sensor on in the UI, and wait until the daemon has had it evaluated by the code server."""
        self.wait_for(lambda: "sensorState" in (self.ask(START % sensor) or {}).get("startSensor", {}))

        def ticks() -> list[Any]:
            answer = self.ask(TICKS % sensor) or {}
            state = answer.get("sensorOrError", {}).get("sensorState", {"ticks": []})
            # One that began while something was dead may have failed; the next must not.
            return [one for one in state["ticks"] if one["status"] in {"SKIPPED", "SUCCESS"}]

        assert self.wait_for(ticks)


def _words_of(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []


def command(home: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """Return the command and its environment. Nothing starts by itself, so that a test is alone."""
    words = [sys.executable, "-m", "aperture_dagster.cli.main", "up", "--demo", "--world", WORLD, "--home", str(home)]
    more = {"APERTURE_SCHEDULES_ENABLED": "false", "PYTHONPATH": os.environ.get("PYTHONPATH", str(PROJECT))}
    return [*words, "--port", str(port)], environment(home, **more)


@contextmanager
def running_up(tmp_path: Path) -> Iterator[Up]:
    """Start it and wait until the UI answers; whatever is left at the end is an error, and killed."""
    home, log = tmp_path / "home", tmp_path / "up.log"
    port = free_port()
    words, variables = command(home, port)
    with log.open("wb") as out:
        process = subprocess.Popen(words, env=variables, cwd=PROJECT, stdout=out, stderr=out, start_new_session=True)
    try:
        up = Up(home, log, process, port)
        up.wait_for(lambda: up.ask("{ version }"))
        yield up
        assert all_gone(tmp_path, seconds=60)
    finally:
        for one in (process, *processes_of(tmp_path)):
            with suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()


def test_what_is_killed_is_started_again_and_schedules_and_runs_go_on(tmp_path: Path):
    with running_up(tmp_path) as up:
        up.wait_for(lambda: f"Ready: http://127.0.0.1:{up.port} (" in up.log.read_text())
        words, variables = command(up.home, up.port)
        second = subprocess.run(words, env=variables, cwd=PROJECT, capture_output=True, text=True, timeout=PATIENCE)
        assert second.returncode == 1
        (said,) = second.stderr.strip().splitlines()
        assert f"`aperture up` is already running on {up.home}" in said and f"127.0.0.1:{up.port}, process" in said
        assert f"process {up.process.pid} " in said and "Ctrl-C" in said and "Choose another" not in said

        stand_ins = up.part("aperture_dagster.simulator")
        stand_ins.suspend()
        run = up.launch()
        up.wait_for_run(run, "STARTED")
        up.part("api", "grpc").kill()
        up.requires_a_tick_of("failures_sensor")
        stand_ins.resume()
        assert up.wait_for_run(run, "SUCCESS", "FAILURE") == "SUCCESS", "it goes on without its code server"

        for victim in (up.part("dagster._daemon"), up.postmaster()):
            victim.kill()
        up.requires_a_tick_of("users_sensor")

        for victim in (up.part("aperture_dagster.front_door"), stand_ins):
            victim.kill()
        up.requires_a_tick_of("ratings_outbox_sensor")
        assert up.wait_for_run(up.launch(), "SUCCESS", "FAILURE") == "SUCCESS", "the stand-ins are back"

        examined = subprocess.run(
            [sys.executable, "-m", "aperture_dagster.cli.main", "doctor"],
            env=variables | {"APERTURE_HOME": str(up.home), "COLUMNS": "200"},
            cwd=PROJECT, capture_output=True, text=True, timeout=PATIENCE,
        ).stdout  # fmt: skip
        for part in ("aperture up", "code server", "webserver", "daemon"):
            assert f"✓  {part} " in examined, examined

        said = [line for line in up.log.read_text().splitlines() if not line.startswith("Not ready yet")]
        assert len(said) <= 7, said
        for part in ("code server", "daemon", "webserver", "stand-ins"):
            assert sum(f"The {part} ended (killed by SIGKILL); starting it again." in line for line in said) == 1
        up.process.send_signal(signal.SIGKILL)
        up.process.wait()
    assert not processes_of(tmp_path)
