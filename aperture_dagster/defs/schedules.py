"""Schedules of the jobs. They set only the times of starts; the order of assets follows from the lineage."""

from collections.abc import Collection
from zoneinfo import ZoneInfo

import dagster as dg

from aperture_dagster.defs.gates import BlockingChecks, why_blocked
from aperture_dagster.defs.jobs import Job
from aperture_dagster.resources.clock import Clock
from aperture_dagster.settings import Settings


def build_schedule(
    job: Job, settings: Settings, clock: Clock, upstream: Collection[dg.AssetKey], blocking: BlockingChecks
) -> dg.ScheduleDefinition:
    """Define the schedule of a job, in the operator's time zone; ticks skip if ``upstream`` is not sound."""
    timezone, status = settings.schedule_timezone, dg.DefaultScheduleStatus

    @dg.schedule(
        name=f"{job.name}_schedule",
        job_name=job.name,
        cron_schedule=job.cron or "",
        execution_timezone=timezone,
        default_status=status.RUNNING if settings.schedules_enabled else status.STOPPED,
        description=f"Starts {job.name}.",
    )
    def start(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if settings.media_server_url is None:
            return dg.SkipReason("APERTURE_MEDIA_SERVER_URL is not set: there is no media server to work for.")
        reason = why_blocked(context.instance, upstream, blocking) or job.why_skip(context.instance, settings, clock)
        if reason is not None:
            return dg.SkipReason(reason)
        day = context.scheduled_execution_time.astimezone(ZoneInfo(timezone)).date()
        request = job.run_request(context.instance, settings, day=day)
        return request or dg.SkipReason("No users take part yet: run sync_users.")

    return start
