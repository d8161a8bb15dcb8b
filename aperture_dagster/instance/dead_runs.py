"""Dead runs: after a power cut or a ``kill -9`` nothing tells Dagster that a run has ended.

They would keep their place in the queue and in the pools forever. The process of each run holds a lock on a file in the
home while it works, so a run whose file is not locked is dead. If several machines share a database, each judges the
runs that it started; runs of a machine that never comes back end after ``APERTURE_RUN_MAX_HOURS``.
"""

import contextlib
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunRecord, RunsFilter

from aperture_dagster.settings import Settings
from aperture_dagster.storage import locks
from aperture_dagster.storage.run_files import RUN_LOCKS

if TYPE_CHECKING:
    from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage

STARTED = [DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
# A run is queued or launched within moments of being created.
LAUNCHED_WITHIN = timedelta(minutes=5)
HOST_TAG, BOOT_TAG = "aperture/host", "aperture/boot"

_locked: dict[str, int] = {}


def all_runs_are_local(settings: Settings) -> bool:
    """Tell whether every run is a process of this home, as with the embedded database, which no other home reaches."""
    return settings.database_url is None and settings.dagster_database_url is None


def lock_run(run_id: str, settings: Settings) -> None:
    """Lock the file of a run that this process works on."""
    path = _lock_file(run_id, settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = locks.acquire(path, wait=False)
    if descriptor is not None:
        _locked[run_id] = descriptor


def unlock_run(run_id: str, settings: Settings) -> None:
    """Remove the file of a run that ended, if this process holds its lock."""
    descriptor = _locked.pop(run_id, None)
    if descriptor is not None:
        _lock_file(run_id, settings).unlink(missing_ok=True)
        locks.release(descriptor)


def tags_of_this_machine() -> dict[str, str]:
    """Return tags that name the machine of a run, and the boot of that machine."""
    return {HOST_TAG: socket.gethostname(), BOOT_TAG: boot_id()}


def end_dead_runs(instance: DagsterInstance, settings: Settings, *, now: datetime | None = None) -> list[DagsterRun]:
    """Mark dead runs as failed, free what they held, and return them.

    That includes old runs that were created and never launched: the users in their range count as being worked on.
    """
    now = now or datetime.now(UTC)
    dead = dead_runs(instance, settings, now=now)
    never_launched = RunsFilter(statuses=[DagsterRunStatus.NOT_STARTED], created_before=now - LAUNCHED_WITHIN)
    dead += instance.get_runs(never_launched)
    for run in dead:
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        instance.report_run_failed(run, "The process of this run is gone: it was killed, or the machine stopped.")
        _lock_file(run.run_id, settings).unlink(missing_ok=True)
    return dead


def free_dead_slots(
    runs: "DagsterInstance | PostgresRunStorage", events: "PostgresEventLogStorage", settings: Settings
) -> None:
    """Free the slots in pools that belong to runs that ended or are dead."""
    holders = events.get_concurrency_run_ids()
    if not holders:
        return
    known = runs.get_runs(RunsFilter(run_ids=list(holders)))
    if settings.household:
        # Others belong to other households.
        holders &= {run.run_id for run in known}
    unfinished = {run.run_id for run in known if not run.is_finished}
    dead = {run.run_id for run in dead_runs(runs, settings)}
    for run_id in holders - (unfinished - dead):
        events.free_concurrency_slots_for_run(run_id)


def dead_runs(
    runs: "DagsterInstance | PostgresRunStorage", settings: Settings, *, now: datetime | None = None
) -> list[DagsterRun]:
    """Return runs that have started and not ended, and whose process is gone."""
    now = now or datetime.now(UTC)
    suspects = [
        record.dagster_run.run_id
        for record in runs.get_run_records(RunsFilter(statuses=STARTED))
        if _is_dead(record, settings, now)
    ]
    # Looked up again: a run may have ended between the two looks.
    return list(runs.get_runs(RunsFilter(run_ids=suspects, statuses=STARTED))) if suspects else []


def _is_dead(record: RunRecord, settings: Settings, now: datetime) -> bool:
    run = record.dagster_run
    path = _lock_file(run.run_id, settings)
    if locks.is_held(path):
        return False
    if all_runs_are_local(settings):
        return True
    # If the home is shared with another running machine, its locks may be invisible here.
    same_machine = run.tags.get(BOOT_TAG) == boot_id() or run.tags.get(HOST_TAG) == socket.gethostname()
    if path.exists() and same_machine:
        return True
    started = record.start_time
    return started is not None and now.timestamp() - started > settings.run_max_hours * 3600


def _lock_file(run_id: str, settings: Settings) -> Path:
    return settings.home_path / "dagster" / RUN_LOCKS / run_id


def boot_id() -> str:
    """Return the kernel's id of this boot, the same in all containers of the machine, or else the host's name."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return socket.gethostname()
