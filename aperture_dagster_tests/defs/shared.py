"""Definitions and sensors built once per process, for tests that reach neither a home nor a database through them."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData
from dagster._core.events import AssetMaterializationPlannedData

from aperture_dagster.build import all_jobs, build_definitions, build_groups
from aperture_dagster.sensors import build_sensors
from aperture_dagster.settings import Settings, load_settings

BLOCKING = {"enriched_metadata": "has_every_title", "embeddings": "cover_the_library"}
"""Assets with their blocking check."""
NOWHERE = {"home": "/nonexistent", "database_url": "postgresql://nobody@127.0.0.1:1/none", "timezone": "UTC"}


def settings_of(**overrides: Any) -> Settings:
    """Return settings whose home and database do not exist."""
    return load_settings(**NOWHERE | overrides)


@functools.cache
def definitions_of(**overrides: Any) -> dg.Definitions:
    """Return the project's definitions with these settings, which must be hashable."""
    return build_definitions(settings_of(**overrides))


def build_sensor(settings: Settings, name: str, *, loaded_at: datetime | None = None) -> dg.SensorDefinition:
    """Return one of the project's sensors, of a program that was started at a time (default: now)."""
    jobs = all_jobs(settings)
    built = {job.name: job.build() for job in jobs}
    checks = [key for group in build_groups(settings) for check in group.checks for key in check.check_keys]
    sensors = build_sensors(settings, jobs, built, checks, loaded_at=loaded_at or datetime.now(UTC))
    return next(sensor for sensor in sensors if sensor.name == name)


def checked(
    instance: dg.DagsterInstance, asset: str, *, passed: bool, check: str | None = None,
    target: AssetCheckEvaluationTargetMaterializationData | None = None,
) -> None:  # fmt: skip
    """Report that an asset's blocking check ran, on its latest materialization if that is not given."""
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(asset), check_name=check or BLOCKING[asset], passed=passed, blocking=True,
            metadata={}, target_materialization_data=target,
        )
    )  # fmt: skip


def planned(instance: dg.DagsterInstance, run: dg.DagsterRun, *assets: str) -> None:
    """Report that a run is to make these assets."""
    for asset in assets:
        plan = AssetMaterializationPlannedData(dg.AssetKey(asset))
        event = dg.DagsterEvent.build_asset_materialization_planned_event(run.job_name, asset, plan)  # type: ignore[attr-defined]
        instance.report_dagster_event(event, run.run_id)
