"""Schedules of the jobs. They set only the times of starts; the order of assets follows from the lineage."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg

from aperture_dagster.automation import daily_check
from aperture_dagster.catalogue.people import new_partitions, users_of_partitions
from aperture_dagster.defs.reporting import warn_unless
from aperture_dagster.instance.failures import describe
from aperture_dagster.instance.markdown import markdown_table
from aperture_dagster.instance.runs import BlockingChecks, run_under_way, why_blocked
from aperture_dagster.jobs import NIGHTLY_GRACE_HOURS, Job, describe_job
from aperture_dagster.model import Clock
from aperture_dagster.partitions import user_partitions
from aperture_dagster.postgres.database import Database
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


LIMIT = timedelta(hours=24 + NIGHTLY_GRACE_HOURS)
NAMED = 5


def fresh_for_every_user(asset: dg.AssetsDefinition, job: str) -> dg.AssetChecksDefinition:
    """Make the check that names the users for whom the nightly ``job`` has not made ``asset`` in the last night.

    It goes by the materializations, which such a job records for everybody, also when nothing changed. New users have
    a day's time.
    """

    @daily_check(
        asset=asset,
        name="is_fresh_for_every_user",
        description=f"Within the last two nights, it was made for every user who takes part. If not, the named "
        f"users see an old state: the last run of {job} says why.",
    )
    def check(
        context: dg.AssetCheckExecutionContext,
        settings: dg.ResourceParam[Settings],
        database: dg.ResourceParam[Database],
        clock: dg.ResourceParam[Clock],
    ) -> dg.AssetCheckResult:
        """Name the users whose part is older than a day and the time that the job may take."""
        if settings.schedules.get(job) == "off":
            return dg.AssetCheckResult(passed=True, description=f"{job} is off in APERTURE_SCHEDULES: made by hand.")
        now = clock.now()
        weekly = not settings.schedules.get(job, "*").endswith("*")
        since = now - LIMIT - timedelta(days=6 if weekly else 0)
        partitions = user_partitions(context.instance)
        own = context.check_specs[0].asset_key
        made = _made_since(context.instance, own, since)
        with database.transaction() as connection:
            users, new = users_of_partitions(connection, partitions), new_partitions(connection, since=since, now=now)
        old = [key for key in users if key not in made and key not in new]
        rows = [{"user": users[key].name, "made_at": _last_made(context.instance, own, key)} for key in old]
        named = ", ".join(row["user"] for row in rows[:NAMED]) + (" and others" if len(rows) > NAMED else "")
        found = f"Not made for more than a day: {named}. See the last run of {job}." if rows else ""
        return warn_unless(not rows, found, {"stale_users": len(rows), "users": markdown_table(rows)})

    return check


def _made_since(instance: dg.DagsterInstance, asset: dg.AssetKey, since: datetime) -> set[str]:
    """Return the partitions that were materialized since then, in two short queries."""
    before = dg.AssetRecordsFilter(asset, before_timestamp=since.timestamp())
    last = instance.fetch_materializations(before, limit=1).records
    return instance.get_materialized_partitions(asset, after_cursor=last[0].storage_id if last else None)


def _last_made(instance: dg.DagsterInstance, asset: dg.AssetKey, partition: str) -> str:
    records = instance.fetch_materializations(dg.AssetRecordsFilter(asset, [partition]), limit=1).records
    return datetime.fromtimestamp(records[0].timestamp, UTC).isoformat(timespec="minutes") if records else "never"
