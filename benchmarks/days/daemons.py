"""Dagster's own daemons in this process, by a simulated clock: an iteration at a time, runs included.

Everything is the code that a deployment runs, but for three parts: the clock, a launcher that starts no process, and a
code location without a server.
"""

from __future__ import annotations

import functools
import logging
import os
import queue
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import dagster._time as dagster_time
from dagster._core.execution.api import execute_run_iterator
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.instance.ref import InstanceRef
from dagster._core.launcher import LaunchRunContext
from dagster._core.log_manager import DagsterLogManager
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.asset_daemon import AssetDaemon
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._daemon.freshness import FreshnessDaemon
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._scheduler.scheduler import launch_scheduled_runs
from dagster._utils.hosted_user_process import recon_job_from_origin
from dagster_shared.error import SerializableErrorInfo
from sqlalchemy import Engine, QueuePool

from aperture_dagster.build import build_definitions
from aperture_dagster.instance.launcher import PatientRunLauncher
from aperture_dagster.model import Clock

LOOK = timedelta(seconds=30)
MOST_LOOKS = 200


class SimulatedTime:
    """The time for Dagster and the product; each question takes a millisecond, so that the order of events shows."""

    def __init__(self, start: datetime) -> None:
        self._now = start.timestamp()

    def timestamp(self) -> float:
        """Return the time in seconds."""
        self._now += 0.001
        return self._now

    def now(self) -> datetime:
        """Return the time in UTC."""
        return datetime.fromtimestamp(self.timestamp(), UTC)

    def move_to(self, moment: datetime) -> None:
        """Move forward to a moment; never back."""
        self._now = max(self._now, moment.timestamp())

    def set_to(self, moment: datetime) -> None:
        """Set the time, also back."""
        self._now = moment.timestamp()

    def install(self) -> None:
        """Make Dagster use this clock, also in what it logs."""
        dagster_time._mockable_get_current_datetime = self.now
        dagster_time._mockable_get_current_timestamp = self.timestamp
        make_record = DagsterLogManager.makeRecord

        def made(manager: DagsterLogManager, *arguments: Any, **options: Any) -> logging.LogRecord:
            record = make_record(manager, *arguments, **options)
            record.created = self.timestamp()
            return record

        setattr(DagsterLogManager, "makeRecord", made)  # noqa: B010


@functools.cache
def definitions() -> dg.Definitions:
    """The definitions under test, as Dagster loads them from this module."""
    return build_definitions(clock=Clock(dagster_time.get_current_datetime))


class Launcher(PatientRunLauncher):
    """Keeps launched runs until they are executed: none ends within the look that requested it.

    It tells Dagster's monitoring which runs are dead, as the product's does.
    """

    waiting: queue.SimpleQueue[dg.DagsterRun] = queue.SimpleQueue()

    def launch_run(self, context: LaunchRunContext) -> None:
        """Keep a run."""
        Launcher.waiting.put(context.dagster_run)

    def terminate(self, run_id: str) -> bool:
        """Never end a run early."""
        return False


class Daemons:
    """Dagster's daemons, one iteration at a time in this process."""

    def __init__(self, instance: dg.DagsterInstance, clock: SimulatedTime) -> None:
        self.instance, self.clock = instance, clock
        origin = InProcessCodeLocationOrigin(
            LoadableTargetOrigin(
                executable_path=sys.executable, module_name=__name__, attribute="definitions", working_directory=None
            ),
            location_name="aperture",
        )
        self.context = WorkspaceProcessContext(instance, InProcessWorkspaceLoadTarget(origin))
        self.logger = logging.getLogger("daemons")
        self._automation = AssetDaemon(
            settings=instance.get_auto_materialize_settings(), pre_sensor_interval_seconds=30
        )
        self._freshness = FreshnessDaemon()
        self._coordinator = QueuedRunCoordinatorDaemon(interval_seconds=1)
        self._schedule_times: dict[str, Any] = {}
        self.runs: list[dg.DagsterRun] = []

    def start_schedules(self) -> None:
        """Request what is due by now."""
        self.exhaust(launch_scheduled_runs(self.context, self.logger, self.clock.now(), self._schedule_times))
        self.work()

    def look(self) -> bool:
        """Let every sensor, automation and the backfills look once; returns whether anything was done."""
        self.exhaust(execute_sensor_iteration(self.context, self.logger, None, None))
        self._automation._run_iteration_impl(self.context, None, {}, {})
        self.exhaust(execute_backfill_iteration(self.context, self.logger))
        self.exhaust(self._freshness.run_iteration(self.context))
        unfinished = self.instance.get_backfills(BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED]))
        return self.work() or bool(unfinished)

    def work(self) -> bool:
        """Work through the queue of runs; returns whether there was any."""
        worked = False
        while True:
            self.exhaust(self._coordinator.run_iteration(self.context))
            if Launcher.waiting.empty():
                return worked
            while not Launcher.waiting.empty():
                self._execute(Launcher.waiting.get())
                worked = True

    def exhaust(self, iteration: Iterable[Any]) -> None:
        """Let a daemon finish its iteration, without errors."""
        for result in iteration:
            if isinstance(result, SerializableErrorInfo):
                raise RuntimeError(result.to_string())

    def _execute(self, run: dg.DagsterRun) -> None:
        # As the code server does it for the default launcher.
        instance = self.instance
        assert run.job_code_origin is not None
        instance.report_engine_event(f"Started process for run (pid: {os.getpid()}).", run)
        self.exhaust(execute_run_iterator(recon_job_from_origin(run.job_code_origin), run, instance))
        instance.report_engine_event(f"Process for run exited (pid: {os.getpid()}).", run)
        ended = instance.get_run_by_id(run.run_id)
        assert ended is not None
        self.runs.append(ended)


def until_quiet(daemons: Daemons) -> None:
    """Look every half minute until nothing more is requested."""
    quiet = 0 if daemons.look() else 2
    for _ in range(MOST_LOOKS):
        if quiet == 2:
            return
        daemons.clock.move_to(daemons.clock.now() + LOOK)
        quiet = 0 if daemons.look() else quiet + 1
    raise RuntimeError("The sensors request something at every look.")


@contextmanager
def open_instance() -> Iterator[dg.DagsterInstance]:
    """The instance that the package's ``dagster.yaml`` describes, but for what starts processes."""
    reference = InstanceRef.from_dir(
        os.environ["DAGSTER_HOME"],
        overrides={
            "run_launcher": {"module": __name__, "class": "Launcher"},
            "compute_logs": {
                "module": "dagster._core.storage.noop_compute_log_manager",
                "class": "NoOpComputeLogManager",
            },
        },
    )
    with dg.DagsterInstance.from_ref(reference) as instance:
        for engine in engines(instance):
            # Dagster opens a connection for every statement, which would take a third of the time.
            pool = engine.pool
            engine.pool = QueuePool(pool._creator, _dispatch=pool.dispatch, dialect=pool._dialect)
        # Each look of a sensor would open an instance of its own.
        setattr(dg.DagsterInstance, "from_ref", staticmethod(lambda _: nullcontext(instance)))  # noqa: B010
        yield instance


def engines(instance: dg.DagsterInstance) -> list[Engine]:
    """Return the engines on Dagster's database, that of the events first."""
    parts: list[Any] = [instance.event_log_storage, instance.run_storage, instance.schedule_storage]
    return [part._engine for part in parts]


def _label(run: dg.DagsterRun) -> str:
    """A job's name, or the assets of a run that automation requested."""
    if not run.job_name.startswith("__"):
        return run.job_name
    assets = sorted(key.to_user_string() for key in run.asset_selection or ())
    checks = len(run.asset_check_selection or ()) if not assets else 0
    return f"automation: {', '.join(assets) or f'{checks} checks'}"


def failures(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Say what failed in a run."""
    records = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE).records
    events = [record.event_log_entry.get_dagster_event() for record in records]
    said = [event.step_failure_data.error_display_string[:2000] for event in events]
    return f"{_label(run)} {run.status.value}: {' | '.join(said)}"
