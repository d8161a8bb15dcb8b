"""Read the state of an installation from its databases, its files and Dagster."""

from __future__ import annotations

import shutil
from collections.abc import Set
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from aperture_dagster.catalogue.departures import describe_departures
from aperture_dagster.catalogue.people import who_takes_part
from aperture_dagster.catalogue.queries import catalogue_size
from aperture_dagster.catalogue.server_trouble import read_trouble
from aperture_dagster.catalogue.stored_users import read_users, server_identity
from aperture_dagster.cli.show import how_to_begin
from aperture_dagster.http.redaction import redact
from aperture_dagster.maintenance import size_of_database
from aperture_dagster.maintenance.clock import future_dates
from aperture_dagster.maintenance.status import (
    CheckState,
    JobState,
    Status,
    UserState,
    changes_since,
    household_rows,
    picks_watched,
    recent_outage,
)
from aperture_dagster.model import elapsed
from aperture_dagster.postgres.backup.folder import backup_folder, read_backups, why_lost, why_overdue
from aperture_dagster.postgres.connection import describe_server
from aperture_dagster.postgres.database import NothingYet, read_only
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.publishing.manifest import unread_libraries
from aperture_dagster.publishing.server.outcomes import why_unread
from aperture_dagster.ratings.merge import describe_held
from aperture_dagster.ratings.removals import held_by_user
from aperture_dagster.settings import Settings
from aperture_dagster.up.files import up_is_running
from aperture_dagster.up.heartbeats import read_parts

if TYPE_CHECKING:
    import dagster as dg

    from aperture_dagster.jobs import Job


READ_RUNS = 10


def read_status(settings: Settings, *, now: datetime) -> Status:
    """Read the state of an installation. It starts no run, and writes nothing but what starting the server takes."""
    existing = next(path for path in (settings.home_path, *settings.home_path.parents) if path.exists())
    state: dict[str, Any] = {
        "at": now,
        "is_demo": settings.media_server_url is None,
        "up_is_running": up_is_running(settings.home_path),
        "free_bytes": shutil.disk_usage(existing).free,
    }
    try:
        with read_only(settings) as connection:
            state |= _read_product(connection, settings, now)
        backups = read_backups(backup_folder(settings))
        state["backups"] = len(backups)
        state["proven_backups"] = [backup.day for backup in backups if backup.is_proven]
        # The first one is made in the night after the installation.
        is_new = all(elapsed(user.first_seen_at, now) < timedelta(days=1) for user in state["users"])
        state["backups_wrong"] = None if is_new and not backups else why_overdue(settings, backups, now)
        state["backups_wrong"] = why_lost(settings) or state["backups_wrong"]
        instance = _read_instance(settings, now)
        state |= instance | {"dated_in_future": state["dated_in_future"] + instance["dated_in_future"]}
    except NothingYet as error:
        state["storage_wrong"] = f"{error} {how_to_begin(settings)}"
    except DatabaseError as error:
        state["storage_wrong"] = redact(str(error), settings.secret_values())
    return Status(**state)


def _read_product(connection: Connection, settings: Settings, now: datetime) -> dict[str, Any]:
    """Read what is stored of users, titles, lists and the media server."""
    keys = {user.user_id for user in who_takes_part(settings, read_users(connection))}
    unread = unread_libraries(connection, now=now)
    return {
        "users": [
            UserState(
                row["name"],
                row["user_id"] in keys,
                row["first_seen_at"],
                row["films"],
                row["series"],
                row["listed_at"],
            )
            for row in household_rows(connection)
        ],
        **catalogue_size(connection),
        "publishing_wrong": why_unread(unread) if unread else None,
        "removals_held": [describe_held(one) for one in held_by_user(connection)],
        "server": server_identity(connection) or {},
        "server_trouble": read_trouble(connection),
        "database": {**describe_server(connection), "bytes": size_of_database(connection)},
        "dated_in_future": future_dates(connection, now=now),
        "last_day": changes_since(connection, now - timedelta(days=1)),
        "outage": recent_outage(connection, now=now),
        "forgotten_soon": describe_departures(connection, settings.forget_after_days),
        "picks_watched": picks_watched(connection, now=now, timezone=settings.schedule_timezone),
    }


def _read_instance(settings: Settings, now: datetime) -> dict[str, Any]:
    """Read what Dagster knows: runs, checks, freshness, and the parts of `aperture up`."""
    import dagster as dg

    from aperture_dagster.build import all_jobs, build_definitions
    from aperture_dagster.instance import wrong_clock
    from aperture_dagster.instance.dead_runs import lost_run_ids
    from aperture_dagster.sensors import freshness_makers
    from aperture_dagster.sensors.troubles import look_at_checks, look_at_freshness

    def clean(text: str) -> str:
        return redact(text, settings.secret_values())

    jobs = all_jobs(settings)
    checks = [key for one in build_definitions(settings).asset_checks or () for key in one.check_keys]
    with dg.DagsterInstance.get() as instance:
        up = read_parts(settings.home_path, instance)
        # Where each part is a service of its own, as in containers, a daemon is alive without `aperture up`.
        runs = up.is_running or up.schedules_fire
        looked = look_at_checks(instance, checks, patience=timedelta(seconds=1), clean=clean)
        # Without a daemon nobody evaluates the policies.
        late = look_at_freshness(instance, freshness_makers(settings, jobs), settings) if up.schedules_fire else None
        lost = lost_run_ids(instance)
        switched = {state.instigator_name: state.is_running for state in instance.all_instigator_state()}

        def next_start(job: Job) -> datetime | None:
            fires = up.schedules_fire and switched.get(f"{job.name}_schedule", settings.schedules_enabled)
            return job.next_start(now, settings) if fires else None

        return {
            "jobs": [
                replace(_job_state(instance, job, settings, clean, lost), next_at=next_start(job)) for job in jobs
            ],
            "checks": [CheckState(one.subject, bool(one.delay), one.sentence or "It failed.") for one in looked.wrong],
            "checks_passed": len(looked.well),
            "out_of_date": [one.subject for one in late.wrong] if late is not None else [],
            "parts": up.parts if runs else (),
            "up_is_running": runs,
            "ui": up.address,
            "dated_in_future": wrong_clock.future_dates(instance, now=now),
        }


def _job_state(instance: dg.DagsterInstance, job: Job, settings: Settings, clean: Any, lost: Set[str]) -> JobState:
    import dagster as dg

    from aperture_dagster.instance.runs import ENDED, ended_at
    from aperture_dagster.sensors.troubles import look_at_runs

    is_on = job.why_off(settings) is None
    records = instance.get_run_records(dg.RunsFilter(job_name=job.name), limit=READ_RUNS)
    ended = next((record for record in records if record.dagster_run.status in ENDED), None)
    is_running = any(
        record.dagster_run.status not in ENDED and record.dagster_run.run_id not in lost for record in records
    )
    if ended is None:
        keys = [dg.AssetKey(asset) for asset in job.assets]
        made = [one.timestamp for key in keys if (one := instance.get_latest_materialization_event(key)) is not None]
        made_at = datetime.fromtimestamp(max(made), UTC) if made else None
        return JobState(job.name, is_on, is_running=is_running, made_at=made_at)
    outcome: Any = ended.dagster_run.status.value.lower()
    reasons: tuple[str, ...] = ()
    if outcome == "failure":
        seen = look_at_runs(instance, [ended], [], clean=clean).wrong
        # A failed check is reported by itself.
        reasons = tuple(dict.fromkeys(one.sentence for one in seen))
    return JobState(job.name, is_on, outcome, ended_at(ended), reasons, is_running)
