"""Runs whose process has died are marked as failed and release their pool slots; live runs are left alone."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import dagster as dg
import pytest
from dagster._daemon.monitoring.run_monitoring import monitor_started_run

from aperture_dagster.cli.restore import refuse_runs
from aperture_dagster.instance.dead_runs import LAUNCHED_WITHIN, end_dead_runs, free_dead_slots
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.settings import Settings
from aperture_dagster_tests.forks import Fork
from aperture_dagster_tests.users import needs_namespaces
from aperture_dagster_tests.watchman import Watchman

RUN = """
import sys
import time
import dagster as dg

@dg.op(pool="media_server")
def working():
    print("working", flush=True)
    # At the end of the input, a kill is on its way.
    sys.stdin.readline() or time.sleep(60)

@dg.job
def work():
    working()

with dg.DagsterInstance.get() as instance:
    work.execute_in_process(instance=instance)
"""


class Runner:
    """A process that executes a run and holds a pool slot."""

    def __init__(self, *, container: bool = False, **environment: str) -> None:
        self._process = Fork(RUN, environment={**os.environ, **environment}, container=container)
        assert self._process.stdout.readline() == "working\n"

    def die(self) -> None:
        """Kill the process in the middle of the step."""
        self._process.send_signal(signal.SIGKILL)
        # The pipe is closed when the last process of the container has exited.
        self._process.communicate(timeout=300)

    def complete(self) -> None:
        self._process.communicate("go on\n", timeout=300)
        assert self._process.returncode == 0

    def close(self) -> None:
        if self._process.poll() is None:
            self.die()


@pytest.fixture
def start(external: Settings) -> Iterator[Callable[..., Runner]]:
    made: list[Runner] = []

    def make(**options: Any) -> Runner:
        made.append(Runner(**options))
        return made[-1]

    yield make
    for runner in made:
        runner.close()


def pool(instance: dg.DagsterInstance) -> set[str]:
    return instance.event_log_storage.get_concurrency_run_ids()


def test_a_killed_run_is_ended_and_frees_its_slot(
    instance: dg.DagsterInstance, external: Settings, start: Callable[..., Runner]
):
    """Otherwise it would stay STARTED forever and block its queue slot."""
    start().die()
    (run,) = instance.get_runs()
    assert run.status == dg.DagsterRunStatus.STARTED
    assert pool(instance) == {run.run_id}
    assert [ended.run_id for ended in end_dead_runs(instance, external)] == [run.run_id]
    (run,) = instance.get_runs()
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert not pool(instance)
    assert not list((external.home_path / "dagster" / "run-locks").iterdir())
    assert end_dead_runs(instance, external) == []


@needs_namespaces
def test_a_run_in_another_container_is_checked_without_its_process_id(
    instance: dg.DagsterInstance, external: Settings, start: Callable[..., Runner]
):
    """Process ids are not valid in other containers."""
    runner = start(container=True)
    (run,) = instance.get_runs()
    assert end_dead_runs(instance, external, now=datetime.now(UTC) + timedelta(days=30)) == []
    runner.die()
    assert pool(instance)
    # Without a daemon, the next process frees the slot.
    with dg.DagsterInstance.get():
        pass
    assert not pool(instance)
    assert [ended.run_id for ended in end_dead_runs(instance, external)] == [run.run_id]


def test_a_run_of_another_home_on_the_same_database_belongs_to_its_launcher(
    instance: dg.DagsterInstance, external: Settings, start: Callable[..., Runner], tmp_path: Path
):
    """Homes share a database where runs are in containers, or on machines, of their own."""
    elsewhere = start(APERTURE_HOME=str(tmp_path / "elsewhere"))
    (run,) = instance.get_runs()
    later = datetime.now(UTC) + timedelta(days=30)
    assert end_dead_runs(instance, external, now=later) == []
    for record in instance.get_run_records():
        monitor_started_run(instance, Mock(), record, logging.getLogger("monitoring"))
    # Each process that opens the instance frees places of dead runs.
    with dg.DagsterInstance.get():
        assert pool(instance) == {run.run_id}
    with pytest.raises(OperatorError, match=f"Runs are in progress: work {run.run_id[:8]}"):
        refuse_runs(instance, external)
    elsewhere.complete()
    assert [one.status for one in instance.get_runs()] == [dg.DagsterRunStatus.SUCCESS]


def test_a_killed_run_of_another_home_is_ended_there(
    instance: dg.DagsterInstance, external: Settings, start: Callable[..., Runner], tmp_path: Path
):
    home = tmp_path / "elsewhere"
    start(APERTURE_HOME=str(home)).die()
    assert end_dead_runs(instance, external) == []
    ended = end_dead_runs(instance, external.model_copy(update={"home": home}))
    assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]
    assert [run.run_id for run in ended] == [run.run_id for run in instance.get_runs()]
    assert not pool(instance)


@pytest.mark.parametrize(
    "status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING]
)
def test_a_run_that_was_created_or_launched_and_never_started_is_ended_after_a_while(
    instance: dg.DagsterInstance, external: Settings, status: dg.DagsterRunStatus
):
    """Its process was killed before it made a lock file, which is what tells that a run is of this home."""
    run = instance.create_run_for_job(dg.GraphDefinition(name="never_started").to_job(), status=status)
    made = datetime.now(UTC)
    assert end_dead_runs(instance, external, now=made) == []
    assert [ended.run_id for ended in end_dead_runs(instance, external, now=made + 2 * LAUNCHED_WITHIN)] == [run.run_id]
    assert [one.status for one in instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]


def test_dagsters_monitoring_ends_dead_runs_without_any_sensor(
    instance: dg.DagsterInstance, external: Settings, start: Callable[..., Runner]
):
    dead = start()
    (lost,) = instance.get_runs()
    alive = start()
    dead.die()
    free_dead_slots(instance, instance.event_log_storage, external)
    assert pool(instance) == {run.run_id for run in instance.get_runs()} - {lost.run_id}
    for record in instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        monitor_started_run(instance, Mock(), record, logging.getLogger("monitoring"))
    alive.complete()
    statuses = {run.run_id: run.status for run in instance.get_runs()}
    assert statuses.pop(lost.run_id) == dg.DagsterRunStatus.FAILURE
    assert list(statuses.values()) == [dg.DagsterRunStatus.SUCCESS]
    # Dagster starts it again, and the operator hears of it if that fails, too.
    watchman = Watchman(external, instance)
    assert "Work failed." not in watchman.tick()
    (line,) = watchman.log()
    assert line.endswith("The process of this run is gone: it was killed, or the machine stopped.")
