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

from aperture_dagster.instance.dead_runs import (
    HOST_TAG,
    LAUNCHED_WITHIN,
    dead_runs,
    end_dead_runs,
    free_dead_slots,
    lock_run,
    unlock_run,
)
from aperture_dagster.postgres import run_lock
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


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "GRACE_SECONDS", 0.01)


@pytest.fixture
def embedded(external: Settings) -> Settings:
    """Settings as with the embedded database, for an instance on the tests' own server."""
    return external.model_copy(update={"database_url": None})


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
    assert run.tags[HOST_TAG] == os.uname().nodename
    assert [ended.run_id for ended in end_dead_runs(instance, external)] == [run.run_id]
    (run,) = instance.get_runs()
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert not pool(instance)
    assert end_dead_runs(instance, external) == []


def test_a_live_run_is_left_alone(instance: dg.DagsterInstance, external: Settings, start: Callable[..., Runner]):
    runner = start(APERTURE_HOME="/tmp/the home of another host")
    later = datetime.now(UTC) + timedelta(days=30)
    assert end_dead_runs(instance, external, now=later) == []
    free_dead_slots(instance, instance.event_log_storage, external)
    (run,) = instance.get_runs()
    assert pool(instance) == {run.run_id}
    runner.complete()
    assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.SUCCESS]


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


def test_a_killed_run_of_another_host_is_ended_as_well(
    instance: dg.DagsterInstance, external: Settings, start: Callable[..., Runner], tmp_path: Path
):
    start(APERTURE_HOME=str(tmp_path / "another host")).die()
    (run,) = instance.get_runs()
    instance.add_run_tags(run.run_id, {HOST_TAG: "attic"})
    assert [ended.run_id for ended in end_dead_runs(instance, external)] == [run.run_id]
    assert not pool(instance)
    (failure,) = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert "The process of this run on attic is gone" in failure.message


def test_a_run_that_was_never_launched_is_ended_after_a_while(instance: dg.DagsterInstance, external: Settings):
    @dg.job
    def never_launched() -> None: ...

    run = instance.create_run_for_job(never_launched)
    assert run.status == dg.DagsterRunStatus.NOT_STARTED
    made = datetime.now(UTC)
    assert end_dead_runs(instance, external, now=made) == []
    assert [ended.run_id for ended in end_dead_runs(instance, external, now=made + 2 * LAUNCHED_WITHIN)] == [run.run_id]
    assert instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.NOT_STARTED])) == []


HOLD_FILE = """
import sys
from aperture_dagster.instance.dead_runs import lock_run
from aperture_dagster.settings import load_settings
lock_run(sys.argv[1], load_settings(database_url=None))
print("locked", flush=True)
sys.stdin.readline()
"""


def test_with_the_embedded_database_a_file_shows_that_the_process_lives(
    instance: dg.DagsterInstance, embedded: Settings
):
    @dg.job
    def working() -> None: ...

    run = instance.create_run_for_job(working, status=dg.DagsterRunStatus.STARTED)
    process = Fork(HOLD_FILE, run.run_id, environment=dict(os.environ), container=False)
    assert process.stdout.readline() == "locked\n"
    assert dead_runs(instance, embedded) == end_dead_runs(instance, embedded) == []
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert [dead.run_id for dead in dead_runs(instance, embedded)] == [run.run_id]
    assert [ended.run_id for ended in end_dead_runs(instance, embedded)] == [run.run_id]
    assert not list((embedded.home_path / "dagster" / "run-locks").iterdir())


def test_with_the_embedded_database_no_session_is_opened_for_a_run(instance: dg.DagsterInstance, embedded: Settings):
    """What several hosts need must cost nothing on one."""
    lock_run("some run", embedded)
    assert "PGAPPNAME" not in os.environ and not run_lock._locks
    unlock_run("some run", embedded)
    assert not list((embedded.home_path / "dagster" / "run-locks").iterdir())


def test_dagsters_monitoring_ends_dead_runs_without_any_sensor(
    instance: dg.DagsterInstance, external: Settings, start: Callable[..., Runner]
):
    dead, alive = start(), None
    (lost,) = instance.get_runs()
    alive = start()
    dead.die()
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
    gone = f"The process of this run on {os.uname().nodename} is gone"
    assert line.endswith(f"{gone}: it was killed, or the machine stopped or was cut off.")
