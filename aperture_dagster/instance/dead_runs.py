"""Runs whose process is gone: after a power cut or a ``kill -9`` nobody tells Dagster that they ended.

Left alone they would count as running for ever, and keep their place in the queue and in the pools. Each run's process
holds a lock on a file in the home while it works, so a run whose file nobody locks is dead. On a database that several
machines use, each judges the runs that it started; those of a machine that never comes back end after
``APERTURE_RUN_MAX_HOURS``.
"""

from __future__ import annotations

import contextlib
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from aperture_dagster.settings import Settings
from aperture_dagster.storage import locks

if TYPE_CHECKING:
    from dagster import RunRecord
    from dagster._core.storage.event_log import EventLogStorage
    from dagster._core.storage.runs import RunStorage

AT_WORK = [DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
ENDED = (DagsterEventType.RUN_SUCCESS, DagsterEventType.RUN_FAILURE, DagsterEventType.RUN_CANCELED)
# A run begins, or is queued, within moments of being made.
BEGINS_WITHIN = timedelta(minutes=5)
HOST_TAG, BOOT_TAG = "aperture/host", "aperture/boot"

_working: dict[str, int] = {}


def all_runs_are_local(settings: Settings) -> bool:
    """Whether every run is a process of this home: so it is with the embedded database, which no other home reaches."""
    return settings.database_url is None and settings.dagster_database_url is None


def watch_runs(runs: RunStorage, settings: Settings) -> None:
    """Lock a run's file in the process that works on it, and tag the run with its machine, from start to end."""
    record = runs.handle_run_event

    def handle_run_event(run_id: str, event, *arguments, **options) -> None:
        if event.event_type == DagsterEventType.RUN_START:
            path = _file_of(run_id, settings)
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = locks.acquire(path, wait=False)
            if descriptor is not None:
                _working[run_id] = descriptor
            runs.add_run_tags(run_id, {HOST_TAG: socket.gethostname(), BOOT_TAG: boot_id()})
        record(run_id, event, *arguments, **options)
        if event.event_type in ENDED and (descriptor := _working.pop(run_id, None)) is not None:
            _file_of(run_id, settings).unlink(missing_ok=True)
            locks.release(descriptor)

    runs.handle_run_event = handle_run_event


def end_dead_runs(instance: DagsterInstance, settings: Settings, *, now: datetime | None = None) -> list[DagsterRun]:
    """Mark as failed the runs whose process is gone, and give back what they held; returns them.

    A run that was made and never began counts when it is older than any that will: its partitions would pass for being
    worked on.
    """
    now = now or datetime.now(UTC)
    dead = dead_runs(instance.run_storage, settings, now=now)
    dead += instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.NOT_STARTED], created_before=now - BEGINS_WITHIN))
    for run in dead:
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        instance.report_run_failed(run, "The process of this run is gone: it was killed, or the machine stopped.")
        _file_of(run.run_id, settings).unlink(missing_ok=True)
    return dead


def free_dead_slots(run_storage: RunStorage, event_storage: EventLogStorage, settings: Settings) -> None:
    """Give back the places in pools that belong to runs that ended or whose process is gone."""
    holders = event_storage.get_concurrency_run_ids()
    if not holders:
        return
    held = run_storage.get_runs(RunsFilter(run_ids=list(holders)))
    at_work = {run.run_id for run in held if not run.is_finished}
    dead = {run.run_id for run in dead_runs(run_storage, settings)}
    for run_id in holders - (at_work - dead):
        event_storage.free_concurrency_slots_for_run(run_id)


def dead_runs(run_storage: RunStorage, settings: Settings, *, now: datetime | None = None) -> list[DagsterRun]:
    """The runs that have started and not ended, and on which nobody works any more."""
    now = now or datetime.now(UTC)
    dead = []
    for record in run_storage.get_run_records(RunsFilter(statuses=AT_WORK)):
        if _is_dead(record, settings, now):
            # It may have ended between the two looks.
            dead += run_storage.get_runs(RunsFilter(run_ids=[record.dagster_run.run_id], statuses=AT_WORK))
    return dead


def _is_dead(record: RunRecord, settings: Settings, now: datetime) -> bool:
    run = record.dagster_run
    path = _file_of(run.run_id, settings)
    if locks.is_held(path):
        return False
    if all_runs_are_local(settings):
        return True
    # A file that is there and not locked says little if the home is shared with another running machine.
    same_machine = run.tags.get(BOOT_TAG) == boot_id() or run.tags.get(HOST_TAG) == socket.gethostname()
    if path.exists() and same_machine:
        return True
    started = record.start_time
    return started is not None and now.timestamp() - started > settings.run_max_hours * 3600


def _file_of(run_id: str, settings: Settings) -> Path:
    return settings.home_path / "dagster" / "run-locks" / run_id


def boot_id() -> str:
    """What the kernel calls the time since this machine was started; all of its containers have the same."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return socket.gethostname()
