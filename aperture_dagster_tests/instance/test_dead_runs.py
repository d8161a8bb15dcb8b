"""Runs whose process has died are marked as failed and release their pool slots; live runs are left alone.

A run lives as long as its process holds its lock in the database, or can still come back to it.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import dagster as dg
import pytest
from dagster._daemon.monitoring.run_monitoring import monitor_started_run
from sqlalchemy import text

from aperture_dagster.cli.restore import refuse_runs
from aperture_dagster.instance import dead_runs, run_lock
from aperture_dagster.instance.dead_runs import LAUNCHED_WITHIN, end_dead_runs, end_if_dead, lost_runs
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.settings import Settings
from aperture_dagster_tests.programs import Program
from aperture_dagster_tests.relay import relay
from aperture_dagster_tests.users import contained, needs_namespaces
from aperture_dagster_tests.waiting import SECONDS, wait_for
from aperture_dagster_tests.watchman import Watchman

STOP_SECONDS = 3.0
RUN = """
import os
import sys
import time
import dagster as dg
from aperture_dagster.instance import run_lock

run_lock.STOP_SECONDS, run_lock.BEAT_SECONDS, run_lock.PAUSE_SECONDS = 3.0, 0.1, 0.1

@dg.op(pool="media_server")
def working():
    if os.environ.get("FORK"):
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
        print(child, flush=True)
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

    def __init__(self, instance: dg.DagsterInstance, *, container: bool = False, **environment: str) -> None:
        self._instance = instance
        self._process = Program(RUN, environment={**os.environ, **environment}, inside=contained if container else None)
        self._child = int(self._process.readline()) if environment.get("FORK") else None
        assert self._process.readline() == "working\n"

    def die(self) -> None:
        """Kill the process in the middle of the step, and wait until the server has noticed."""
        before = lost(self._instance)
        self.kill()
        wait_for(lambda: lost(self._instance) - before, "the lock is still held")

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        # The pipe is closed when the last process of the container has exited.
        self._process.communicate()

    def complete(self) -> None:
        self._process.communicate("go on\n")
        assert self._process.returncode == 0

    def die_alone(self) -> None:
        """Kill the process, whose child lives on."""
        self._process.send_signal(signal.SIGKILL)
        # The child keeps what tells of the end of the process.
        wait_for(lambda: self.has_ended, "it does not end")

    def kill_child(self) -> None:
        assert self._child is not None
        os.kill(self._child, signal.SIGKILL)

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def wait(self) -> int:
        """Wait for the process to end by itself, and return its exit code."""
        return self._process.wait(timeout=60)

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def close(self) -> None:
        if self._process.poll() is None:
            self.kill()


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for longer than these runs go on without their lock, which is not long."""
    monkeypatch.setattr(dead_runs, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(dead_runs, "LOOKS", int(1.5 * STOP_SECONDS / 0.1))


@pytest.fixture
def start(external: Settings, instance: dg.DagsterInstance) -> Iterator[Callable[..., Runner]]:
    made: list[Runner] = []

    def make(**options: Any) -> Runner:
        made.append(Runner(instance, **options))
        return made[-1]

    yield make
    for runner in made:
        runner.close()


def pool(instance: dg.DagsterInstance) -> set[str]:
    return instance.event_log_storage.get_concurrency_run_ids()


def lost(instance: dg.DagsterInstance) -> set[str]:
    storage: Any = instance.run_storage
    return {run.run_id for run in lost_runs(storage)}


def end_session_of(instance: dg.DagsterInstance, run_id: str) -> None:
    """End the session that holds the lock of a run, as the server does when the client does not answer."""
    # Until it has ended: the server only tells it to.
    statement = f"""
        SELECT pg_terminate_backend(pid, {SECONDS * 1000:.0f}) FROM pg_stat_activity WHERE application_name = :name"""
    with instance.run_storage.connect() as connection:  # pyright: ignore[reportAttributeAccessIssue]
        ended = connection.execute(text(statement), {"name": f"aperture run {run_id[:8]}"}).all()
    assert ended == [(True,)]


def test_a_killed_run_is_ended_and_frees_its_slot(
    instance: dg.DagsterInstance, external: Settings, start: Callable[..., Runner]
):
    """Otherwise it would stay STARTED forever and block its queue slot."""
    start().die()
    (run,) = instance.get_runs()
    assert run.status == dg.DagsterRunStatus.STARTED
    assert pool(instance) == {run.run_id}
    assert [ended.run_id for ended in end_dead_runs(instance)] == [run.run_id]
    (run,) = instance.get_runs()
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert not pool(instance)
    assert end_dead_runs(instance) == []


@pytest.mark.nightly(
    reason="Another process that is killed.",
    instead="instance/test_dead_runs.py::test_a_killed_run_is_ended_and_frees_its_slot",
)
@needs_namespaces
def test_a_run_in_another_container_is_checked_without_its_process_id(
    instance: dg.DagsterInstance, external: Settings, start: Callable[..., Runner]
):
    """Process ids are not valid in other containers."""
    runner = start(container=True)
    (run,) = instance.get_runs()
    assert end_dead_runs(instance, now=datetime.now(UTC) + timedelta(days=30)) == []
    runner.die()
    assert pool(instance)
    assert [ended.run_id for ended in end_dead_runs(instance)] == [run.run_id]


def test_two_homes_on_one_database_do_not_end_each_others_runs(
    instance: dg.DagsterInstance, external: Settings, start: Callable[..., Runner], tmp_path: Path
):
    """Homes share a database where runs are in containers, or on machines, of their own."""
    elsewhere = start(APERTURE_HOME=str(tmp_path / "elsewhere"))
    (run,) = instance.get_runs()
    later = datetime.now(UTC) + timedelta(days=30)
    assert end_dead_runs(instance, now=later) == []
    for record in instance.get_run_records():
        monitor_started_run(instance, Mock(), record, logging.getLogger("monitoring"))
    # Each process that opens the instance frees places of runs that have ended.
    with dg.DagsterInstance.get():
        assert pool(instance) == {run.run_id}
    with pytest.raises(OperatorError, match=f"Runs are in progress: work {run.run_id[:8]}"):
        refuse_runs(instance)
    elsewhere.complete()
    assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.SUCCESS]


@pytest.mark.nightly(
    reason="Another process that is killed.",
    instead="instance/test_dead_runs.py::test_a_killed_run_is_ended_and_frees_its_slot",
)
def test_a_killed_run_of_another_home_is_ended_here(
    instance: dg.DagsterInstance, external: Settings, start: Callable[..., Runner], tmp_path: Path
):
    """The machine of that home may never come back."""
    start(APERTURE_HOME=str(tmp_path / "elsewhere")).die()
    (run,) = end_dead_runs(instance)
    assert [(run.run_id, run.status) for run in instance.get_runs()] == [(run.run_id, dg.DagsterRunStatus.FAILURE)]
    assert not pool(instance)


def test_a_run_that_took_no_lock_belongs_to_its_launcher(instance: dg.DagsterInstance, external: Settings):
    """It works with Dagster's own storage, or is the second attempt of a run whose tags it got."""
    job = dg.GraphDefinition(name="elsewhere").to_job()
    first = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    copied = {run_lock.TAG: run_lock.tag_of(first.run_id)}
    second = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=copied)
    assert end_dead_runs(instance) == [] and not end_if_dead(instance, second)
    with pytest.raises(OperatorError, match="Runs are in progress"):
        refuse_runs(instance)


def test_a_run_that_is_cut_off_stops_before_it_counts_as_dead(
    instance: dg.DagsterInstance, external: Settings, start: Callable[..., Runner]
):
    """Otherwise two processes would work on it, the one without the database, which it may need last."""
    assert external.database_url is not None
    with relay(external.database_url.get_secret_value()) as network:
        worker = start(APERTURE_DATABASE_URL=network.url)
        (run,) = instance.get_runs()
        network.cut()
        # The server notices at once, which is the worst that can happen: the lock is free.
        network.end_sessions()
        wait_for(lambda: lost(instance) == {run.run_id}, "the lock is still held")
        had_ended: list[bool] = []
        ended = [(run.run_id, had_ended.append(worker.has_ended)) for run in end_dead_runs(instance)]
        assert ended == [(run.run_id, None)] and had_ended == [True]
        assert worker.wait() == run_lock.STOPPED
    assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]


@pytest.mark.nightly(
    reason="Processes that are cut off, once more.",
    instead="instance/test_dead_runs.py::test_a_run_that_is_cut_off_stops_before_it_counts_as_dead",
)
def test_a_run_that_is_cut_off_stops_also_while_the_server_holds_its_lock(
    instance: dg.DagsterInstance, external: Settings, start: Callable[..., Runner]
):
    assert external.database_url is not None
    with relay(external.database_url.get_secret_value()) as network:
        worker = start(APERTURE_DATABASE_URL=network.url)
        network.cut()
        assert worker.wait() == run_lock.STOPPED
        assert end_dead_runs(instance) == [], "the server does not know yet"
        network.end_sessions()
        wait_for(lambda: bool(end_dead_runs(instance)), "a dead run is not found")


@pytest.mark.nightly(
    reason="A run in a process of its own.",
    instead="instance/test_dead_runs.py::test_a_run_that_is_cut_off_stops_before_it_counts_as_dead",
)
def test_a_run_whose_connections_break_goes_on_and_is_not_ended(
    instance: dg.DagsterInstance, external: Settings, start: Callable[..., Runner]
):
    """As when the server is restarted, or a firewall forgets them."""
    assert external.database_url is not None
    with relay(external.database_url.get_secret_value()) as network:
        worker = start(APERTURE_DATABASE_URL=network.url)
        ended: list[dg.DagsterRun] = []
        (run,) = instance.get_runs()
        for _ in range(3):
            network.reset()
            looking = threading.Thread(target=lambda: ended.extend(end_dead_runs(instance)))
            looking.start()
            looking.join(SECONDS)
            wait_for(lambda: not lost(instance), "the lock was not taken again")
        assert ended == []
        worker.complete()
    assert [(run.run_id, run.status) for run in instance.get_runs()] == [(run.run_id, dg.DagsterRunStatus.SUCCESS)]


@pytest.mark.nightly(
    reason="A run in a process of its own.",
    instead="instance/test_dead_runs.py::test_a_run_that_is_cut_off_stops_before_it_counts_as_dead",
)
def test_a_run_that_was_ended_while_it_was_paused_stops_when_it_goes_on(
    instance: dg.DagsterInstance, external: Settings, start: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch
):
    """A virtual machine that is moved, or a container that is frozen; sooner than the run would stop without that."""
    monkeypatch.setattr(dead_runs, "LOOKS", 1)
    worker = start()
    (run,) = instance.get_runs()
    worker.pause()
    end_session_of(instance, run.run_id)
    assert [dead.run_id for dead in end_dead_runs(instance)] == [run.run_id]
    worker.go_on()
    assert worker.wait() == run_lock.STOPPED
    assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]


def test_a_run_is_worked_on_by_one_process(instance: dg.DagsterInstance, external: Settings, monkeypatch: Any):
    """A queue that delivers a run twice gives it to two workers."""
    stopped: list[str] = []
    monkeypatch.setattr(run_lock, "STOP_SECONDS", 0.2)
    url = instance.run_storage.postgres_url  # pyright: ignore[reportAttributeAccessIssue]
    first = run_lock.RunLock("a run", url, external, stop=stopped.append)
    first.acquire()
    second = run_lock.RunLock("a run", url, external, stop=stopped.append)
    second.acquire()
    assert stopped == ["another process works on it"]
    first.release()
    second.acquire()
    second.release()
    assert len(stopped) == 1


@pytest.mark.nightly(
    reason="Another process that is killed.",
    instead="instance/test_dead_runs.py::test_a_killed_run_is_ended_and_frees_its_slot",
)
def test_a_lock_ends_with_its_process_also_if_a_child_lives_on(
    instance: dg.DagsterInstance, external: Settings, start: Callable[..., Runner]
):
    worker = start(FORK="yes")
    (run,) = instance.get_runs()
    try:
        assert end_dead_runs(instance) == []
        worker.die_alone()
        wait_for(lambda: lost(instance), "the lock is still held")
        assert [dead.run_id for dead in end_dead_runs(instance)] == [run.run_id]
    finally:
        worker.kill_child()


@pytest.mark.nightly(
    reason="Another process that is killed.",
    instead="instance/test_dead_runs.py::test_a_killed_run_is_ended_and_frees_its_slot",
)
def test_a_step_that_waits_for_a_place_of_a_dead_run_gets_it_without_a_daemon(
    instance: dg.DagsterInstance, external: Settings, start: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch
):
    events: Any = instance.event_log_storage
    events.set_concurrency_slots("media_server", 1)
    start().die()
    (lost_run,) = instance.get_runs()
    assert not events.claim_concurrency_slot("media_server", "next", "step").is_claimed
    assert events.claim_concurrency_slot("media_server", "next", "step").is_claimed
    assert pool(instance) == {"next"} and lost_run.run_id not in pool(instance)


@pytest.mark.parametrize(
    "status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING]
)
def test_a_run_that_was_created_or_launched_and_never_started_is_ended_after_a_while(
    instance: dg.DagsterInstance, external: Settings, status: dg.DagsterRunStatus
):
    """Its process was killed before it took the lock."""
    run = instance.create_run_for_job(dg.GraphDefinition(name="never_started").to_job(), status=status)
    made = datetime.now(UTC)
    assert end_dead_runs(instance, now=made) == []
    assert [ended.run_id for ended in end_dead_runs(instance, now=made + 2 * LAUNCHED_WITHIN)] == [run.run_id]
    assert [one.status for one in instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]


@pytest.mark.nightly(
    reason="Another process that is killed.",
    instead="instance/test_dead_runs.py::test_a_killed_run_is_ended_and_frees_its_slot",
)
def test_dagsters_monitoring_ends_dead_runs_without_any_sensor(
    instance: dg.DagsterInstance, external: Settings, start: Callable[..., Runner]
):
    dead = start()
    (gone,) = instance.get_runs()
    alive = start()
    dead.die()
    for record in instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        monitor_started_run(instance, Mock(), record, logging.getLogger("monitoring"))
    alive.complete()
    statuses = {run.run_id: run.status for run in instance.get_runs()}
    assert statuses.pop(gone.run_id) == dg.DagsterRunStatus.FAILURE
    assert list(statuses.values()) == [dg.DagsterRunStatus.SUCCESS]
    # Dagster starts it again, and the operator hears of it if that fails, too.
    watchman = Watchman(external, instance)
    assert "Work failed." not in watchman.tick()
    (line,) = watchman.log()
    assert line.endswith("The process of this run is gone: it was killed, or the machine stopped.")
