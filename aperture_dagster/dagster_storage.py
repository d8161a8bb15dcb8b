"""Where Dagster itself keeps things, named in ``dagster.yaml``: the product's PostgreSQL server, and ``APERTURE_HOME``.

Each class asks the project's settings, so that plain ``dagster …`` commands work with nothing started by hand.
"""

from __future__ import annotations

import logging
from typing import Any

from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from aperture_dagster.settings import load_settings

# Dagster migrates its own tables with it, and it says so at every start.
logging.getLogger("alembic").setLevel(logging.WARNING)


class ApertureDagsterStorage(DagsterPostgresStorage):
    """Runs, events and schedules in PostgreSQL: the embedded server, or the one that the settings name."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """No configuration of its own: the settings decide."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> ApertureDagsterStorage:
        """Start or reach the server, make Dagster's database there if it is missing, and open it."""
        from aperture_dagster.recovery import all_runs_are_local, free_dead_slots
        from aperture_dagster.storage.connection import dagster_database_url

        settings = load_settings()
        storage = cls(postgres_url=dagster_database_url(settings), inst_data=inst_data)
        if all_runs_are_local(settings):
            # Without a daemon nobody else does, and the next run would wait for a dead one without end.
            free_dead_slots(storage.run_storage, storage.event_log_storage)
        return storage

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
        return cls(base_dir=str(load_settings().home_path / "dagster"), inst_data=inst_data)


class ApertureComputeLogManager(LocalComputeLogManager):
    """What steps print, below ``APERTURE_HOME/dagster/logs``."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """No configuration of its own: the settings decide."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> ApertureComputeLogManager:
        """Put the logs below the configured home."""
        return cls(base_dir=str(load_settings().home_path / "dagster" / "logs"), inst_data=inst_data)
