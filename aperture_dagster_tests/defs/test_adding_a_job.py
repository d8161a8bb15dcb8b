"""The job of ``docs/adding-a-job.md``: its declaration is all that it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from aperture_dagster.build import all_jobs, build_definitions
from aperture_dagster.defs import enrichment
from aperture_dagster.defs.enrichment.jobs import LIBRARY
from aperture_dagster.defs.jobs import Job
from aperture_dagster.defs.reference import job_table
from aperture_dagster.settings import Settings
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.defs.describe import describe

NAME = "refresh_merged_view"


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Job:
    """The job that the page declares, added to its group."""
    page = (PROJECT / "docs" / "adding-a-job.md").read_text(encoding="utf-8")
    declaration = page.partition("```python\n")[2].partition("```")[0].replace("...,", "")
    declared: dict[str, Any] = {"Job": Job, "LIBRARY": LIBRARY}
    exec(declaration, declared)
    (job,) = declared["JOBS"]
    monkeypatch.setattr(enrichment, "GROUP", replace(enrichment.GROUP, jobs=(*enrichment.GROUP.jobs, job)))
    return job


def test_one_declaration_gives_a_job_a_schedule_and_a_row_in_the_readme(settings: Settings, job: Job):
    described = describe(build_definitions(settings))
    assert described["jobs"][NAME]["assets"] == ["enriched_metadata"]
    assert described["schedules"][f"{NAME}_schedule"]["cron"] == "30 6 * * *"
    assert f"| `{NAME}` | 06:30, on upstream change | `enriched_metadata` | {job.description} |" in job_table(settings)
    # The demo and the tests' households run these one after the other.
    assert job in all_jobs(settings)


def test_a_new_installation_runs_it_once(settings: Settings, job: Job):
    sensors = describe(build_definitions(settings))["sensors"]
    assert NAME in sensors["first_sync_sensor"]["jobs"]


def test_its_schedule_starts_it_once_there_is_a_media_server(make_settings: Callable[..., Settings], job: Job):
    settings = make_settings(media_server_url="http://127.0.0.1:9", media_server_api_key="key")
    schedule = build_definitions(settings).get_repository_def().get_schedule_def(f"{NAME}_schedule")
    moment = datetime(2026, 3, 1, 6, 30, tzinfo=UTC)
    with (
        dg.instance_for_test() as instance,
        dg.build_schedule_context(instance=instance, scheduled_execution_time=moment) as context,
    ):
        tick = schedule.evaluate_tick(context)
    assert len(tick.run_requests or ()) == 1
