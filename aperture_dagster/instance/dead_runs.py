"""Runs that nobody works on, as a power cut or a killed process leaves them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from aperture_dagster.files import locks
from aperture_dagster.files.private import sync_folder
from aperture_dagster.instance.run_files import RUN_LOCKS
from aperture_dagster.settings import Settings

if TYPE_CHECKING:
    from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage


STARTED = [DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
NOT_LOCKED_YET = [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING]
# A run is queued or launched within moments of being created, and starts within moments of being launched.
LAUNCHED_WITHIN = timedelta(minutes=5)

_locked: dict[str, int] = {}


def lock_run(run_id: str, settings: Settings) -> None:
    """Lock a run that this process works on, until it ends."""
    path = _lock_file(run_id, settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = locks.acquire(path, wait=False)
    if descriptor is not None:
        # After a power failure, a started run without its file would count as one of another home.
        sync_folder(path.parent)
        _locked[run_id] = descriptor


def unlock_run(run_id: str, settings: Settings) -> None:
    """Unlock a run that ended, if this process holds its lock, and remove its file."""
    descriptor = _locked.pop(run_id, None)
    if descriptor is not None:
        _lock_file(run_id, settings).unlink(missing_ok=True)
        locks.release(descriptor)


def end_dead_runs(instance: DagsterInstance, settings: Settings, *, now: datetime | None = None) -> list[DagsterRun]:
    """End the dead runs where no daemon monitors them, and return them.

    That includes runs that were created or launched, or that somebody terminated before they had started, and in which
    nothing has happened for five minutes since.
    """
    before = (now or datetime.now(UTC)) - LAUNCHED_WITHIN
    stuck = instance.get_runs(RunsFilter(statuses=[*NOT_LOCKED_YET, DagsterRunStatus.CANCELING], updated_before=before))
    return [run for run in [*dead_runs(instance, settings), *stuck] if end_if_dead(instance, run, settings)]


def end_if_dead(instance: DagsterInstance, run: DagsterRun, settings: Settings) -> bool:
    """Mark a run as failed if its process is gone, and free what it held; return whether that was done.

    A run that has started and has no lock file in this home belongs to another one: only its launcher knows of it.
    """
    is_here, is_held = _look(run.run_id, settings)
    # Looked up after that: the run may have ended meanwhile.
    current = instance.get_run_by_id(run.run_id)
    if is_held or current is None or current.is_finished:
        return False
    if current.status == DagsterRunStatus.STARTED and not is_here:
        return False
    instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    instance.report_run_failed(current, "The process of this run is gone: it was killed, or the machine stopped.")
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
    """Return runs that have started in this home and not ended, and whose lock nobody holds."""
    started = [run.run_id for run in runs.get_runs(RunsFilter(statuses=STARTED))]
    suspects = [run_id for run_id in started if _look(run_id, settings) == (True, False)]
    # Looked up again: a run may have ended since.
    return list(runs.get_runs(RunsFilter(run_ids=suspects, statuses=STARTED))) if suspects else []


def _look(run_id: str, settings: Settings) -> tuple[bool, bool]:
    """Return whether a run has a lock file in this home, and whether a process holds it.

    A run makes its file before it counts as started, and a process that is killed leaves it behind.
    """
    path = _lock_file(run_id, settings)
    return path.exists(), locks.is_held(path)


def _lock_file(run_id: str, settings: Settings) -> Path:
    return settings.home_path / "dagster" / RUN_LOCKS / run_id
