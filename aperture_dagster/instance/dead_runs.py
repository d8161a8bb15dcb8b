"""What a power cut or a wrong clock leaves in Dagster: runs that nobody works on, ticks and times in the future."""

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from aperture_dagster.files import locks
from aperture_dagster.instance.private import InstigatorState, ScheduleInstigatorData, get_current_timestamp
from aperture_dagster.instance.purge import RUN_LOCKS
from aperture_dagster.model import SKEW, FutureDates, duration
from aperture_dagster.postgres import run_lock
from aperture_dagster.postgres.connection import dagster_database_url, forget_connections
from aperture_dagster.postgres.embedded import is_only_user
from aperture_dagster.postgres.queries import read_rows
from aperture_dagster.settings import Settings

if TYPE_CHECKING:
    import psycopg
    from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage


STARTED = [DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
# A run is queued or launched within moments of being created.
LAUNCHED_WITHIN = timedelta(minutes=5)
HOST_TAG = "aperture/host"

_locked: dict[str, int] = {}


def all_runs_are_local(settings: Settings) -> bool:
    """Tell whether every run is a process of this home, as with the embedded database, which no other home reaches."""
    return settings.database_url is None


def lock_run(run_id: str, settings: Settings) -> None:
    """Lock a run that this process works on, until it ends."""
    if not all_runs_are_local(settings):
        forget_connections()
        run_lock.lock_run(run_id, _plain_url(settings))
        return
    path = _lock_file(run_id, settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = locks.acquire(path, wait=False)
    if descriptor is not None:
        _locked[run_id] = descriptor


def unlock_run(run_id: str, settings: Settings) -> None:
    """Unlock a run that ended, if this process holds its lock, and remove its file."""
    run_lock.unlock_run(run_id)
    descriptor = _locked.pop(run_id, None)
    if descriptor is not None:
        _lock_file(run_id, settings).unlink(missing_ok=True)
        locks.release(descriptor)


def tags_of_this_machine() -> dict[str, str]:
    """Return the tag that names the machine of a run."""
    return {HOST_TAG: socket.gethostname()}


def end_dead_runs(instance: DagsterInstance, settings: Settings, *, now: datetime | None = None) -> list[DagsterRun]:
    """End the dead runs where no daemon monitors them, and return them.

    That includes runs that were created and not launched within five minutes; and with the embedded database those that
    were launched and have not started, if no other process uses it: a process of theirs that only begins finds that
    they have ended, and does nothing.
    """
    now = now or datetime.now(UTC)
    never_launched = RunsFilter(statuses=[DagsterRunStatus.NOT_STARTED], created_before=now - LAUNCHED_WITHIN)
    suspects = [*dead_runs(instance, settings), *instance.get_runs(never_launched)]
    if all_runs_are_local(settings):
        # First: a process that has read such a run uses the database.
        launched = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTING]))
        suspects += launched if launched and is_only_user(settings.home_path / "postgres") else []
    return [run for run in suspects if _end(instance, run, settings)]


def end_if_dead(instance: DagsterInstance, run: DagsterRun, settings: Settings) -> bool:
    """End a run if its process is gone, and return whether it was."""
    return bool(_without_process([run.run_id], settings)) and _end(instance, run, settings)


def _end(instance: DagsterInstance, run: DagsterRun, settings: Settings) -> bool:
    """Mark a run that seems dead as failed, and free what it held; return whether that was done."""
    with _taken_over(run.run_id, settings) as is_dead:
        current = instance.get_run_by_id(run.run_id)
        if not is_dead or current is None or current.is_finished:
            return False
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        where = "" if all_runs_are_local(settings) else f" on {current.tags.get(HOST_TAG, 'another host')}"
        cause = "it was killed, or the machine stopped" + (" or was cut off" if where else "")
        instance.report_run_failed(current, f"The process of this run{where} is gone: {cause}.")
        _lock_file(run.run_id, settings).unlink(missing_ok=True)
        return True


def free_dead_slots(
    runs: "DagsterInstance | PostgresRunStorage", events: "PostgresEventLogStorage", settings: Settings
) -> None:
    """Free the slots in pools that belong to runs that ended or are dead."""
    holders = events.get_concurrency_run_ids()
    if not holders:
        return
    known = runs.get_runs(RunsFilter(run_ids=list(holders)))
    unfinished = {run.run_id for run in known if not run.is_finished}
    dead = {run.run_id for run in dead_runs(runs, settings)}
    for run_id in holders - (unfinished - dead):
        events.free_concurrency_slots_for_run(run_id)


def dead_runs(runs: "DagsterInstance | PostgresRunStorage", settings: Settings) -> list[DagsterRun]:
    """Return runs that have started and not ended, and whose process is gone."""
    suspects = _without_process([run.run_id for run in runs.get_runs(RunsFilter(statuses=STARTED))], settings)
    # Looked up again: a run may have ended since.
    return list(runs.get_runs(RunsFilter(run_ids=suspects, statuses=STARTED))) if suspects else []


def _without_process(run_ids: list[str], settings: Settings) -> list[str]:
    """Return the runs whose lock nobody holds.

    On a database that several hosts may use, that takes `GRACE_SECONDS` if there are any: a process that lost only its
    connection takes its lock again.
    """
    if all_runs_are_local(settings):
        return [one for one in run_ids if not locks.is_held(_lock_file(one, settings))]
    if not run_ids:
        return []
    with _session(settings) as session:
        free = run_lock.runs_without_lock(session, run_ids)
        if free:
            time.sleep(run_lock.GRACE_SECONDS)
            free = run_lock.runs_without_lock(session, free)
    return [one for one in run_ids if one in free]


@contextlib.contextmanager
def _taken_over(run_id: str, settings: Settings) -> Iterator[bool]:
    """Keep the process of a run, which seems to be dead, from going on with it; yield False if it is not dead."""
    if all_runs_are_local(settings):
        yield not locks.is_held(_lock_file(run_id, settings))
        return
    with _session(settings) as session, run_lock.taken_over(session, run_id) as is_dead:
        yield is_dead


@contextlib.contextmanager
def _session(settings: Settings) -> "Iterator[psycopg.Connection]":
    import psycopg

    with contextlib.closing(psycopg.connect(_plain_url(settings), autocommit=True)) as session:
        yield session


def _plain_url(settings: Settings) -> str:
    return dagster_database_url(settings).replace("postgresql+psycopg2://", "postgresql://", 1)


def _lock_file(run_id: str, settings: Settings) -> Path:
    return settings.home_path / "dagster" / RUN_LOCKS / run_id


# What a clock that was ahead leaves in Dagster: ticks and times in its storage, and the waits of a running daemon.
#
# Dagster compares the last tick of each sensor and schedule with the current time: after a tick that is dated a year
# ahead, none would tick for a year. What is dated in the future therefore counts as never written, and the next tick
# replaces it. Nothing is rewritten here: to a clock that is behind, everything looks as if it were in the future.
#
# A daemon that runs while its clock is set back waits in memory for times that are far away now: its loops neither
# work nor write heartbeats. It exits, and its supervisor starts it again.


LOOK_SECONDS = 10.0
MOST_SET_BACK_SECONDS = 60.0
"""A smaller step does no harm: loops and heartbeats are late by as much, which does not make the daemon look dead."""
# Dagster's columns hold UTC without a zone. Freshness and the UI go by the last materialization of an asset.
_DATED = {
    "ticks of schedules and sensors": ("job_ticks", "timestamp"),
    "runs": ("runs", "greatest(create_timestamp, update_timestamp, to_timestamp(end_time) AT TIME ZONE 'UTC')"),
    "last materializations": ("asset_keys", "last_materialization_timestamp"),
    "signs of life of the daemon": ("daemon_heartbeats", "timestamp"),
}
_FUTURE = " UNION ALL ".join(
    f"SELECT '{what}' AS what, count(*) AS rows, max({moment}) AS latest FROM {table} WHERE {moment} > :latest "
    "HAVING count(*) > 0"
    for what, (table, moment) in _DATED.items()
)
log = logging.getLogger(__name__)


def latest_believed() -> float:
    """Return the latest time, in seconds since the epoch, that Dagster's dates may have without being in the future."""
    return get_current_timestamp() + SKEW.total_seconds()


def without_future(state: InstigatorState) -> InstigatorState:
    """Return the state of a sensor or schedule without what is dated in the future.

    A schedule that was switched on at such a date counts as switched on now, and waits for its next tick.
    """
    data, latest = state.instigator_data, latest_believed()
    if data is None:
        return state
    given = data._asdict()
    past = {name: None if isinstance(value, float) and value > latest else value for name, value in given.items()}
    if past == given:
        return state
    if isinstance(data, ScheduleInstigatorData):
        past["start_timestamp"] = past["start_timestamp"] or get_current_timestamp()
    return state.with_data(data._replace(**past))


def watch_clock(
    ahead: Callable[[], float] = lambda: time.time() - time.monotonic(), end: Callable[[], None] = lambda: os._exit(1)
) -> None:
    """End the process when its clock is set back; look every few seconds until then.

    ``ahead`` tells the seconds by which the clock is ahead of one that passes steadily, whatever the clock does.
    """
    before = now = ahead()
    while before - now <= MOST_SET_BACK_SECONDS:
        before = now
        time.sleep(LOOK_SECONDS)
        now = ahead()
    log.error(
        "The clock was set back by %s: the daemon exits, because its loops would wait for times that are far away now. "
        "`aperture up` and service managers start it again.",
        duration(before - now),
    )
    end()


def future_dates(instance: dg.DagsterInstance, *, now: datetime) -> list[FutureDates]:
    """Count what is dated in the future in Dagster's storage; nothing if that is not on PostgreSQL, as in tests."""
    from dagster_postgres import PostgresEventLogStorage

    storage = instance.event_log_storage
    if not isinstance(storage, PostgresEventLogStorage):
        return []
    with storage.index_connection() as connection:
        rows = read_rows(connection, _FUTURE, latest=(now + SKEW).astimezone(UTC).replace(tzinfo=None))
    return [FutureDates(row["what"], row["rows"], row["latest"].replace(tzinfo=UTC)) for row in rows]
