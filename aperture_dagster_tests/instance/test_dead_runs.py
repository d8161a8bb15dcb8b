"""Runs whose process has died are marked as failed and release their pool slots; live runs are left alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from aperture_dagster.instance.dead_runs import (
    BOOT_TAG,
    HOST_TAG,
    LAUNCHED_WITHIN,
    boot_id,
    dead_runs,
    end_dead_runs,
    free_dead_slots,
)
from aperture_dagster.settings import Settings
from aperture_dagster_tests.forks import Fork
from aperture_dagster_tests.users import needs_namespaces
from aperture_dagster_tests.watchman import Watchman

RUN = """
import sys
import dagster as dg

@dg.op(pool="media_server")
def working():
    print("working", flush=True)
    sys.stdin.readline()

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


def test_a_killed_run_is_ended_on_an_external_database_and_frees_its_slot(
    instance: dg.DagsterInstance, external: Settings, start: Callable[..., Runner]
):
    """Otherwise it would stay STARTED forever and block its queue slot."""
    start().die()
    (run,) = instance.get_runs()
    assert run.status == dg.DagsterRunStatus.STARTED
    assert pool(instance) == {run.run_id}
    assert run.tags[BOOT_TAG] == boot_id() and run.tags[HOST_TAG]
    assert [ended.run_id for ended in end_dead_runs(instance, external)] == [run.run_id]
    (run,) = instance.get_runs()
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert not pool(instance)
    assert end_dead_runs(instance, external) == []
    assert not list((external.home_path / "dagster" / "run-locks").iterdir())


def test_a_live_run_is_left_alone_and_leaves_no_file(
    instance: dg.DagsterInstance, external: Settings, start: Callable[..., Runner]
):
    runner = start()
    later = datetime.now(UTC) + timedelta(days=30)
    assert end_dead_runs(instance, external, now=later) == []
    free_dead_slots(instance, instance.event_log_storage, external)
    (run,) = instance.get_runs()
    assert pool(instance) == {run.run_id}
    runner.complete()
    assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.SUCCESS]
    assert not list((external.home_path / "dagster" / "run-locks").iterdir())


@needs_namespaces
def test_a_run_in_another_container_is_checked_without_its_process_id(
    instance: dg.DagsterInstance, external: Settings, start: Callable[..., Runner]
):
    """Process ids are not valid in other containers."""
    runner = start(container=True)
    (run,) = instance.get_runs()
    assert end_dead_runs(instance, external) == []
    runner.die()
    assert [ended.run_id for ended in end_dead_runs(instance, external)] == [run.run_id]


def test_without_a_daemon_the_next_process_frees_the_slot_of_a_dead_run(
    instance: dg.DagsterInstance, start: Callable[..., Runner]
):
    start().die()
    assert pool(instance)
    with dg.DagsterInstance.get():
        pass
    assert not pool(instance)


def test_a_run_of_another_machine_is_ended_only_after_the_maximum_runtime(
    instance: dg.DagsterInstance, external: Settings, start: Callable[..., Runner], tmp_path: Path
):
    start(APERTURE_HOME=str(tmp_path / "another machine")).die()
    (run,) = instance.get_runs()
    began = datetime.now(UTC)
    assert external.run_max_hours == 24
    assert end_dead_runs(instance, external, now=began + timedelta(hours=23)) == []
    assert pool(instance) == {run.run_id}
    assert [ended.run_id for ended in end_dead_runs(instance, external, now=began + timedelta(hours=25))] == [
        run.run_id
    ]
    assert not pool(instance)


def test_in_a_shared_home_only_the_machine_of_a_run_ends_it(
    instance: dg.DagsterInstance, external: Settings, start: Callable[..., Runner]
):
    """On a network filesystem the locks of another machine may be invisible."""
    start().die()
    (run,) = instance.get_runs()
    instance.add_run_tags(run.run_id, {HOST_TAG: "another", BOOT_TAG: "another"})
    assert end_dead_runs(instance, external) == []
    # The same machine after a restart.
    instance.add_run_tags(run.run_id, {HOST_TAG: os.uname().nodename, BOOT_TAG: "before"})
    assert [ended.run_id for ended in end_dead_runs(instance, external)] == [run.run_id]


def test_a_run_that_was_never_launched_is_ended_after_a_while(instance: dg.DagsterInstance, external: Settings):
    @dg.job
    def never_launched() -> None: ...

    run = instance.create_run_for_job(never_launched)
    assert run.status == dg.DagsterRunStatus.NOT_STARTED
    made = datetime.now(UTC)
    assert end_dead_runs(instance, external, now=made) == []
    assert [ended.run_id for ended in end_dead_runs(instance, external, now=made + 2 * LAUNCHED_WITHIN)] == [run.run_id]
    assert instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.NOT_STARTED])) == []


def test_with_the_embedded_database_a_run_without_a_lock_is_dead(
    instance: dg.DagsterInstance, external: Settings, start: Callable[..., Runner]
):
    """No other machine can be executing it."""
    start().die()
    (run,) = instance.get_runs()
    (external.home_path / "dagster" / "run-locks" / run.run_id).unlink()
    assert dead_runs(instance, external) == []
    runs_are_shared = {"database_url": None, "dagster_database_url": external.database_url}
    assert dead_runs(instance, external.model_copy(update=runs_are_shared)) == [], "others may execute them"
    alone = external.model_copy(update={"database_url": None})
    assert [dead.run_id for dead in dead_runs(instance, alone)] == [run.run_id]


def test_the_sensor_ends_dead_runs_on_an_external_database(
    instance: dg.DagsterInstance, external: Settings, start: Callable[..., Runner]
):
    start().die()
    watchman = Watchman(external, instance)
    said = watchman.tick()
    (run,) = instance.get_runs()
    assert f"Ended: work ({run.run_id[:8]})." in said
    assert run.status == dg.DagsterRunStatus.FAILURE
    # Dagster starts it again, and the operator hears of it if that fails, too.
    assert "Work failed." not in said
    (line,) = watchman.log()
    assert line.endswith("The process of this run is gone: it was killed, or the machine stopped.")
    assert watchman.tick() == "Nothing new is wrong."
