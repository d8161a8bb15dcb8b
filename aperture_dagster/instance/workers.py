"""Runs on several hosts, by Celery: the launcher that ``deploy/celery/dagster.yaml`` names, and its workers.

A worker is started with ``celery --app aperture_dagster.instance.workers worker``. Messages and results are tables in
Dagster's database, so no further service is needed; ``docs/several-hosts.md`` says why that is enough.
"""

from __future__ import annotations

import functools
from typing import Any, Self

import dagster as dg
from dagster_celery.launcher import CeleryRunLauncher
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from aperture_dagster.instance.launcher import check_lock
from aperture_dagster.instance.private import CheckRunHealthResult, register_run_task
from aperture_dagster.instance.storage import ConfiguredBySettings
from aperture_dagster.postgres.connection import dagster_database_url
from aperture_dagster.postgres.migrate import schema_lock
from aperture_dagster.postgres.run_lock import KEEPALIVE
from aperture_dagster.settings import load_settings

QUEUE = "dagster"
RUNS = 3
"""Runs at once of a worker: all that the queue lets through, since the other workers may be gone."""


def celery_arguments() -> dict[str, Any]:
    """Return the arguments of the Celery app, the same for the launcher and the workers.

    Raises:
        OperatorError: the settings or the database cannot be used.
    """
    url = dagster_database_url(load_settings())
    # A worker that is cut off holds the lock of a message while it reads it.
    options = " ".join(f"-c {name}={value}" for name, value in KEEPALIVE.items())
    engine = {"connect_args": {"options": options}, "pool_pre_ping": True}
    return {
        "broker": f"sqla+{url}",
        "backend": f"db+{url}",
        # What every run needs is imported once by a worker, whose processes are copies of it.
        "include": ["aperture_dagster.build"],
        "config_source": {
            "broker_connection_retry_on_startup": True,
            # Until the database is back, however long that takes.
            "broker_connection_max_retries": None,
            "broker_transport_options": engine,
            "database_engine_options": engine,
            "result_expires": None,
            "task_default_queue": QUEUE,
            "worker_concurrency": RUNS,
            # A process for each run, as on one host: what a run leaves in memory ends with it.
            "worker_max_tasks_per_child": 1,
            "worker_prefetch_multiplier": 1,
            # A database carries no broadcasts. Runs are canceled by their status instead.
            "worker_enable_remote_control": False,
        },
    }


def create_queue(app: Any) -> None:
    """Create the tables of the messages and the queue, if they are missing: of two that do so at once, one fails."""
    engine = create_engine(dagster_database_url(load_settings()), poolclass=NullPool)
    with engine.connect() as lock, schema_lock(lock), app.connection_for_write() as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE)
        # Otherwise its transaction stays open.
        channel.session.close()


class SettingsCeleryRunLauncher(ConfiguredBySettings, CeleryRunLauncher):
    """Launches runs as tasks of Celery, through Dagster's database."""

    def __init__(self, inst_data: Any = None) -> None:
        super().__init__(default_queue=QUEUE, inst_data=inst_data, **celery_arguments())
        create_queue(self.celery)

    def terminate(self, run_id: str) -> bool:
        """Ask the process of a run to stop, which looks at the run's status every few seconds."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Tell whether the process of a run lives: the messages of a worker that was killed say so for ever."""
        return check_lock(self._instance, run)

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> Self:
        """Create the launcher; raises as :func:`celery_arguments`."""
        return cls(inst_data)


@functools.cache
def _app() -> Any:
    app = SettingsCeleryRunLauncher().celery
    register_run_task(app)
    return app


def __getattr__(name: str) -> Any:
    # Celery looks for `app`; the launcher, which loads this module in every process, does not need it.
    if name == "app":
        return _app()
    raise AttributeError(name)
