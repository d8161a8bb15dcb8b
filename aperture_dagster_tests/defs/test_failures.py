"""A step that fails says why in a sentence, and is tried again where that can help."""

import logging
import re
from collections.abc import Iterator
from typing import Any

import dagster as dg
import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from aperture_dagster.instance.failures import failure_reason, operator_errors
from aperture_dagster.instance.terminal import ForeseenErrors, RunFormatter, TerminalHandler, log_foreseen_errors_once
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.errors import DatabaseError, DatabaseInterrupted, database_error
from aperture_dagster.postgres.queries import execute, read_value
from aperture_dagster.settings import Settings
from aperture_dagster_tests.instances import instance_in_memory


@pytest.fixture
def terminal() -> Iterator[tuple[dg.LoggerDefinition, list[str]]]:
    """A logger as runs have it, and what it writes."""
    lines: list[str] = []

    class Collect(TerminalHandler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.extend([line] if (line := self.format(record)) else [])

    def create(_: dg.InitLoggerContext) -> logging.Logger:
        logger, handler = logging.Logger("dagster", logging.INFO), Collect()
        handler.setFormatter(RunFormatter())
        logger.addHandler(handler)
        return logger

    yield dg.LoggerDefinition(create), lines


def _run(assets: list[Any], logger: dg.LoggerDefinition) -> dg.ExecuteInProcessResult:
    definitions = dg.Definitions(
        assets, jobs=[dg.define_asset_job("everything", selection="*")], loggers={"console": logger}
    )
    return definitions.resolve_job_def("everything").execute_in_process(
        instance=instance_in_memory(), raise_on_error=False, run_config={"loggers": {"console": {}}}
    )


def _stop_connections(database: Database) -> None:
    """End every other connection to the database, as the server does when it stops."""
    with create_engine(database._engine().url, poolclass=NullPool).connect() as other:
        execute(
            other,
            # Not the server's own, such as autovacuum: nobody else may end these.
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()",
        )


def test_a_database_that_restarts_in_a_step_is_tried_again(make_settings: Any, terminal: Any):
    settings = make_settings(step_retries=1, step_retry_wait_seconds=0)
    database, attempts = Database(settings), []

    @dg.asset
    def counted(context: dg.AssetExecutionContext) -> None:
        with operator_errors(context, settings), database.transaction() as connection:
            attempts.append(read_value(connection, "SELECT 1"))
            if len(attempts) == 1:
                _stop_connections(database)
                read_value(connection, "SELECT 2")

    logger, lines = terminal
    assert _run([counted], logger).success and attempts == [1, 1]
    (line,) = (line for line in lines if "WARNING" in line)
    assert "The database server stopped or restarted during the work" in line and "Retrying the step in 0 s" in line


def test_a_database_that_stays_away_fails_with_what_is_kept(settings: Settings, terminal: Any):
    database = Database(settings)

    @dg.asset
    def counted(context: dg.AssetExecutionContext) -> None:
        with operator_errors(context, settings), database.transaction() as connection:
            _stop_connections(database)
            read_value(connection, "SELECT 2")

    logger, lines = terminal
    assert not _run([counted], logger).success
    (line,) = lines
    assert re.search(r"ERROR counted failed: .* What was there is kept; the next run goes on from here\. \(run ", line)


@pytest.mark.parametrize(
    ("message", "interrupted"),
    [
        ("consuming input failed: server closed the connection unexpectedly", True),
        ("the connection is lost", True),
        ("connection failed: FATAL:  could not write init file: No space left on device", False),
        ("connection failed: connection to server failed: FATAL:  the database system is starting up", True),
        ('connection failed: connection to server at "127.0.0.1", port 9 failed: Connection refused', False),
        ("connection failed: FATAL:  password authentication failed for user", False),
    ],
)  # fmt: skip
def test_only_what_passes_is_tried_again(message: str, interrupted: bool):
    assert isinstance(database_error(psycopg.OperationalError(message), embedded=False), DatabaseError)
    assert (
        isinstance(database_error(psycopg.OperationalError(message), embedded=True), DatabaseInterrupted) is interrupted
    )


@pytest.mark.parametrize("message", ["connection failed: Connection refused", "the connection is lost"])
def test_the_embedded_database_is_not_blamed_on_a_setting_that_is_not_set(message: str):
    error = psycopg.OperationalError(message)
    embedded, external = (str(database_error(error, embedded=one)) for one in (True, False))
    assert "APERTURE_DATABASE_URL" not in embedded and "embedded database" in embedded
    assert "embedded database in" not in external and "The embedded" not in external


def test_a_stopped_run_says_so_and_what_to_do(terminal: Any):
    @dg.asset
    def stopped() -> None:
        raise dg.DagsterExecutionInterruptedError

    logger, lines = terminal
    result = _run([stopped], logger)
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    assert failure_reason(failure).startswith("It was stopped, because `aperture up` was")
    assert "start it again" in failure_reason(failure)
    assert [re.sub(r"^\S+ \S+ | \(run .*", "", line) for line in lines] == [
        f"ERROR stopped failed: {failure_reason(failure)}",
        "ERROR everything was stopped.",
    ]


def test_the_trace_of_a_bug_is_shown_once_and_what_depends_on_it_is_not_named(settings: Settings, terminal: Any):
    @dg.asset
    def broken() -> None:
        raise LookupError("no such thing")

    @dg.asset(deps=[broken])
    def after() -> None: ...

    logger, lines = terminal
    assert not _run([broken, after], logger).success
    (line,) = lines
    assert "broken failed: no such thing" in line or "LookupError" in line.splitlines()[0]
    assert line.count("in broken") == 1, "its stack trace"


def test_messages_of_steps_are_lines_with_their_step(terminal: Any):
    @dg.asset
    def talkative(context: dg.AssetExecutionContext) -> None:
        context.log.debug("hidden")
        context.log.info("Done: 1 row.")
        context.log.warning("slow")

    logger, lines = terminal
    assert _run([talkative], logger).success
    assert [re.sub(r"^\S+ \S+ ", "", line) for line in lines] == ["talkative: Done: 1 row.", "WARNING talkative: slow"]


def _record(message: str, error: BaseException | None = None) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error is not None else None
    return logging.LogRecord("dagster.daemon", logging.ERROR, "", 0, message, (), exc_info)


def test_a_full_disk_is_one_sentence_in_all_loops_of_the_daemon_together():
    moment = [0.0]
    foreseen = ForeseenErrors(clock=lambda: moment[0])
    full = 'The disk of the database is full: could not extend file "base/17821/{}". Free some space.'
    wrapped = RuntimeError("in a loop")
    wrapped.__cause__ = DatabaseError(full.format(17964))
    first = _record("AssetDaemon caught an error", wrapped)
    assert foreseen.filter(first)
    assert first.getMessage().startswith("The disk of the database is full") and first.exc_info is None
    sentence = f"aperture_dagster.postgres.errors.DatabaseError: {full.format('18085_fsm')}"
    text = f"Caught error:\n{sentence}\n\nStack Trace:\n  File"
    assert not foreseen.filter(_record(text)), "the same, as a text and about another file"
    assert foreseen.filter(_record("x", DatabaseError("The database cannot be reached."))), "another problem"
    moment[0] = 601.0
    again = _record(text)
    assert foreseen.filter(again) and "Stack Trace" not in again.getMessage()
    bug = _record("A loop caught an error", LookupError("a bug"))
    assert foreseen.filter(bug) and foreseen.filter(bug) and bug.exc_info is not None


def test_the_logs_of_a_process_share_one_memory_of_what_was_shown():
    root, ours = logging.getLogger(), logging.getLogger("dagster")
    handlers = [logging.NullHandler(), logging.NullHandler()]
    root.addHandler(handlers[0])
    ours.addHandler(handlers[1])
    before = {id(handler): list(handler.filters) for one in (root, ours) for handler in one.handlers}
    try:
        log_foreseen_errors_once()
        log_foreseen_errors_once()
        assert [len(handler.filters) for handler in handlers] == [1, 1]
        assert handlers[0].filters == handlers[1].filters
    finally:
        for one in (root, ours):
            for handler in one.handlers:
                handler.filters[:] = before[id(handler)]
        root.removeHandler(handlers[0])
        ours.removeHandler(handlers[1])
