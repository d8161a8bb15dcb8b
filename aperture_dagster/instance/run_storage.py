"""Dagster's storage of runs on our PostgreSQL server, in which the process that works on a run holds its lock."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster_postgres import PostgresRunStorage
from sqlalchemy import Engine

from aperture_dagster.instance.home import LOCATION
from aperture_dagster.instance.private import REPOSITORY_TAG, repository
from aperture_dagster.instance.run_lock import TAG, lock_run, tag_of, unlock_run
from aperture_dagster.instance.runs import is_ours, location_of
from aperture_dagster.instance.wrong_clock import watch_clock
from aperture_dagster.settings import Settings

if TYPE_CHECKING:
    from aperture_dagster.instance.private import DaemonHeartbeat

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

    @property
    def is_embedded(self) -> bool:
        """Whether the database is the embedded one, to which no network leads."""
        return self._settings.database_url is None

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
            lock_run(run_id, self.postgres_url, self._settings)
            # Before it counts as started: without this tag, a run belongs to a launcher with another storage.
            self.add_run_tags(run_id, {TAG: tag_of(run_id)})
        super().handle_run_event(run_id, event, update_timestamp)
        if event.event_type in RUN_ENDED:
            unlock_run(run_id)

    def add_daemon_heartbeat(self, daemon_heartbeat: DaemonHeartbeat) -> None:
        """Record a heartbeat of this process, which is the daemon, and watch its clock from the first one on."""
        super().add_daemon_heartbeat(daemon_heartbeat)
        _watch_clock_once()


@functools.cache
def _watch_clock_once() -> None:
    threading.Thread(target=watch_clock, name="watch of the clock", daemon=True).start()
