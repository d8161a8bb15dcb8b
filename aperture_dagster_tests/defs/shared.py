"""Definitions and sensors built once per process, for tests that reach neither a home nor a database through them."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from aperture_dagster.build import all_jobs, build_definitions, build_groups
from aperture_dagster.sensors import build_sensors
from aperture_dagster.settings import Settings, load_settings

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
    built = {job.name: job.build(without=dg.AssetSelection.checks()) for job in jobs}
    checks = [key for group in build_groups(settings) for check in group.checks for key in check.check_keys]
    sensors = build_sensors(settings, jobs, built, checks, loaded_at=loaded_at or datetime.now(UTC))
    return next(sensor for sensor in sensors if sensor.name == name)
