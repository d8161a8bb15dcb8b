"""Dagster's own storage, named in ``dagster.yaml``: our PostgreSQL server and folders below ``APERTURE_HOME``.

Each class reads the project's settings, so that plain ``dagster …`` commands work with nothing started by hand.
"""

import functools
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from typing import Any, Self

import dagster as dg
from dagster_postgres import (
    DagsterPostgresStorage,
    PostgresEventLogStorage,
    PostgresRunStorage,
    PostgresScheduleStorage,
)
from sqlalchemy import Engine, create_engine, event, inspect, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from aperture_dagster.files.private import keep_private, prepare_home
from aperture_dagster.instance.dead_runs import (
    free_dead_slots,
    latest_believed,
    lock_run,
    unlock_run,
    watch_clock,
    without_future,
)
from aperture_dagster.instance.failures import without_stack
from aperture_dagster.instance.home import LOCATION
from aperture_dagster.instance.pools import create_missing_pools
from aperture_dagster.instance.private import (
    DaemonHeartbeat,
    InstigatorState,
    LocalArtifactStorage,
    LocalComputeLogManager,
    replace_mirror,
)
from aperture_dagster.instance.runs import REPOSITORY_TAG, is_ours, location_of, repository
from aperture_dagster.instance.step_output import mirrored
from aperture_dagster.instance.terminal import log_foreseen_errors_once, log_runs_in_lines
from aperture_dagster.postgres.connection import dagster_database_url
from aperture_dagster.postgres.embedded import full_disk_explained, restart_on_connect
from aperture_dagster.postgres.errors import (
    DatabaseError,
    describe_connection_error,
    describe_full_disk,
    is_full_disk,
)
from aperture_dagster.postgres.migrate import schema_lock
from aperture_dagster.postgres.pool import replace_dead_connections
from aperture_dagster.settings import Settings, load_settings

# Dagster migrates its own tables with alembic, which logs several lines at every start.
logging.getLogger("alembic").setLevel(logging.WARNING)

# Every process that runs anything loads its instance first, and so this module.
log_runs_in_lines()
replace_mirror(mirrored)

ENGINE_EVENTS = (
    dg.DagsterEventType.ENGINE_EVENT,
    dg.DagsterEventType.RESOURCE_INIT_STARTED,
    dg.DagsterEventType.RESOURCE_INIT_SUCCESS,
)
ABOUT_PROCESSES = ("Started process for run", "Process for run exited")
TABLES = {"runs", "event_logs", "jobs"}
"""A table of each part of Dagster's storage; Dagster creates the others with it."""
RUN_ENDED = (dg.DagsterEventType.RUN_SUCCESS, dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_CANCELED)


class ConfiguredBySettings:
    """A part of Dagster's instance without any configuration in ``dagster.yaml``."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Return no fields: the project's settings decide."""
        return {}


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


class ApertureDagsterStorage(ConfiguredBySettings, DagsterPostgresStorage):
    """Runs, events and schedules in PostgreSQL: the embedded server, or the one that the settings name."""

    def __init__(self, url: str, settings: Settings, inst_data: Any = None) -> None:
        super().__init__(postgres_url=url, should_autocreate_tables=False, inst_data=inst_data)
        self._run_storage = LockedRunStorage(url, settings)
        self._event_log_storage = TerseEventLogStorage(url, should_autocreate_tables=False)
        self._schedule_storage = TerseScheduleStorage(url, should_autocreate_tables=False)
        engine = shared_engine(url, settings)
        with _opening(settings):
            # Checked here, once: otherwise each part would check, and Dagster creates new parts for every tick of a
            # sensor.
            if _lacks_tables(engine):
                self._create_tables(engine)
        self._use(engine)

    def _use(self, engine: Engine) -> None:
        for part in (self._run_storage, self._event_log_storage, self._schedule_storage):
            part._engine = engine

    def _create_tables(self, engine: Engine) -> None:
        """Create Dagster's tables, all or none, and in one process at a time: of several, the later ones would fail.

        Dagster commits each statement, and takes a part of the storage for complete once its main table is there: what
        a kill during the first start left behind, nothing would complete.
        """
        # All statements are in the one transaction of its only connection.
        alone = create_engine(engine.url, isolation_level="AUTOCOMMIT", poolclass=StaticPool)
        try:
            with engine.connect() as guard, schema_lock(guard), alone.connect() as connection:
                if not _lacks_tables(engine):
                    return
                self._use(alone)
                connection.exec_driver_sql("BEGIN")
                # As the constructors of Dagster's parts do.
                self._run_storage._init_db()
                self._run_storage.migrate()
                self._run_storage.optimize()
                self._event_log_storage._init_db()
                self._event_log_storage.reindex_events()
                self._event_log_storage.reindex_assets()
                self._schedule_storage._init_db()
                connection.exec_driver_sql("COMMIT")
        finally:
            alone.dispose()

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> Self:
        """Start or reach the server, create Dagster's database if it is missing, and open it.

        Raises:
            OperatorError: the settings or the database cannot be used.
        """
        settings = _prepare()
        log_foreseen_errors_once()
        url = dagster_database_url(settings)
        if settings.database_url is not None:
            _require_connection(url, settings)
        storage = cls(url, settings, inst_data)
        create_missing_pools(storage._event_log_storage)
        # Without a daemon nobody else frees them, and the next run would wait for a dead one forever.
        free_dead_slots(storage._run_storage, storage._event_log_storage, settings)
        return storage


def _lacks_tables(engine: Engine) -> bool:
    return not TABLES.issubset(inspect(engine).get_table_names())


def shared_engine(url: str, settings: Settings) -> Engine:
    """Return the engine of a database, the same one for all parts of an instance, which keeps one connection open.

    Dagster's own engines open a connection for every statement. That is most of what an idle daemon costs, and a
    process of PostgreSQL each time. The connection is closed with the instance.
    """
    engine = _engines.get(url)
    if engine is None:
        # Never fewer connections than threads want: a thread that waits for another one's may wait forever.
        engine = _engines[url] = create_engine(url, isolation_level="AUTOCOMMIT", pool_size=1, max_overflow=-1)
        replace_dead_connections(engine)
        event.listen(engine, "handle_error", _explain_full_disk)
        event.listen(engine, "connect", _prepare_session)
        if settings.database_url is None:
            restart_on_connect(engine, settings.home_path / "postgres")
    return engine


_engines: dict[str, Engine] = {}


def _prepare_session(connection: Any, _: object) -> None:
    with connection.cursor() as cursor:
        # Dagster's columns have no zone: in another one than UTC, the server would store the local time of its dates.
        cursor.execute("SET TIME ZONE 'UTC'")
        # Dagster commits two or three times for each event, and would wait for the disk each time. When the power
        # fails, its last half second is lost, but nothing that the product's database holds, and nothing that was
        # written before it: a commit there, which waits, takes all earlier ones to the disk.
        cursor.execute("SET synchronous_commit TO off")
    connection.commit()


class ApertureArtifactStorage(ConfiguredBySettings, LocalArtifactStorage):
    """Dagster's own files, below ``APERTURE_HOME/dagster``."""

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> Self:
        """Put the files below the configured folder."""
        return cls(base_dir=str(_prepare().home_path / "dagster"), inst_data=inst_data)


class ApertureComputeLogManager(ConfiguredBySettings, LocalComputeLogManager):
    """Raw output of steps, below ``APERTURE_HOME/dagster/logs``."""

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> Self:
        """Put the logs below the configured folder."""
        return cls(base_dir=str(_prepare().home_path / "dagster" / "logs"), inst_data=inst_data)


def _prepare() -> Settings:
    """Load the settings and prepare the home; files that this process writes from now on are private."""
    settings = load_settings()
    keep_private()
    prepare_home(settings.home_path)
    return settings


def _require_connection(url: str, settings: Settings) -> None:
    """Fail at once if the database cannot be reached: Dagster would retry for 15 seconds and then not say why."""
    with _opening(settings):
        shared_engine(url, settings).connect().close()


@contextmanager
def _opening(settings: Settings) -> Iterator[None]:
    """Translate the errors of Dagster's database, including those of connections that Dagster opens itself.

    Raises:
        DatabaseError: the database cannot be used, and why.
    """
    embedded = settings.database_url is None
    with full_disk_explained(settings.home_path / "postgres") if embedded else nullcontext():
        try:
            yield
        except Exception as error:
            # The error of Dagster's last attempt, which it does not export, has that of the database as its cause.
            reason = error if isinstance(error, SQLAlchemyError) else error.__cause__
            if reason is None:
                raise
            raise DatabaseError(describe_connection_error(reason, embedded=embedded)) from None


def _explain_full_disk(context: ExceptionContext) -> None:
    if is_full_disk(context.original_exception):
        raise DatabaseError(describe_full_disk(context.original_exception)) from None
