"""Checks that also run once a day: they look at what ages, or stops being true, between two runs of its asset."""

import functools
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from aperture_dagster.catalogue.history.progress import stale_histories
from aperture_dagster.catalogue.stored_users import new_partitions, users_of_partitions
from aperture_dagster.defs.reporting import warn_unless
from aperture_dagster.instance.markdown import markdown_table
from aperture_dagster.jobs import NIGHTLY_GRACE_HOURS
from aperture_dagster.model import Clock, often
from aperture_dagster.partitions import user_partitions
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings

DAILY_CHECKS = "run_daily_checks"
DAILY_CRON = "30 8 * * *"
_DAILY = "aperture/daily"
daily_check = functools.partial(dg.asset_check, metadata={_DAILY: True})


def daily_checks_job(specs: Iterable[dg.AssetCheckSpec]) -> Any:
    """Define the job, whose type Dagster does not export, of those among all checks that run once a day as well."""
    return dg.define_asset_job(
        DAILY_CHECKS,
        selection=dg.AssetSelection.checks(*(spec.key for spec in specs if _DAILY in spec.metadata)),
        description=f"Run the checks of what ages. Starts {often(DAILY_CRON)}, after the night's jobs; they run with "
        "their assets, too.",
    )


def daily_checks_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """Define the schedule of that job: not an automation condition, with which a check would not run with its asset."""
    status = dg.DefaultScheduleStatus
    return dg.ScheduleDefinition(
        name=f"{DAILY_CHECKS}_schedule",
        job_name=DAILY_CHECKS,
        cron_schedule=DAILY_CRON,
        execution_timezone=settings.schedule_timezone,
        default_status=status.RUNNING if settings.schedules_enabled else status.STOPPED,
        description=f"Look {often(DAILY_CRON)} ({settings.schedule_timezone}), after the night's jobs, at what ages.",
    )


LIMIT = timedelta(hours=24 + NIGHTLY_GRACE_HOURS)
NAMED = 5
READ_BY = "sync_watch_history"


def fresh_for_every_user(asset: dg.AssetsDefinition, made_by: Mapping[str, str]) -> dg.AssetChecksDefinition:
    """Make the check of ``asset`` that names the users whose history was not read, or whose lists were not made.

    ``made_by`` are the assets with a partition per user, each with the nightly job that makes it. It goes by the
    materializations, which such a job records for everybody, also when nothing changed. New users have a day's time.
    """

    @daily_check(
        asset=asset,
        name="is_fresh_for_every_user",
        description="Every user's history was read within a day, and their lists were made within the last two nights. "
        "If not, the named users see an old state: the last run of the named job says why.",
    )
    def check(
        context: dg.AssetCheckExecutionContext,
        settings: dg.ResourceParam[Settings],
        database: dg.ResourceParam[Database],
        clock: dg.ResourceParam[Clock],
    ) -> dg.AssetCheckResult:
        """Name the users whose part is older than a day and the time that the job may take."""
        now, partitions, rows, sentences, off = clock.now(), user_partitions(context.instance), [], [], []
        with database.transaction() as connection:
            users = users_of_partitions(connection, partitions)
            unread = {row["partition"]: row["last_read"] for row in stale_histories(connection, now=now)}
            new = new_partitions(connection, since=now - LIMIT)
        for name, job in {"watch_history": READ_BY, **made_by}.items():
            given = settings.schedules.get(job, "*")
            if given == "off":
                off.append(job)
                continue
            if job == READ_BY:
                old = {key: unread[key] or "never" for key in users if key in unread and key not in new}
            else:
                since = now - LIMIT - timedelta(days=0 if given.endswith("*") else 6)
                made = _made_since(context.instance, dg.AssetKey(name), since)
                with database.transaction() as connection:
                    spared = made | new_partitions(connection, since=since)
                old = {key: _last_made(context.instance, dg.AssetKey(name), key) for key in users if key not in spared}
            if old:
                named = ", ".join(users[key].name for key in list(old)[:NAMED]) + " and others" * (len(old) > NAMED)
                sentences.append(f"{name} is older than a day for {named}: see the last run of {job}.")
                rows += [{"asset": name, "user": users[key].name, "made_at": made_at} for key, made_at in old.items()]
        metadata = {"stale_users": len({row["user"] for row in rows}), "users": markdown_table(rows)}
        return warn_unless(not rows, " ".join(sentences) or _switched_off(off), metadata)

    return check


def _switched_off(jobs: list[str]) -> str:
    return f"Off in APERTURE_SCHEDULES, and run by hand: {', '.join(jobs)}." if jobs else ""


def _made_since(instance: dg.DagsterInstance, asset: dg.AssetKey, since: datetime) -> set[str]:
    """Return the partitions that were materialized since then, in two short queries."""
    before = dg.AssetRecordsFilter(asset, before_timestamp=since.timestamp())
    last = instance.fetch_materializations(before, limit=1).records
    return instance.get_materialized_partitions(asset, after_cursor=last[0].storage_id if last else None)


def _last_made(instance: dg.DagsterInstance, asset: dg.AssetKey, partition: str) -> str:
    records = instance.fetch_materializations(dg.AssetRecordsFilter(asset, [partition]), limit=1).records
    return datetime.fromtimestamp(records[0].timestamp, UTC).isoformat(timespec="minutes") if records else "never"
