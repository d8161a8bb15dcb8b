"""The first sync: a new installation is filled at once instead of waiting for the night."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from aperture_dagster.defs.jobs import Job
from aperture_dagster.instance.runs import UNFINISHED
from aperture_dagster.resources.clock import Clock
from aperture_dagster.settings import Settings

RETRY_AFTER = timedelta(hours=1)


def build_first_sync_sensor(
    settings: Settings, jobs: Sequence[Job], built: Mapping[str, Any], status: dg.DefaultSensorStatus
) -> dg.SensorDefinition:
    """Define the sensor, which starts each job with ``first_run`` until its assets have been materialized once."""
    first = [job for job in jobs if job.first_run and job.why_off(settings) is None]

    @dg.sensor(
        name="first_sync_sensor",
        jobs=[built[job.name] for job in first],
        minimum_interval_seconds=60,
        default_status=status,
        description="Fills a new installation at once instead of waiting for the night; then it has nothing to do.",
    )
    def first_sync_sensor(
        context: dg.SensorEvaluationContext, clock: dg.ResourceParam[Clock]
    ) -> dg.SensorResult | dg.SkipReason:
        if settings.media_server_url is None:
            return dg.SkipReason("APERTURE_MEDIA_SERVER_URL is not set: there is no media server to read.")
        unfilled = [job for job in first if _missing(job.assets, context.instance)]
        reasons = {job: why_not_now(job, context.instance, clock.now(), settings) for job in unfilled}
        wanted = [job.first_request(context.instance, settings) for job, reason in reasons.items() if reason is None]
        requests = [request for request in wanted if request is not None]
        if requests:
            return dg.SensorResult(run_requests=requests)
        if reasons:
            return dg.SkipReason("; ".join(f"{job.name} {reason}" for job, reason in reasons.items()) + ".")
        return dg.SkipReason("Everything has been read once.")

    return first_sync_sensor


def why_not_now(job: Job, instance: dg.DagsterInstance, now: datetime, settings: Settings) -> str | None:
    """Say what the first run of a job waits for, or None when it can start; runs that anybody started count."""
    if instance.get_runs(dg.RunsFilter(job_name=job.name, statuses=UNFINISHED), limit=1):
        return "is running or queued"
    needed = _missing(job.needs, instance)
    if needed:
        return f"waits for {', '.join(needed)}"
    for record in instance.get_run_records(dg.RunsFilter(job_name=job.name), limit=1):
        ended = datetime.fromtimestamp(record.end_time, UTC) if record.end_time else record.update_timestamp
        if now < ended + RETRY_AFTER:
            time = (ended + RETRY_AFTER).astimezone(ZoneInfo(settings.schedule_timezone))
            return f"did not materialize everything and starts again at {time:%H:%M}"
    return None


def _missing(assets: Iterable[str], instance: dg.DagsterInstance) -> list[str]:
    return [asset for asset in assets if instance.get_latest_materialization_event(dg.AssetKey(asset)) is None]
