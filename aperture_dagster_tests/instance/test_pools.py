"""Pools exist before runs need them, and a new user's list runs before enrichment and the nightly jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest
from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon

from aperture_dagster.build import build_definitions
from aperture_dagster.instance.pools import POOLS, create_missing_pools
from aperture_dagster.postgres.connection import dagster_database_url
from aperture_dagster.settings import Settings
from aperture_dagster_tests.interleaving import race, stop_before_statement
from aperture_dagster_tests.sensors.runs import add_run

pytestmark = pytest.mark.usefixtures("external")


def limits(instance: dg.DagsterInstance) -> dict[str, int]:
    return {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits() if not pool.from_default}


def test_each_pool_of_an_asset_has_a_limit(external: Settings, instance: dg.DagsterInstance):
    definitions = build_definitions(external)
    named = {
        asset.op.pool
        for asset in definitions.resolve_asset_graph().assets_defs
        if asset.is_executable and asset.op.pool is not None
    }
    assert named <= POOLS.keys()
    assert limits(instance) == POOLS


def test_a_limit_set_by_hand_is_kept():
    with dg.DagsterInstance.get() as instance:
        instance.event_log_storage.set_concurrency_slots("tmdb", 3)
    with dg.DagsterInstance.get() as instance:
        assert limits(instance) == POOLS | {"tmdb": 3}


def test_processes_that_open_the_storage_at_once_create_each_pool_once(
    external: Settings, instance: dg.DagsterInstance
):
    events: Any = instance.event_log_storage
    for name in POOLS:
        events.delete_concurrency_limit(name)
    assert limits(instance) == {}
    with stop_before_statement("INSERT INTO concurrency_limits") as stop:
        race(dagster_database_url(external), stop, *[lambda: create_missing_pools(events)] * 2)
    assert limits(instance) == POOLS
    assert {name: events.get_concurrency_info(name).slot_count for name in POOLS} == POOLS


# Priorities of the run queue


@pytest.fixture
def add(external: Settings, instance: dg.DagsterInstance) -> Callable[[str, str], dg.DagsterRun]:
    """Return a function that stores a run of one of the project's jobs with the job's tags."""
    definitions = build_definitions(external)
    return lambda status, job: add_run(instance, job, status, **definitions.resolve_job_def(job).tags)


def next_runs(instance: dg.DagsterInstance) -> list[str]:
    """Return the jobs whose runs Dagster would start now, in order."""
    daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
    runs = daemon._get_runs_to_dequeue(instance, instance.get_concurrency_config(), None)
    return [run.job_name for run in runs]


def test_a_first_list_starts_while_enrichment_is_running_and_queued(instance: dg.DagsterInstance, add):
    for job in ("enrich_metadata", "enrich_mdblist"):
        add("STARTED", job)
    for job in ("enrich_studio_logos", "enrich_metadata"):
        add("QUEUED", job)
    assert next_runs(instance) == []
    add("QUEUED", "first_list")
    assert next_runs(instance) == ["first_list"]


def test_a_first_list_runs_before_nightly_jobs_and_those_before_enrichment(instance: dg.DagsterInstance, add):
    for job in ("enrich_metadata", "generate_recommendations", "first_list"):
        add("QUEUED", job)
    assert next_runs(instance) == ["first_list", "generate_recommendations", "enrich_metadata"]
