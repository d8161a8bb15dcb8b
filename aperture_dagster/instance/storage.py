"""Where Dagster itself keeps things, named in ``dagster.yaml``: the product's PostgreSQL server, and ``APERTURE_HOME``.

Each class asks the project's settings, so that plain ``dagster …`` commands work with nothing started by hand.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

if TYPE_CHECKING:
    from dagster._core.storage.event_log import EventLogStorage
    from sqlalchemy.engine import ExceptionContext

from aperture_dagster.settings import Settings, SettingsError, load_settings
from aperture_dagster.storage.files import FileError, keep_private, prepare_home

# Dagster migrates its own tables with it, and it says so at every start.
logging.getLogger("alembic").setLevel(logging.WARNING)


class StorageUnusable(click.ClickException):
    """Dagster's storage cannot be used; Dagster's commands, which are click's, end with its sentence alone."""


@contextlib.contextmanager
def _sentences() -> Iterator[None]:
    """Turn what the operator can mend into a sentence, and leave everything else as it is."""
    from aperture_dagster.storage.errors import DatabaseError

    try:
        yield
    except (SettingsError, DatabaseError, FileError) as error:
        raise StorageUnusable(str(error)) from None


def _open(cls: type[ApertureDagsterStorage], inst_data: ConfigurableClassData | None) -> ApertureDagsterStorage:
    from sqlalchemy import create_engine, event
    from sqlalchemy.exc import SQLAlchemyError

    from aperture_dagster.instance.dead_runs import free_dead_slots, watch_runs
    from aperture_dagster.storage.connection import dagster_database_url, refuse_shared_database
    from aperture_dagster.storage.embedded import restart_on_connect
    from aperture_dagster.storage.errors import DatabaseError, describe_connection_error

    settings = _prepare()
    refuse_shared_database(settings)
    url = dagster_database_url(settings)
    embedded = settings.database_url is None and settings.dagster_database_url is None
    if not embedded:
        # Dagster would try for a quarter of a minute, and then not say why.
        engine = create_engine(url)
        try:
            engine.connect().close()
        except SQLAlchemyError as error:
            raise DatabaseError(describe_connection_error(error, _setting_of(settings))) from None
        finally:
            engine.dispose()
    storage = cls(postgres_url=url, inst_data=inst_data)
    for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
        event.listen(part._engine, "handle_error", _tell_of_a_full_disk)  # pyright: ignore[reportAttributeAccessIssue]
        if embedded:
            restart_on_connect(part._engine, settings.home_path / "postgres")  # pyright: ignore[reportAttributeAccessIssue]
    _let_two_make_a_pool(storage.event_log_storage)
    watch_runs(storage.run_storage, settings)
    # Without a daemon nobody else does, and the next run would wait for a dead one without end.
    free_dead_slots(storage.run_storage, storage.event_log_storage, settings)
    return storage


def _prepare() -> Settings:
    """Load the settings and prepare the home; what this process writes from now on is private."""
    settings = load_settings()
    keep_private()
    prepare_home(settings.home_path)
    return settings


def _setting_of(settings: Settings) -> str:
    return "APERTURE_DAGSTER_DATABASE_URL" if settings.dagster_database_url else "APERTURE_DATABASE_URL"


def _let_two_make_a_pool(events: EventLogStorage) -> None:
    """Let runs that meet a pool for the first time at once both go on.

    Dagster means the second to find the first one's pool, but in PostgreSQL the failed insert has ended its
    transaction, and the run fails.
    """
    from sqlalchemy.exc import SQLAlchemyError

    make = events.initialize_concurrency_limit_to_default

    def made(concurrency_key: str) -> bool:
        try:
            return make(concurrency_key)
        except SQLAlchemyError:
            if concurrency_key not in events.get_concurrency_keys():
                raise
            return True

    events.initialize_concurrency_limit_to_default = made


def _tell_of_a_full_disk(context: ExceptionContext) -> None:
    from aperture_dagster.storage.errors import describe_full_disk, is_full_disk

    if is_full_disk(context.original_exception):
        raise StorageUnusable(describe_full_disk(context.original_exception)) from None


class ApertureDagsterStorage(DagsterPostgresStorage):
    """Runs, events and schedules in PostgreSQL: the embedded server, or the one that the settings name."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """No configuration of its own: the settings decide."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> ApertureDagsterStorage:
        """Start or reach the server, make Dagster's database there if it is missing, and open it."""
        with _sentences():
            return _open(cls, inst_data)

    @property
    def event_storage_data(self) -> ConfigurableClassData | None:
        """None: the parts are reached through this class, never by a URL written into configuration."""
        return None

    @property
    def run_storage_data(self) -> ConfigurableClassData | None:
        """None, as for the events."""
        return None

    @property
    def schedule_storage_data(self) -> ConfigurableClassData | None:
        """None, as for the events."""
        return None


class ApertureArtifactStorage(LocalArtifactStorage):
    """Dagster's own files, below ``APERTURE_HOME/dagster``."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """No configuration of its own: the settings decide."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> ApertureArtifactStorage:
        """Put the files below the configured home."""
        with _sentences():
            return cls(base_dir=str(_prepare().home_path / "dagster"), inst_data=inst_data)


class ApertureComputeLogManager(LocalComputeLogManager):
    """What steps print, below ``APERTURE_HOME/dagster/logs``."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """No configuration of its own: the settings decide."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> ApertureComputeLogManager:
        """Put the logs below the configured home."""
        with _sentences():
            return cls(base_dir=str(_prepare().home_path / "dagster" / "logs"), inst_data=inst_data)
