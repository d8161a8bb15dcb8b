"""Runs whose process is gone: after a power cut or a ``kill -9`` nobody tells Dagster that they ended.

Left alone they would count as running for ever, and keep their place in the queue and in the pools.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from aperture_dagster.settings import Settings

if TYPE_CHECKING:
    from dagster._core.storage.event_log import EventLogStorage
    from dagster._core.storage.runs import RunStorage

AT_WORK = [DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
# A run begins, or is queued, within moments of being made.
BEGINS_WITHIN = timedelta(minutes=1)


def all_runs_are_local(settings: Settings) -> bool:
    """Whether every run is a process of this machine: so it is with the embedded database, which no other reaches."""
    return settings.database_url is None and settings.dagster_database_url is None


def end_dead_runs(instance: DagsterInstance, *, now: datetime | None = None) -> list[DagsterRun]:
    """Mark as failed the runs whose process is gone, and give back what they held; returns them.

    A run that was made and never began tells of no process, so it counts when it is older than any that will: its
    partitions would pass for being worked on.
    """
    made_before = (now or datetime.now(UTC)) - BEGINS_WITHIN
    dead = dead_runs(instance.run_storage, instance.event_log_storage)
    dead += instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.NOT_STARTED], created_before=made_before))
    for run in dead:
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        instance.report_run_failed(run, "The process of this run is gone: it was killed, or the machine stopped.")
    return dead


def free_dead_slots(run_storage: RunStorage, event_storage: EventLogStorage) -> None:
    """Give back the places in pools that belong to runs that ended or whose process is gone."""
    holders = event_storage.get_concurrency_run_ids()
    if not holders:
        return
    held = run_storage.get_runs(RunsFilter(run_ids=list(holders)))
    at_work = {run.run_id for run in held if not run.is_finished}
    dead = {run.run_id for run in dead_runs(run_storage, event_storage)}
    for run_id in holders - (at_work - dead):
        event_storage.free_concurrency_slots_for_run(run_id)


def dead_runs(run_storage: RunStorage, event_storage: EventLogStorage) -> list[DagsterRun]:
    """The runs that have started and not ended, and whose process does not live on this machine."""
    dead = []
    for run in run_storage.get_runs(RunsFilter(statuses=AT_WORK)):
        for record in event_storage.get_logs_for_run(run.run_id, of_type=DagsterEventType.RUN_START, limit=1):
            event = record.dagster_event
            if event is not None and event.pid is not None and not process_lives(event.pid, since=record.timestamp):
                dead.append(run)
    return dead


def process_lives(pid: int, *, since: float) -> bool:
    """Whether the process of this number is the one that had it at that time: numbers are given out again."""
    import psutil

    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= since + 1
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
