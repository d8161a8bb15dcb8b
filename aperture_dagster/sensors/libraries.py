"""Libraries that the media server has not read yet."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from aperture_dagster.instance.runs import UNDER_WAY
from aperture_dagster.jobs import Job
from aperture_dagster.model import Clock, counted
from aperture_dagster.postgres.database import Database
from aperture_dagster.publishing.manifest import left_unread
from aperture_dagster.settings import Settings


def build_libraries_sensor(
    settings: Settings, jobs: Sequence[Job], built: Mapping[str, Any], status: dg.DefaultSensorStatus
) -> dg.SensorDefinition:
    """Define the sensor; it is for installations that publish only."""
    (job,) = (job for job in jobs if "media_server_libraries" in job.assets)

    @dg.sensor(
        name="libraries_sensor",
        job=built[job.name],
        minimum_interval_seconds=60,
        default_status=status,
        description=f"Starts {job.name} when the media server has not read yet what a run has placed, once an hour for "
        "the same.",
    )
    def libraries_sensor(
        context: dg.SensorEvaluationContext, database: dg.ResourceParam[Database], clock: dg.ResourceParam[Clock]
    ) -> dg.RunRequest | dg.SkipReason:
        now = clock.now()
        with database.transaction() as connection:
            left = left_unread(connection, now=now)
        if not left:
            return dg.SkipReason("The media server has read everything that was placed.")
        if not job.allowed(settings, now):
            return dg.SkipReason("Libraries are shown after the quiet hours.")
        if context.instance.get_runs(dg.RunsFilter(job_name=job.name, statuses=UNDER_WAY), limit=1):
            return dg.SkipReason(
                f"{job.name} waits for the media server, which is reading {counted(len(left), 'libraries')}."
            )
        what = hashlib.sha256(json.dumps(left).encode()).hexdigest()
        return dg.RunRequest(run_key=f"{what} {now:%Y-%m-%dT%H}")

    return libraries_sensor
