"""What leaves the queue first: a new user's list waits neither behind enrichment nor behind the night."""

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
    """Store a run of one of the project's jobs, with the tags of the job."""
    definitions = build_definitions(external)
    return lambda status, job: add_run(instance, job, status, **definitions.resolve_job_def(job).tags)


def next_runs(instance: dg.DagsterInstance) -> list[str]:
    """The jobs whose runs Dagster would start now, in order."""
    daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
    runs = daemon._get_runs_to_dequeue(instance, instance.get_concurrency_config(), None)
    return [run.job_name for run in runs]


def test_a_first_list_starts_while_enrichment_is_running_and_more_of_it_is_queued(instance: dg.DagsterInstance, add):
    for job in ("enrich_metadata", "enrich_mdblist"):
        add("STARTED", job)
    for job in ("enrich_studio_logos", "enrich_metadata"):
        add("QUEUED", job)
    assert next_runs(instance) == []
    add("QUEUED", "first_list")
    assert next_runs(instance) == ["first_list"]


def test_a_first_list_goes_before_the_night_and_the_night_before_enrichment(instance: dg.DagsterInstance, add):
    for job in ("enrich_metadata", "generate_recommendations", "first_list"):
        add("QUEUED", job)
    assert next_runs(instance) == ["first_list", "generate_recommendations", "enrich_metadata"]
