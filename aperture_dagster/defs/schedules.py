"""Schedules of the jobs. They set only the times of starts; the order of assets follows from the lineage."""

from collections.abc import Collection
from zoneinfo import ZoneInfo

import dagster as dg

from aperture_dagster.instance.blocking_checks import BlockingChecks, why_blocked
from aperture_dagster.instance.failures import describe
from aperture_dagster.instance.runs import run_under_way
from aperture_dagster.jobs import Job, describe_job
from aperture_dagster.model import Clock
from aperture_dagster.partitions import user_partitions
from aperture_dagster.settings import Settings

# A connection to the database that was lost is there again at the second look.
LOOKS = 2


def build_schedule(
    job: Job, settings: Settings, clock: Clock, upstream: Collection[dg.AssetKey], blocking: BlockingChecks
) -> dg.ScheduleDefinition:
    """Define the schedule of a job, in the operator's time zone; ticks skip if ``upstream`` is not sound.

    A tick never fails: Dagster would not repeat it, and the job would be lost until its next time. After downtime,
    Dagster starts what was missed once, not once for every missed tick.
    """
    timezone, status = settings.schedule_timezone, dg.DefaultScheduleStatus

    @dg.schedule(
        name=f"{job.name}_schedule",
        job_name=job.name,
        cron_schedule=job.cron or "",
        execution_timezone=timezone,
        default_status=status.RUNNING if settings.schedules_enabled else status.STOPPED,
        description=describe_job(job, settings),
    )
    def start(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if settings.media_server_url is None:
            return dg.SkipReason("APERTURE_MEDIA_SERVER_URL is not set: there is no media server to work for.")
        why = ""
        for _ in range(LOOKS):
            try:
                return decide(context)
            except Exception as error:
                why = describe(error, settings)
        return dg.SkipReason(
            f"Could not look whether {job.name} may start: {why} It looks again at its next time; or start it by hand."
        )

    def decide(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        instance = context.instance
        # What is switched off need not be sound.
        reason = job.why_off(settings) or why_blocked(instance, upstream, blocking)
        reason = reason or job.why_skip(instance, settings, clock)
        if reason is not None:
            return dg.SkipReason(reason)
        allowed = job.allowed(settings, clock.now())
        if not allowed:
            return dg.SkipReason(f"Nothing is written to the media server in the quiet hours, {settings.quiet_hours}.")
        day = context.scheduled_execution_time.astimezone(ZoneInfo(timezone)).date()
        request = job.run_request(instance, settings, day=day)
        if request is None:
            return dg.SkipReason("No users take part yet: run sync_users.")
        run = run_under_way(instance, request, user_partitions(instance))
        if run is not None:
            state = "queued" if run.status == dg.DagsterRunStatus.QUEUED else "in progress"
            return dg.SkipReason(f"Run {run.run_id[:8]} of {job.name} is still {state}.")
        return request if len(allowed) == len(job.assets) else request.with_replaced_attrs(asset_selection=allowed)

    return start
