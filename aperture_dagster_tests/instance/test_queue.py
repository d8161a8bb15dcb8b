"""Priorities of the run queue: a new user's list runs before enrichment and the nightly jobs."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
import pytest
from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon

from aperture_dagster.build import build_definitions
from aperture_dagster.settings import Settings
from aperture_dagster_tests.sensors.runs import add_run


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
