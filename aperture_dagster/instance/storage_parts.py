"""The three parts of Dagster's storage on our PostgreSQL server, with fewer statements and fewer bytes than its own."""

import functools
import logging
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

import dagster as dg
from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage, PostgresScheduleStorage
from sqlalchemy import Engine, text

from aperture_dagster.instance.dead_runs import lock_run, unlock_run
from aperture_dagster.instance.failures import without_stack
from aperture_dagster.instance.home import LOCATION
from aperture_dagster.instance.private import DaemonHeartbeat, InstigatorState
from aperture_dagster.instance.runs import REPOSITORY_TAG, is_ours, location_of, repository
from aperture_dagster.instance.wrong_clock import latest_believed, watch_clock, without_future
from aperture_dagster.settings import Settings

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
    def answer(self: Any, *arguments: Any) -> bool:
        # Connections differ, and are not part of the question.
        question = (method.__name__, *(argument for argument in arguments if isinstance(argument, str)))
        known: set[tuple[str, ...]] = self.__dict__.setdefault("_known", set())
        if question not in known and method(self, *arguments):
            known.add(question)
        return question in known

    return answer


class OnSharedEngine:
    """A part of Dagster's storage that keeps the engine of its instance in the webserver, too.

    There Dagster gives each part an engine of its own, whose kept connection fails its next statement after the
    database was restarted: the run that somebody launches would be created, and never queued.
    """

    _engine: Engine

    def optimize_for_webserver(self, statement_timeout: int, pool_recycle: int, max_overflow: int) -> None:
        """Keep the engine; no statement of the webserver takes long enough for a limit."""


class LockedRunStorage(OnSharedEngine, PostgresRunStorage):
    """Runs in PostgreSQL; the process that works on a run holds the run's lock from start to end."""

    has_run_stats_index_cols = remember_yes(PostgresRunStorage.has_run_stats_index_cols)
    has_backfill_id_column = remember_yes(PostgresRunStorage.has_backfill_id_column)

    def __init__(self, postgres_url: str, settings: Settings) -> None:
        self._settings = settings
        super().__init__(postgres_url, should_autocreate_tables=False)

    def dispose(self) -> None:
        """Close the connection of this instance."""
        self._engine.dispose()
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


class TerseEventLogStorage(OnSharedEngine, PostgresEventLogStorage):
    """Events in PostgreSQL, without Dagster's own messages that a process or a resource starts, has started or ends.

    They are half of the bytes of a short run, and say nothing that the start and end of runs and steps do not. Errors
    among them are kept. Of a foreseen error, the sentence is kept and not the stack, for which Dagster has no setting.
    """

    has_table = remember_yes(PostgresEventLogStorage.has_table)
    _has_asset_key_col_on_connection = remember_yes(PostgresEventLogStorage._has_asset_key_col_on_connection)

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
    _has_instigators_table = remember_yes(PostgresScheduleStorage._has_instigators_table)
    _has_asset_daemon_asset_evaluations_table = remember_yes(
        PostgresScheduleStorage._has_asset_daemon_asset_evaluations_table
    )

    def _deserialize_rows(self, rows: Any, as_type: Any) -> Any:
        # All states of sensors and schedules come through here.
        found = super()._deserialize_rows(rows, as_type)
        return [without_future(one) if isinstance(one, InstigatorState) else one for one in found]

    def _ticks_query(self, *arguments: Any, before: float | None, **options: Any) -> Any:
        latest = latest_believed()
        return super()._ticks_query(*arguments, before=latest if before is None else min(before, latest), **options)


def _says_nothing(event: dg.EventLogEntry) -> bool:
    inner = event.dagster_event
    if inner is None or inner.event_type not in ENGINE_EVENTS or inner.engine_event_data.error is not None:
        return False
    return event.level == logging.DEBUG or (inner.message or "").startswith(ABOUT_PROCESSES)
