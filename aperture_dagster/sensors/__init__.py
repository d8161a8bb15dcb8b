"""Sensors, a module each: the first sync, users, plays, what members say, libraries, ratings, failures."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import dagster as dg

from aperture_dagster.jobs import Job
from aperture_dagster.sensors.failures import build_failures_sensor
from aperture_dagster.sensors.first_sync import build_first_sync_sensor
from aperture_dagster.sensors.libraries import build_libraries_sensor
from aperture_dagster.sensors.members import build_members_sensor
from aperture_dagster.sensors.plays import build_plays_sensor
from aperture_dagster.sensors.ratings_outbox import build_outbox_sensor
from aperture_dagster.sensors.users import build_users_sensor
from aperture_dagster.settings import Settings


def build_sensors(
    settings: Settings,
    jobs: Sequence[Job],
    built: Mapping[str, Any],
    checks: Sequence[dg.AssetCheckKey],
    *,
    loaded_at: datetime,
) -> list[dg.SensorDefinition]:
    """Define all sensors, running unless the settings say otherwise.

    ``built`` holds the Dagster jobs by name; ``loaded_at`` says when the program started.
    """
    status = dg.DefaultSensorStatus.RUNNING if settings.schedules_enabled else dg.DefaultSensorStatus.STOPPED
    # Without Trakt, there is nothing to look for.
    outbox = [build_outbox_sensor(settings, built, status)] if settings.trakt_client_id is not None else []
    libraries = [build_libraries_sensor(settings, jobs, built, status)] if settings.publish else []
    return [
        *outbox,
        *libraries,
        build_first_sync_sensor(settings, jobs, built, status, loaded_at=loaded_at),
        build_users_sensor(settings, jobs, built, status, loaded_at=loaded_at),
        build_plays_sensor(settings, jobs, built, status),
        build_members_sensor(settings, jobs, built, status),
        build_failures_sensor(settings, checks, freshness_makers(settings, jobs), status),
        # The conditions are in `aperture_dagster.automation`, and each asset names its own.
        dg.AutomationConditionSensorDefinition(
            "automation_sensor",
            target=dg.AssetSelection.all(),
            default_status=status,
            # Evaluating all conditions is the most expensive thing an idle daemon does, and changes come hours apart.
            minimum_interval_seconds=60,
            description=(
                "Starts what follows from a change (merged view, vectors, tastes, lists), and the checks that run once "
                "a day. It looks every minute; what it waits for is the automation condition of each asset."
            ),
        ),
    ]


def freshness_makers(settings: Settings, jobs: Sequence[Job]) -> dict[dg.AssetKey, Job]:
    """Return the assets that must be fresh, each with the first job that is to keep it so."""
    makers: dict[dg.AssetKey, Job] = {}
    for job in jobs:
        if job.why_off(settings) is None and job.freshness(settings.schedule_timezone) is not None:
            for asset in job.assets:
                makers.setdefault(dg.AssetKey(asset), job)
    return makers
