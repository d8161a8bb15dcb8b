"""What starts by itself: the first sync, users who join or leave, changes, ratings that wait, failed and dead runs."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from aperture_dagster.defs.jobs import Job
from aperture_dagster.sensors.failures import build_dead_runs_sensor, build_failure_sensor
from aperture_dagster.sensors.first_sync import build_first_sync_sensor
from aperture_dagster.sensors.new_users import build_users_sensor
from aperture_dagster.sensors.ratings_outbox import build_outbox_sensor
from aperture_dagster.settings import Settings


def build_sensors(settings: Settings, jobs: Sequence[Job], built: Mapping[str, Any]) -> list[dg.SensorDefinition]:
    """Define all sensors, running unless the settings say otherwise; ``built`` holds the Dagster jobs by name."""
    status = dg.DefaultSensorStatus.RUNNING if settings.schedules_enabled else dg.DefaultSensorStatus.STOPPED
    # Without Trakt, there is nothing to look for.
    outbox = [build_outbox_sensor(built, status)] if settings.trakt_client_id is not None else []
    return [
        *outbox,
        build_first_sync_sensor(settings, jobs, built, status),
        build_users_sensor(settings, jobs, built, status),
        build_failure_sensor(settings, status),
        build_dead_runs_sensor(settings, status),
        # The conditions are in `aperture_dagster.automation`, and each asset names its own.
        dg.AutomationConditionSensorDefinition(
            "automation_sensor",
            target=dg.AssetSelection.all(),
            default_status=status,
            # A look at all conditions is the dearest thing that an idle daemon does, and most changes come by the hour.
            minimum_interval_seconds=60,
            description="Starts what follows from a change: merged view, vectors, tastes, recommendations.",
        ),
    ]
