"""Runs of jobs in a few columns: the records themselves take a hundred times as long to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from aperture_dagster.instance.failures import failure_reason
from aperture_dagster.instance.purge import on_postgres
from aperture_dagster.instance.runs import ENDED
from aperture_dagster.postgres.queries import execute

_COLUMNS = "run_id, pipeline_name, status, create_timestamp, start_time, end_time"
_ENDED = [status.value for status in ENDED]


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run: its job, its status as Dagster names it, when it was requested, and when it began and ended, if it has."""

    run_id: str
    job: str
    status: str
    requested_at: datetime
    began_at: datetime | None
    ended_at: datetime | None

    @property
    def has_ended(self) -> bool:
        """Whether it succeeded, failed or was canceled."""
        return self.status in _ENDED


def read_runs(instance: dg.DagsterInstance, jobs: Sequence[str], since: datetime) -> list[RunLine]:
    """Return the runs of jobs that were requested since then, those that have not ended, and the last one of each job.

    Newest first; nothing if Dagster's storage is not on PostgreSQL.
    """
    storage = on_postgres(instance)
    if storage is None:
        return []
    statement = f"""
        SELECT {_COLUMNS} FROM runs WHERE create_timestamp > :since AND pipeline_name = ANY(:jobs)
        UNION SELECT {_COLUMNS} FROM runs WHERE status <> ALL(:ended) AND pipeline_name = ANY(:jobs)
        UNION SELECT {_COLUMNS} FROM unnest(CAST(:jobs AS text[])) AS job CROSS JOIN LATERAL (
          SELECT {_COLUMNS} FROM runs WHERE pipeline_name = job AND status = ANY(:ended) ORDER BY id DESC LIMIT 1) last
        ORDER BY create_timestamp DESC"""
    # Dagster's columns hold UTC without a zone.
    values = {"since": since.astimezone(UTC).replace(tzinfo=None), "jobs": list(jobs), "ended": _ENDED}
    with storage.index_connection() as connection:
        return [_line(*row) for row in execute(connection, statement, **values)]


def _line(run_id: str, job: str, status: str, created: datetime, start: float | None, end: float | None) -> RunLine:
    return RunLine(run_id, job, status, created.replace(tzinfo=UTC), _moment(start), _moment(end))


def _moment(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def reasons_of(instance: dg.DagsterInstance, run_id: str) -> list[tuple[str, str]]:
    """Return which steps of a run failed, each with a sentence; or the run as a whole, without a name."""
    events: list[dg.DagsterEvent] = []
    for kind in (dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE):
        entries: Sequence[Any] = instance.all_logs(run_id, of_type=kind)
        events += [entry.dagster_event for entry in entries if entry.dagster_event is not None]
    steps = [(event.step_key or "", failure_reason(event)) for event in events if event.is_step_failure]
    return steps or [("", " ".join((event.message or "").split())) for event in events[:1]]
