"""Runs whose process is gone are ended and give back what they held; runs that live are left alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from aperture_dagster.recovery import BEGINS_WITHIN, all_runs_are_local, dead_runs, end_dead_runs, free_dead_slots

KILLED = """
import os, signal
import dagster as dg

@dg.op(pool="service")
def dying():
    os.kill(os.getpid(), signal.SIGKILL)

@dg.job
def killed():
    dying()

with dg.DagsterInstance.get() as instance:
    killed.execute_in_process(instance=instance)
"""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance in which a run was killed while it held a place in a pool."""
    overrides = {
        "telemetry": {"enabled": False},
        "concurrency": {"pools": {"default_limit": 1, "granularity": "op"}},
    }
    with dg.instance_for_test(temp_dir=str(tmp_path), overrides=overrides) as instance:
        done = subprocess.run([sys.executable, "-c", KILLED], env={"DAGSTER_HOME": str(tmp_path)}, timeout=60)
        assert done.returncode == -9
        yield instance


def test_a_killed_run_is_ended_and_gives_back_its_place(instance: dg.DagsterInstance):
    (run,) = instance.get_runs()
    assert run.status == dg.DagsterRunStatus.STARTED
    assert instance.event_log_storage.get_concurrency_run_ids() == {run.run_id}
    assert [ended.run_id for ended in end_dead_runs(instance)] == [run.run_id]
    (run,) = instance.get_runs()
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert not instance.event_log_storage.get_concurrency_run_ids()
    assert end_dead_runs(instance) == []


def test_a_run_whose_process_was_killed_before_it_began_is_ended_when_no_run_takes_so_long(
    instance: dg.DagsterInstance,
):
    @dg.job
    def never_begun() -> None: ...

    end_dead_runs(instance)
    run = instance.create_run_for_job(never_begun)
    assert run.status == dg.DagsterRunStatus.NOT_STARTED
    made = datetime.now(UTC)
    assert end_dead_runs(instance, now=made) == []
    assert [ended.run_id for ended in end_dead_runs(instance, now=made + 2 * BEGINS_WITHIN)] == [run.run_id]
    assert instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.NOT_STARTED])) == []


def test_without_a_daemon_the_place_is_given_back_as_well(instance: dg.DagsterInstance):
    free_dead_slots(instance.run_storage, instance.event_log_storage)
    assert not instance.event_log_storage.get_concurrency_run_ids()


def test_a_run_that_lives_is_left_alone(instance: dg.DagsterInstance):
    seen = []

    @dg.op(pool="other")
    def looking(context) -> None:
        free_dead_slots(instance.run_storage, instance.event_log_storage)
        dead = {run.run_id for run in dead_runs(instance.run_storage, instance.event_log_storage)}
        seen.append(context.run_id in dead)
        seen.append(context.run_id not in instance.event_log_storage.get_concurrency_run_ids())

    @dg.job
    def living() -> None:
        looking()

    assert living.execute_in_process(instance=instance).success
    assert seen == [False, False]


def test_with_a_database_that_others_reach_nobody_judges_by_process_numbers(make_settings):
    assert not all_runs_are_local(make_settings())
    assert all_runs_are_local(make_settings(database_url=None))
