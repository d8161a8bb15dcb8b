"""When jobs start. The clock is a habit: the order of things is in the lineage."""

from __future__ import annotations

from collections.abc import Callable
from zoneinfo import ZoneInfo

import dagster as dg

from aperture_dagster.defs.jobs import Job
from aperture_dagster.settings import Settings


def build_schedule(
    job: Job, settings: Settings, *, why_not: Callable[[dg.DagsterInstance], str | None]
) -> dg.ScheduleDefinition:
    """Define the schedule of a job, in the operator's time zone, running unless the settings say otherwise.

    A tick for which ``why_not`` gives a reason starts nothing.
    """
    timezone = settings.schedule_timezone

    @dg.schedule(
        name=f"{job.name}_schedule",
        job_name=job.name,
        cron_schedule=job.cron or "",
        execution_timezone=timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING
        if settings.schedules_enabled
        else dg.DefaultScheduleStatus.STOPPED,
        description=f"Starts {job.name}.",
    )
    def start(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if settings.media_server_url is None:
            return dg.SkipReason("APERTURE_MEDIA_SERVER_URL is not set: there is no media server to work for.")
        reason = why_not(context.instance)
        if reason is not None:
            return dg.SkipReason(reason)
        day = context.scheduled_execution_time.astimezone(ZoneInfo(timezone)).date()
        request = job.run_request(context.instance, settings, day=day)
        return request or dg.SkipReason("No user takes part yet: run sync_users.")

    return start
