"""Dagster's own storage, named in ``dagster.yaml``: our PostgreSQL server and folders below ``APERTURE_HOME``.

Each class reads the project's settings, so that plain ``dagster …`` commands work with nothing started by hand.
"""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from dagster_postgres import DagsterPostgresStorage
from sqlalchemy import Engine, create_engine, inspect
from sqlalchemy.pool import StaticPool

from aperture_dagster.files.private import keep_private, prepare_home
from aperture_dagster.instance.dead_runs import free_ended_slots
from aperture_dagster.instance.engine import opening, require_connection, shared_engine
from aperture_dagster.instance.pools import create_missing_pools
from aperture_dagster.instance.private import (
    CapturedLogContext,
    LocalArtifactStorage,
    LocalComputeLogManager,
    create_tables,
    use_engine,
)
from aperture_dagster.instance.step_output import mirrored
from aperture_dagster.instance.storage_parts import LockedRunStorage, TerseEventLogStorage, TerseScheduleStorage
from aperture_dagster.instance.terminal import log_foreseen_errors_once, log_runs_in_lines
from aperture_dagster.postgres.connection import dagster_database_url
from aperture_dagster.postgres.migrate import schema_lock
from aperture_dagster.settings import Settings, load_settings

# Dagster migrates its own tables with alembic, which logs several lines at every start.
logging.getLogger("alembic").setLevel(logging.WARNING)

# Every process that runs anything loads its instance first, and so this module.
log_runs_in_lines()

TABLES = {"runs", "event_logs", "jobs"}
"""A table of each part of Dagster's storage; Dagster creates the others with it."""


class ConfiguredBySettings:
    """A part of Dagster's instance without any configuration in ``dagster.yaml``."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Return no fields: the project's settings decide."""
        return {}


class ApertureDagsterStorage(ConfiguredBySettings, DagsterPostgresStorage):
    """Runs, events and schedules in PostgreSQL: the embedded server, or the one that the settings name."""

    def __init__(self, url: str, settings: Settings, inst_data: Any = None) -> None:
        super().__init__(postgres_url=url, should_autocreate_tables=False, inst_data=inst_data)
        engine = shared_engine(url, settings)
        self._runs = LockedRunStorage(url, settings, engine)
        self._events = TerseEventLogStorage(url, should_autocreate_tables=False)
        self._events.runs = self._runs
        self._schedules = TerseScheduleStorage(url, should_autocreate_tables=False)
        with opening(settings):
            # Checked here, once: otherwise each part would check, and Dagster creates new parts for every tick of a
            # sensor.
            if _lacks_tables(engine):
                self._create_tables(engine)
        use_engine(self._parts, engine)

    @property
    def run_storage(self) -> LockedRunStorage:
        """Return the storage of runs."""
        return self._runs

    @property
    def event_log_storage(self) -> TerseEventLogStorage:
        """Return the storage of events."""
        return self._events

    @property
    def schedule_storage(self) -> TerseScheduleStorage:
        """Return the storage of schedules, sensors and their ticks."""
        return self._schedules

    @property
    def _parts(self) -> tuple[LockedRunStorage, TerseEventLogStorage, TerseScheduleStorage]:
        return self._runs, self._events, self._schedules

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
                use_engine(self._parts, alone)
                connection.exec_driver_sql("BEGIN")
                create_tables(*self._parts)
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
            require_connection(url, settings)
        storage = cls(url, settings, inst_data)
        create_missing_pools(storage.event_log_storage)
        # Without a daemon nobody else frees them, and the next run would wait for an ended one forever.
        free_ended_slots(storage.run_storage, storage.event_log_storage)
        return storage


def _lacks_tables(engine: Engine) -> bool:
    return not TABLES.issubset(inspect(engine).get_table_names())


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

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        """Capture what this process prints until the block ends, without the processes that Dagster starts for it."""
        printed, warned = (self.get_captured_local_path(log_key, extension) for extension in ("out", "err"))
        with mirrored(sys.stdout, printed), mirrored(sys.stderr, warned):
            yield CapturedLogContext(log_key)
        # By this file, the UI knows that nothing follows.
        Path(self.complete_artifact_path(log_key)).touch()


def _prepare() -> Settings:
    """Load the settings and prepare the home; files that this process writes from now on are private."""
    settings = load_settings()
    keep_private()
    prepare_home(settings.home_path)
    return settings
