"""Ratings that wait for Trakt."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import dagster as dg

from aperture_dagster.defs.ratings import JOBS, SYNC_JOB
from aperture_dagster.instance.runs import UNFINISHED, ended_at
from aperture_dagster.model import Clock, elapsed
from aperture_dagster.partitions import contiguous_ranges, range_tags, user_partitions
from aperture_dagster.postgres.database import Database
from aperture_dagster.ratings.outbox import due_partitions
from aperture_dagster.settings import Settings
from aperture_dagster.trakt.accounts import TraktAccounts

# What fails for a reason that nobody foresaw must not fail again every half minute.
AFTER_FAILURE = timedelta(minutes=10)


def build_outbox_sensor(
    settings: Settings, built: Mapping[str, Any], status: dg.DefaultSensorStatus
) -> dg.SensorDefinition:
    """Define the sensor; it is for installations with Trakt only."""

    @dg.sensor(
        name="ratings_outbox_sensor",
        job=built[SYNC_JOB],
        minimum_interval_seconds=30,
        default_status=status,
        description="Pushes ratings that wait for Trakt, while somebody is connected.",
    )
    def ratings_outbox_sensor(
        context: dg.SensorEvaluationContext,
        database: dg.ResourceParam[Database],
        trakt: dg.ResourceParam[TraktAccounts],
        clock: dg.ResourceParam[Clock],
    ) -> dg.SensorResult | dg.SkipReason:
        if not JOBS[0].allowed(settings, clock.now()):
            return dg.SkipReason("They wait for the end of the quiet hours: the media server gets them, too.")
        connected = trakt.connected_users()
        if not connected:
            return dg.SkipReason("Nobody is connected to Trakt, or Trakt is paused.")
        with database.transaction() as connection:
            due = due_partitions(connection, connected, now=clock.now())
        ranges = contiguous_ranges(user_partitions(context.instance), due) if due else []
        if not ranges:
            return dg.SkipReason("No rating is due.")
        if context.instance.get_runs(dg.RunsFilter(job_name=SYNC_JOB, statuses=UNFINISHED), limit=1):
            return dg.SkipReason(f"{SYNC_JOB} is running or queued.")
        last = context.instance.get_run_records(dg.RunsFilter(job_name=SYNC_JOB), limit=1)
        if last and last[0].dagster_run.status == dg.DagsterRunStatus.FAILURE:
            ago = elapsed(ended_at(last[0]), clock.now())
            if ago < AFTER_FAILURE:
                wait = (AFTER_FAILURE - ago).total_seconds()
                return dg.SkipReason(f"The last {SYNC_JOB} failed; the next one comes in {wait / 60:.0f} min.")
        return dg.SensorResult(run_requests=[dg.RunRequest(tags=range_tags(first, last)) for first, last in ranges])

    return ratings_outbox_sensor
