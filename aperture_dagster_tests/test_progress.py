"""How far steps are and what they did last, as other processes read it."""

import logging
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from aperture_dagster import model, progress
from aperture_dagster.defs.reporting import log_totals
from aperture_dagster.instance.failures import operator_errors
from aperture_dagster.model import Progress
from aperture_dagster.postgres.backup.create import create_backup
from aperture_dagster.postgres.database import Database
from aperture_dagster.progress import StepKeeper, StepProgress, kept_progress, read_progress
from aperture_dagster.settings import Settings
from aperture_dagster_tests.instances import instance_in_memory
from aperture_dagster_tests.shelf import NOW

Body = Callable[[Any], None]
LOG = logging.getLogger(__name__)


class Seconds:
    """A monotonic clock that a test sets by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Seconds:
    clock = Seconds()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with instance_in_memory() as opened:
        yield opened


def run_step(instance: dg.DagsterInstance, settings: Settings, body: Body) -> dg.ExecuteInProcessResult:
    """Run a job of one step, whose function is wrapped as those of all assets are."""

    @dg.op
    def count(context: dg.OpExecutionContext) -> None:
        with operator_errors(context, settings):
            body(context)

    @dg.job
    def counting() -> None:
        count()

    return counting.execute_in_process(instance=instance, raise_on_error=False)


def kept(database: Database, *run_ids: str) -> list[StepProgress]:
    with database.transaction() as connection:
        return read_progress(connection, run_ids)


def test_others_read_what_a_step_has_done_while_it_runs_and_its_result_afterwards(
    settings: Settings, database: Database, instance: dg.DagsterInstance, seconds: Seconds
):
    seen: list[StepProgress] = []

    def work(context: dg.OpExecutionContext) -> None:
        counted = Progress(context.log, "titles", 40)
        for _ in range(3):
            seconds.now += 2
            counted.add(10)
            seen.extend(kept(database, context.run_id))
        log_totals(context, {"titles": 40})

    run_id = run_step(instance, settings, work).run_id
    assert [(one.what, one.done, one.total, one.result) for one in seen] == [
        ("titles", 10, 40, None), ("titles", 20, 40, None), ("titles", 30, 40, None),
    ]  # fmt: skip
    (after,) = kept(database, run_id)
    assert (after.job, after.step, after.what, after.result) == ("counting", "count", None, "40 titles.")


def test_a_step_writes_once_a_second_however_much_it_counts(database: Database, seconds: Seconds):
    keeper = StepKeeper(database, "run", "step", "job")
    with kept_progress(keeper):
        counted = Progress(LOG, "titles", 100)
        for _ in range(50):
            counted.add()
        assert kept(database, "run") == []
        for _ in range(4):
            seconds.now += 0.4
            counted.add()
        # After 1.2 seconds; the second since is not over.
        assert [one.done for one in kept(database, "run")] == [53]


def test_the_beginning_is_shown_at_once_and_the_log_says_how_long_the_rest_takes(
    database: Database, seconds: Seconds, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(model, "time", SimpleNamespace(monotonic=seconds.monotonic))
    caplog.set_level(logging.INFO)
    with kept_progress(StepKeeper(database, "run", "step", "job")):
        counted = Progress(LOG, "lists", 40)
        counted.begin()
        assert [(row.done, row.total) for row in kept(database, "run")] == [(0, 40)]
        seconds.now += 60
        counted.add(10)
        seconds.now += 6
        counted.add(30)
    assert caplog.messages == ["10 of 40 lists, 10/min, about 3 min left", "40 of 40 lists, 36/min"]


def test_a_step_that_fails_leaves_no_progress(
    settings: Settings, database: Database, instance: dg.DagsterInstance, seconds: Seconds
):
    def work(context: dg.OpExecutionContext) -> None:
        counted = Progress(context.log, "titles")
        seconds.now += 2
        counted.add()
        assert kept(database, context.run_id)
        raise ValueError("no")

    result = run_step(instance, settings, work)
    assert not result.success
    assert kept(database, result.run_id) == []


def test_the_next_result_of_a_step_takes_the_place_of_the_last_one_and_not_of_a_run_beside_it(
    settings: Settings, database: Database, instance: dg.DagsterInstance, seconds: Seconds
):
    first, second = (
        run_step(instance, settings, lambda context, titles=titles: log_totals(context, {"titles": titles})).run_id
        for titles in (1, 2)
    )
    beside = StepKeeper(database, "beside", "count", "counting")
    seconds.now += 2
    beside.report("titles", 1, None, 1.0)
    third = run_step(instance, settings, lambda context: log_totals(context, {"titles": 3})).run_id
    rows = kept(database, first, second, third, "beside")
    assert {(one.run_id, one.result) for one in rows} == {("beside", None), (third, "3 titles.")}


def test_a_step_goes_on_if_its_progress_cannot_be_kept(database: Database, seconds: Seconds):
    with database.transaction() as connection:
        connection.exec_driver_sql("DROP TABLE step_progress")
    with kept_progress(StepKeeper(database, "run", "step", "job")):
        counted = Progress(LOG, "titles")
        seconds.now += 2
        counted.add()


def test_a_backup_counts_the_rows_that_it_dumps_and_restores(settings: Settings, database: Database):
    with database.transaction() as connection:
        connection.exec_driver_sql(
            "INSERT INTO facts (name, value) SELECT 'fact ' || n, '{}' FROM generate_series(1, 2500) n"
        )
    reported: dict[str, tuple[int, int | None]] = {}

    class Keeper(StepKeeper):
        def report(self, what: str, done: int, total: int | None, seconds: float) -> None:
            reported[what] = (done, total)

    with database.autocommit() as connection:
        connection.exec_driver_sql("ANALYZE facts")
    with kept_progress(Keeper(database, "run", "step", "job")):
        made = create_backup(settings, NOW)
    assert made.unproven_because is None
    assert made.rows >= 2500
    # The first total is an estimate.
    assert reported["rows dumped"][0] == made.rows and (reported["rows dumped"][1] or 0) >= 2500
    assert reported["rows restored"] == (made.rows, made.rows)
