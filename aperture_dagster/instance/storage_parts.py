"""The three parts of Dagster's storage on our PostgreSQL server, with fewer statements and fewer bytes than its own."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage, PostgresScheduleStorage
from sqlalchemy import Engine, text

from aperture_dagster.instance.dead_runs import lock_run, unlock_run
from aperture_dagster.instance.failures import without_stack
from aperture_dagster.instance.home import LOCATION
from aperture_dagster.instance.private import REPOSITORY_TAG, AsksOnceForColumns, repository
from aperture_dagster.instance.runs import is_ours, location_of
from aperture_dagster.instance.wrong_clock import latest_believed, watch_clock, without_future
from aperture_dagster.settings import Settings

if TYPE_CHECKING:
    from aperture_dagster.instance.private import DaemonHeartbeat, InstigatorState

ENGINE_EVENTS = (
    dg.DagsterEventType.ENGINE_EVENT,
    dg.DagsterEventType.RESOURCE_INIT_STARTED,
    dg.DagsterEventType.RESOURCE_INIT_SUCCESS,
)
ABOUT_PROCESSES = ("Started process for run", "Process for run exited")
RUN_ENDED = (dg.DagsterEventType.RUN_SUCCESS, dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_CANCELED)


def remember_yes(method: Callable[..., bool]) -> Callable[..., bool]:
    """Ask once whether a table, column or index exists, instead of before every query; it does not go away."""

    @functools.wraps(method)
    def answer(self: Any, *arguments: str) -> bool:
        question = (method.__name__, *arguments)
        known: set[tuple[str, ...]] = self.__dict__.setdefault("known_answers", set())
        if question not in known and method(self, *arguments):
            known.add(question)
        return question in known

    return answer


class OnSharedEngine:
    """A part of Dagster's storage that keeps the engine of its instance in the webserver, too.

    There Dagster gives each part an engine of its own, whose kept connection fails its next statement after the
    database was restarted: the run that somebody launches would be created, and never queued.
    """

    def optimize_for_webserver(self, statement_timeout: int, pool_recycle: int, max_overflow: int) -> None:
        """Keep the engine; no statement of the webserver takes long enough for a limit."""


class LockedRunStorage(OnSharedEngine, PostgresRunStorage):
    """Runs in PostgreSQL; the process that works on a run holds the run's lock from start to end."""

    has_run_stats_index_cols = remember_yes(PostgresRunStorage.has_run_stats_index_cols)
    has_backfill_id_column = remember_yes(PostgresRunStorage.has_backfill_id_column)

    def __init__(self, postgres_url: str, settings: Settings, engine: Engine) -> None:
        self._settings, self._shared_engine = settings, engine
        super().__init__(postgres_url, should_autocreate_tables=False)

    def dispose(self) -> None:
        """Close the connection of this instance."""
        self._shared_engine.dispose()
        super().dispose()

    def add_run(self, dagster_run: dg.DagsterRun) -> dg.DagsterRun:
        """Tag a run of this program with its code location, by which the UI, and the purge, find the runs of a job.

        Dagster's commands do not record that of runs that they execute themselves.
        """
        if location_of(dagster_run) is None and is_ours(dagster_run):
            dagster_run = dagster_run.with_tags({**dagster_run.tags, REPOSITORY_TAG: repository(LOCATION)})
        return super().add_run(dagster_run)

    def handle_run_event(self, run_id: str, event: dg.DagsterEvent, update_timestamp: datetime | None = None) -> None:
        """Lock the run when it starts; unlock it when it has ended."""
        if event.event_type == dg.DagsterEventType.RUN_START:
            lock_run(run_id, self._settings)
        super().handle_run_event(run_id, event, update_timestamp)
        if event.event_type in RUN_ENDED:
            self._keep_end(run_id)
            unlock_run(run_id, self._settings)

    def _keep_end(self, run_id: str) -> None:
        """Wait until the end of a run is on the disk.

        Without its lock file, a run that a crash of the server took back to "started" would count as one of another
        home, and stay so.
        """
        # In one statement, since Dagster's connections commit each by itself.
        keep = """
            WITH waiting AS (SELECT set_config('synchronous_commit', 'on', true))
            UPDATE runs SET update_timestamp = update_timestamp FROM waiting WHERE run_id = :run_id"""
        with self.connect() as connection:
            connection.execute(text(keep), {"run_id": run_id})

    def add_daemon_heartbeat(self, daemon_heartbeat: DaemonHeartbeat) -> None:
        """Record a heartbeat of this process, which is the daemon, and watch its clock from the first one on."""
        super().add_daemon_heartbeat(daemon_heartbeat)
        _watch_clock_once()


class TerseEventLogStorage(OnSharedEngine, AsksOnceForColumns, PostgresEventLogStorage):
    """Events in PostgreSQL, without Dagster's own messages that a process or a resource starts, has started or ends.

    They are half of the bytes of a short run, and say nothing that the start and end of runs and steps do not. Errors
    among them are kept. Of a foreseen error, the sentence is kept and not the stack, for which Dagster has no setting.
    """

    has_table = remember_yes(PostgresEventLogStorage.has_table)

    def store_event(self, event: dg.EventLogEntry) -> None:
        """Store an event, unless it says nothing."""
        if _says_nothing(event):
            return
        if event.dagster_event is not None:
            event = event._replace(dagster_event=without_stack(event.dagster_event))
        super().store_event(event)


@functools.cache
def _watch_clock_once() -> None:
    threading.Thread(target=watch_clock, name="watch of the clock", daemon=True).start()


class TerseScheduleStorage(OnSharedEngine, PostgresScheduleStorage):
    """Schedules, sensors and their ticks in PostgreSQL, with a third of the statements.

    What is dated in the future counts as never written (:mod:`aperture_dagster.instance.dead_runs`).
    """

    has_built_index = remember_yes(PostgresScheduleStorage.has_built_index)
    has_secondary_index_table = remember_yes(PostgresScheduleStorage.has_secondary_index_table)
    has_instigators_table = remember_yes(PostgresScheduleStorage.has_instigators_table)

    @property
    def supports_auto_materialize_asset_evaluations(self) -> bool:
        """Return True: the table of evaluations is created with the others."""
        return True

    def all_instigator_state(self, *arguments: Any, **options: Any) -> Sequence[InstigatorState]:
        """Return the states of sensors and schedules."""
        return [without_future(state) for state in super().all_instigator_state(*arguments, **options)]

    def get_instigator_state(self, origin_id: str, selector_id: str) -> InstigatorState | None:
        """Return the state of a sensor or schedule; None if nothing is stored."""
        state = super().get_instigator_state(origin_id, selector_id)
        return None if state is None else without_future(state)

    def get_ticks(
        self, origin_id: str, selector_id: str, before: float | None = None, *arguments: Any, **options: Any
    ) -> Sequence[Any]:
        """Return the ticks of a sensor or schedule, the last first."""
        return super().get_ticks(origin_id, selector_id, _not_after_now(before), *arguments, **options)

    def get_tick_summaries(
        self, origin_id: str, selector_id: str, before: float | None = None, *arguments: Any, **options: Any
    ) -> Sequence[Any]:
        """Return the ticks of a sensor or schedule without what they did, the last first."""
        return super().get_tick_summaries(origin_id, selector_id, _not_after_now(before), *arguments, **options)


def _not_after_now(before: float | None) -> float:
    latest = latest_believed()
    return latest if before is None else min(before, latest)


def _says_nothing(event: dg.EventLogEntry) -> bool:
    inner = event.dagster_event
    if inner is None or inner.event_type not in ENGINE_EVENTS or inner.engine_event_data.error is not None:
        return False
    return event.level == logging.DEBUG or (inner.message or "").startswith(ABOUT_PROCESSES)
