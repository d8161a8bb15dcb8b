"""The first sync: a new installation is filled at once instead of waiting for the night."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from aperture_dagster.instance.runs import ENDED, UNFINISHED
from aperture_dagster.jobs import Job
from aperture_dagster.model import Clock
from aperture_dagster.sensors.attempts import minutes, next_attempt, runs_that_make
from aperture_dagster.settings import Settings

# A media server that is still booting is there after the first; a refused key is not asked about all the time.
FIRST_SYNC_WAITS = minutes(1, 5, 15, 60)


def build_first_sync_sensor(
    settings: Settings,
    jobs: Sequence[Job],
    built: Mapping[str, Any],
    status: dg.DefaultSensorStatus,
    *,
    loaded_at: datetime,
) -> dg.SensorDefinition:
    """Define the sensor, which starts each job with ``first_run`` until its assets have been materialized once."""
    first = [job for job in jobs if job.first_run and job.why_off(settings) is None]

    @dg.sensor(
        name="first_sync_sensor",
        jobs=[built[job.name] for job in first],
        # The steps of a first sync follow each other by its looks. Once everything is there, a look costs little.
        minimum_interval_seconds=20,
        default_status=status,
        description=(
            "Fills a new installation at once instead of waiting for the night. It looks every 20 seconds and starts "
            f"{', '.join(job.name for job in first)}, each as soon as what it reads is there, until each has "
            "materialized its assets once. What failed is retried at once after a restart, otherwise after 1, 5, 15 "
            "and 60 minutes."
        ),
    )
    def first_sync_sensor(
        context: dg.SensorEvaluationContext, clock: dg.ResourceParam[Clock]
    ) -> dg.SensorResult | dg.SkipReason:
        if settings.media_server_url is None:
            return dg.SkipReason("APERTURE_MEDIA_SERVER_URL is not set: there is no media server to read.")
        names = sorted({asset for job in first for asset in job.assets})
        # What was once materialized is not looked up again; the names tell if a job is new.
        if context.cursor == (filled := ",".join(names)):
            return dg.SkipReason("Everything has been read once.")
        unfilled = [job for job in first if _missing(job.assets, context.instance)]
        now = clock.now()
        reasons = {
            job: why_not_now(job, first, context.instance, settings, now=now, loaded_at=loaded_at) for job in unfilled
        }
        wanted = [job.first_request(context.instance, settings) for job, reason in reasons.items() if reason is None]
        requests = [request for request in wanted if request is not None]
        if requests:
            return dg.SensorResult(run_requests=requests)
        if reasons:
            return dg.SkipReason("; ".join(f"{job.name} {reason}" for job, reason in reasons.items() if reason) + ".")
        return dg.SensorResult(skip_reason="Everything has been read once.", cursor=filled)

    return first_sync_sensor


def why_not_now(
    job: Job,
    first: Sequence[Job],
    instance: dg.DagsterInstance,
    settings: Settings,
    *,
    now: datetime,
    loaded_at: datetime,
) -> str | None:
    """Say what the first run of a job waits for, or None when it can start; runs that anybody started count.

    ``first`` holds all jobs that are started once; it waits only for attempts of these.
    """
    missing = _missing(job.assets, instance)
    keys = [dg.AssetKey(name) for name in missing]
    if runs_that_make(instance, [job.name], keys, UNFINISHED):
        return "is running or queued"
    if settings.publish and len(job.allowed(settings, now)) < len(job.assets):
        return "waits for the end of the quiet hours"
    needed = _missing(job.needs, instance)
    if needed:
        return f"waits for {', '.join(needed)}"
    attempted = [one for one in first if not set(one.assets).isdisjoint(job.after)]
    others = [one for one in attempted if _is_to_come(one, job, instance, settings)]
    if others:
        return f"waits for the first run of {', '.join(other.name for other in others)}"
    due = next_attempt(
        runs_that_make(instance, [job.name], keys, ENDED), since=loaded_at, now=now, waits=FIRST_SYNC_WAITS
    )
    if due is not None:
        time = due.astimezone(ZoneInfo(settings.schedule_timezone))
        return f"did not materialize everything and starts again at {time:%H:%M}, or at once after a restart"
    return None


def _is_to_come(other: Job, job: Job, instance: dg.DagsterInstance, settings: Settings) -> bool:
    """Tell whether another job is making what ``job`` comes after, or has not tried yet although there is somebody."""
    assets = set(other.assets) & set(job.after)
    keys = [dg.AssetKey(name) for name in assets]
    if runs_that_make(instance, [other.name], keys, UNFINISHED):
        return True
    if not _missing(assets, instance) or runs_that_make(instance, [other.name], keys, ENDED):
        return False
    return other.first_request(instance, settings) is not None


def _missing(assets: Iterable[str], instance: dg.DagsterInstance) -> list[str]:
    return [name for name in assets if instance.get_latest_materialization_event(dg.AssetKey(name)) is None]
