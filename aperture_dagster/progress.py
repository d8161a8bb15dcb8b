"""How far each step of a run is, and what it did last: kept in the database, for pages of other processes."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from aperture_dagster.model import progress_reports
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import execute, read_rows
from aperture_dagster.postgres.tables import Moment, metadata

_LOG = logging.getLogger(__name__)
SECONDS_BETWEEN_WRITES = 1.0
"""A step that takes less than this writes no progress but its beginning, if it shows that."""

step_progress = sa.Table(
    "step_progress",
    metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("step", sa.Text, primary_key=True),
    sa.Column("job", sa.Text, nullable=False),
    sa.Column("what", sa.Text),
    sa.Column("done", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("total", sa.BigInteger),
    sa.Column("seconds", sa.Float, nullable=False, server_default="0"),
    sa.Column("result", sa.Text),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    comment="How far the steps of runs are, and what each step of a job did last. A killed run leaves its rows: "
    "whether a run lives is for Dagster to say.",
)


@dataclass(frozen=True, slots=True)
class StepProgress:
    """How far a step is, or what it did.

    Attributes:
        what: what is counted, in the plural; None if the step counts nothing now.
        total: None if it is not known.
        seconds: how long it took to do as much as is ``done``, at ``updated_at``.
        result: what the step did, in a sentence; None until it has ended well.
    """

    run_id: str
    step: str
    job: str
    what: str | None
    done: int
    total: int | None
    seconds: float
    result: str | None
    updated_at: datetime


class StepKeeper:
    """Keeps the progress of one step.

    A write that fails costs the step nothing: whatever is wrong with the database, the step itself will meet it.
    """

    def __init__(self, database: Database, run_id: str, step: str, job: str) -> None:
        self.run_id, self.step = run_id, step
        self._database, self._job = database, job
        self._written_at, self._has_counted, self._has_result = time.monotonic(), False, False

    def report(self, what: str, done: int, total: int | None, seconds: float) -> None:
        """Keep how much is done, unless that was written within a second; the beginning in any case."""
        if done and time.monotonic() - self._written_at < SECONDS_BETWEEN_WRITES:
            return
        self._has_counted = True
        self._write(
            """INSERT INTO step_progress (run_id, step, job, what, done, total, seconds)
            VALUES (:run, :step, :job, :what, :done, :total, :seconds)
            ON CONFLICT (run_id, step) DO UPDATE SET what = excluded.what, done = excluded.done,
            total = excluded.total, seconds = excluded.seconds, result = NULL, updated_at = now()""",
            what=what,
            done=done,
            total=total,
            seconds=seconds,
        )
        self._written_at = time.monotonic()

    def end(self, result: str | None = None) -> None:
        """Take the count away, and keep the result, if there is one, in place of the results of earlier runs."""
        if result is not None:
            self._has_result = True
            self._write(
                """WITH old AS (
                DELETE FROM step_progress WHERE job = :job AND step = :step AND run_id <> :run
                AND (result IS NOT NULL OR updated_at < now() - interval '1 day'))
                INSERT INTO step_progress (run_id, step, job, result) VALUES (:run, :step, :job, :result)
                ON CONFLICT (run_id, step) DO UPDATE SET what = NULL, done = 0, total = NULL, seconds = 0,
                result = excluded.result, updated_at = now()""",
                result=result,
            )
        elif self._has_counted and not self._has_result:
            self._write("DELETE FROM step_progress WHERE run_id = :run AND step = :step AND job = :job")

    def _write(self, statement: str, **values: object) -> None:
        key = {"run": self.run_id, "step": self.step, "job": self._job}
        try:
            with self._database.transaction() as connection:
                # After a power failure, no run is where it was.
                execute(connection, "SET LOCAL synchronous_commit = off")
                execute(connection, statement, **key, **values)
        except Exception as error:
            _LOG.debug("the progress of %s could not be kept: %s", self.step, error)


_latest: ContextVar[StepKeeper | None] = ContextVar("_latest", default=None)


@contextmanager
def kept_progress(keeper: StepKeeper) -> Iterator[None]:
    """Keep what :class:`~aperture_dagster.model.Progress` counts meanwhile as the progress of a step."""
    before = progress_reports.get()
    progress_reports.set(keeper.report)
    _latest.set(keeper)
    try:
        yield
    finally:
        progress_reports.set(before)
        keeper.end()


def keep_result(run_id: str, step: str, result: str) -> None:
    """Keep what a step did, in a sentence; nothing if its progress was not kept in this context."""
    keeper = _latest.get()
    if keeper is not None and (keeper.run_id, keeper.step) == (run_id, step):
        keeper.end(result)


def read_progress(connection: Connection, run_ids: Collection[str]) -> list[StepProgress]:
    """Return how far the steps of runs are, and what they did, in the order in which that was written."""
    statement = """
        SELECT run_id, step, job, what, done, total, seconds, result, updated_at FROM step_progress
        WHERE run_id = ANY(:runs) ORDER BY updated_at, step"""
    return [StepProgress(**row) for row in read_rows(connection, statement, runs=list(run_ids))]
