"""Runs that nobody works on, as a power cut, a killed process or a lost network leaves them.

A run of any home is judged alike, by its lock in the database (:mod:`aperture_dagster.instance.run_lock`).
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from aperture_dagster.instance.run_lock import STOP_SECONDS, TAG, held_keys, key_of, try_lock, unlock
from aperture_dagster.instance.run_storage import LockedRunStorage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dagster_postgres import PostgresEventLogStorage


STARTED = [DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
NOT_LOCKED_YET = [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING]
# A run is queued or launched within moments of being created, and starts within moments of being launched.
LAUNCHED_WITHIN = timedelta(minutes=5)
LOOK_SECONDS = 0.5
LOOKS = int(1.5 * STOP_SECONDS / LOOK_SECONDS)
"""How often a lock has to be found free, and never held: longer than a run goes on without its lock."""
LOOKS_EMBEDDED = int(10 / LOOK_SECONDS)
"""The same without a network: only a restart of the server takes the lock from a run, which is back in a moment."""


def end_dead_runs(instance: DagsterInstance, *, now: datetime | None = None) -> list[DagsterRun]:
    """End the dead runs where no daemon monitors them, and return them; waits for as long as that takes to know.

    That includes runs that were created or launched, or that somebody terminated before they had started, and in which
    nothing has happened for five minutes since.
    """
    before = (now or datetime.now(UTC)) - LAUNCHED_WITHIN
    stuck = instance.get_runs(RunsFilter(statuses=[*NOT_LOCKED_YET, DagsterRunStatus.CANCELING], updated_before=before))
    storage = storage_with_locks(instance)
    dead = dead_runs(storage, _started(storage)) if storage is not None else []
    # A run that was terminated and took a lock is judged by the lock alone.
    stuck = [run for run in stuck if not _took_lock(run)]
    return [run for run in [*dead, *stuck] if _end(instance, run)]


def end_if_dead(instance: DagsterInstance, run: DagsterRun) -> bool:
    """Mark a run as failed if its process is gone, and free what it held; return whether that was done.

    A run that never took a lock is left to its launcher: it works with another storage than ours.
    """
    storage = storage_with_locks(instance)
    return storage is not None and bool(dead_runs(storage, [run])) and _end(instance, run)


def lost_runs(storage: LockedRunStorage, runs: Sequence[DagsterRun] | None = None) -> list[DagsterRun]:
    """Return those runs that took a lock and do not hold it now, for whoever shows them; by default, of all started.

    Their processes are gone, or have just lost their connection to the database.
    """
    started = [run for run in (_started(storage) if runs is None else runs) if _took_lock(run)]
    if not started:
        return []
    with storage.connect() as connection:
        held = held_keys(connection)
    free = [run.run_id for run in started if key_of(run.run_id) not in held]
    # Looked up again: a run releases its lock when it has ended.
    return list(storage.get_runs(RunsFilter(run_ids=free, statuses=STARTED))) if free else []


def lost_run_ids(instance: DagsterInstance, runs: Sequence[DagsterRun] | None = None) -> set[str]:
    """Return the ids of :func:`lost_runs`; none where runs take no locks."""
    storage = storage_with_locks(instance)
    return {run.run_id for run in lost_runs(storage, runs)} if storage is not None else set()


def dead_runs(storage: LockedRunStorage, runs: Sequence[DagsterRun]) -> list[DagsterRun]:
    """Return those of some runs that are dead. If the locks of some are free, looks on until it is certain.

    Counts looks rather than seconds, so that a pause of this process doesn't count as time in which it looked.
    """
    suspects = lost_runs(storage, runs)
    for _ in range(LOOKS_EMBEDDED if storage.is_embedded else LOOKS):
        if not suspects:
            break
        time.sleep(LOOK_SECONDS)
        suspects = lost_runs(storage, suspects)
    return suspects


def free_ended_slots(runs: LockedRunStorage, events: PostgresEventLogStorage) -> None:
    """Free the slots in pools that belong to runs that have ended."""
    holders = events.get_concurrency_run_ids()
    if not holders:
        return
    known = runs.get_runs(RunsFilter(run_ids=list(holders)))
    for run_id in holders - {run.run_id for run in known if not run.is_finished}:
        events.free_concurrency_slots_for_run(run_id)


def runs_in_progress(instance: DagsterInstance) -> list[DagsterRun]:
    """Return the runs that have begun and not ended, and those that are just being started."""
    return list(instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTING, *STARTED])))


def free_dead_slots(runs: LockedRunStorage, events: PostgresEventLogStorage) -> None:
    """Free the slots in pools that belong to runs that have ended or are dead, for a step that waits for one."""
    free_ended_slots(runs, events)
    holders = events.get_concurrency_run_ids()
    started = runs.get_runs(RunsFilter(run_ids=list(holders), statuses=STARTED)) if holders else []
    for run in dead_runs(runs, started):
        events.free_concurrency_slots_for_run(run.run_id)


def storage_with_locks(instance: DagsterInstance) -> LockedRunStorage | None:
    """Return the storage of an instance if its runs take locks: an instance in memory, or on SQLite, has none."""
    storage = instance.run_storage
    return storage if isinstance(storage, LockedRunStorage) else None


def _started(storage: LockedRunStorage) -> Sequence[DagsterRun]:
    return storage.get_runs(RunsFilter(statuses=STARTED))


def _took_lock(run: DagsterRun) -> bool:
    return run.tags.get(TAG, "").endswith(f" {run.run_id[:8]}")


def _end(instance: DagsterInstance, run: DagsterRun) -> bool:
    storage = storage_with_locks(instance)
    if storage is None:
        return False
    # With its lock, so that a process that comes back meanwhile finds the run ended, and stops.
    with storage.connect() as connection:
        if not try_lock(connection, run.run_id):
            return False
        try:
            current = instance.get_run_by_id(run.run_id)
            if current is None or current.is_finished:
                return False
            # It has started since it was looked up, by a launcher that is slow.
            if run.status in NOT_LOCKED_YET and current.status not in NOT_LOCKED_YET:
                return False
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            instance.report_run_failed(
                current, "The process of this run is gone: it was killed, or the machine stopped."
            )
            return True
        finally:
            unlock(connection, run.run_id)
