"""An upgrade while code server, webserver and daemon run: one migrates, the others wait, and nothing fails."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner
from dagster._core.errors import DagsterLaunchFailedError, DagsterUserCodeUnreachableError
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon
from dagster._grpc.server import DagsterApiServer
from dagster._serdes import deserialize_value
from sqlalchemy import Engine, create_engine

from aperture_dagster.cli.main import main as aperture
from aperture_dagster.instance import upgrade
from aperture_dagster.instance.launcher import PatientRunLauncher
from aperture_dagster.instance.terminal import WAITING as CODE_SERVER_GONE
from aperture_dagster.instance.terminal import ForeseenErrors
from aperture_dagster.instance.upgrade import upgrade_instance
from aperture_dagster.postgres import migrate
from aperture_dagster.postgres.connection import close_engine, open_engine, product_database_url
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.postgres.migrate import HEAD_REVISION, ensure_schema, forget_schema, schema_lock
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster_tests.cli.next_release import NEW_TABLE, REVISION, next_release
from aperture_dagster_tests.databases import run_statements
from aperture_dagster_tests.instance.conftest import external, instance
from aperture_dagster_tests.interleaving import Side, stop_before_statement, wait_until_blocked
from aperture_dagster_tests.postgres.test_restore import HOUSEHOLD
from aperture_dagster_tests.sensors.runs import add_run
from aperture_dagster_tests.shelf import admin, empty
from aperture_dagster_tests.waiting import SECONDS

__all__ = ["admin", "empty", "external", "instance"]

WAITS = "Another process is migrating it"


@pytest.fixture
def previous(empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a household's database with the schema of the release before."""
    engine = open_engine(load_settings(database_url=empty))
    run_statements(empty, *HOUSEHOLD)
    close_engine(engine.url.render_as_string(hide_password=False))
    with next_release(tmp_path, monkeypatch):
        yield empty


@pytest.fixture
def engines(previous: str) -> Iterator[list[Engine]]:
    """Three engines on that database, as three processes have."""
    made = [create_engine(previous.replace("postgresql://", "postgresql+psycopg://")) for _ in range(3)]
    yield made
    for engine in made:
        engine.dispose()


def opened(engine: Engine, backups: list[str]) -> None:
    """Open the database as a process does that has just started."""
    forget_schema(engine.url.render_as_string(hide_password=False))
    ensure_schema(engine, before_migration=backups.append)


# The database


def test_of_three_services_that_start_at_once_one_migrates_and_two_say_that_they_wait(
    previous: str, engines: list[Engine], caplog: pytest.LogCaptureFixture
):
    backups: list[str] = []
    with caplog.at_level(logging.WARNING), stop_before_statement(NEW_TABLE) as stop:
        first = Side(lambda: opened(engines[0], backups))
        stop.wait_for(first)
        others = [Side(lambda engine=engine: opened(engine, backups)) for engine in engines[1:]]
        wait_until_blocked(previous, *others)
        assert not any(side.is_over for side in others)
        stop.go_on()
        for side in (first, *others):
            side.result(SECONDS)
    assert backups == [HEAD_REVISION]
    assert run_statements(previous, "SELECT version_num FROM alembic_version") == [(REVISION,)]
    waiting = [line for line in caplog.messages if WAITS in line]
    behind = f"has the schema {HEAD_REVISION}, and this version needs {REVISION}"
    assert len(waiting) == 2 and all(behind in line for line in waiting)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_process_of_the_previous_version_works_on_while_the_new_one_migrates(previous: str, engines: list[Engine]):
    rename = "UPDATE users SET name = 'Anna' WHERE user_id = 'u1'"
    # The new table is there and locked, with the one that it refers to; nothing is committed.
    with stop_before_statement("UPDATE alembic_version") as stop:
        migration = Side(lambda: opened(engines[0], []))
        stop.wait_for(migration)
        assert run_statements(previous, "SELECT count(*) FROM users") == [(3,)]
        writing = Side(lambda: run_statements(previous, rename))
        wait_until_blocked(previous, writing)
        stop.go_on()
        migration.result(SECONDS)
        writing.result(SECONDS)
    assert run_statements(previous, "SELECT name FROM users WHERE user_id = 'u1'") == [("Anna",)]


def test_who_waits_too_long_says_what_to_do_and_has_done_nothing(
    previous: str, engines: list[Engine], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(migrate, "PATIENCE_SECONDS", 0.05)
    said = rf"and it is still {HEAD_REVISION}\. Nothing was done\. See what that process logs"
    with engines[0].connect() as connection, schema_lock(connection), pytest.raises(DatabaseError, match=said):
        opened(engines[1], [])
    assert run_statements(previous, "SELECT version_num FROM alembic_version") == [(HEAD_REVISION,)]


def test_the_limit_is_for_the_wait_alone(previous: str, engines: list[Engine]):
    def limit_after_waiting() -> object:
        with engines[1].connect() as connection, schema_lock(connection, waiting=lambda: None, patience_seconds=100):
            return connection.exec_driver_sql("SHOW lock_timeout").scalar()

    with engines[0].connect() as connection:
        with schema_lock(connection):
            waiting = Side(limit_after_waiting)
            wait_until_blocked(previous, waiting)
        # A migration that takes longer is not interrupted.
        assert waiting.result(SECONDS) == "0"


def test_only_the_command_that_starts_a_code_server_migrates_the_products_database(
    external: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert external.database_url is not None
    url = external.database_url.get_secret_value()
    revision = "SELECT version_num FROM alembic_version"
    with next_release(tmp_path, monkeypatch), dg.DagsterInstance.get() as opened_instance:
        assert opened_instance.get_runs() == []
        assert run_statements(url, revision) == [(HEAD_REVISION,)]
        for _ in range(2):
            close_engine(product_database_url(external))
            done = CliRunner().invoke(aperture, ["migrate"])
            assert (done.exit_code, done.stdout) == (0, f"The database has the schema {REVISION}.\n"), done.output
        assert run_statements(url, revision) == [(REVISION,)]
    close_engine(product_database_url(external))
    refused = CliRunner().invoke(aperture, ["migrate"])
    # Docker would start a code server behind a command that ends well.
    assert refused.exit_code == 1 and "Install the version that wrote it again" in refused.output


def test_dagsters_own_database_is_migrated_once_and_only_if_needed(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    upgrades: list[str] = []
    monkeypatch.setattr(dg.DagsterInstance, "upgrade", lambda self: upgrades.append("upgrade"))
    assert not upgrade_instance(instance) and not upgrades
    monkeypatch.setattr(upgrade, "_is_up_to_date", lambda events: bool(upgrades))
    assert upgrade_instance(instance) and upgrades == ["upgrade"]
    assert not upgrade_instance(instance) and upgrades == ["upgrade"]


def test_a_database_of_a_newer_dagster_is_refused_with_a_sentence(instance: dg.DagsterInstance):
    events: Any = instance.event_log_storage
    with events._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    with pytest.raises(DatabaseError, match="Install the newer version of this program again"):
        upgrade_instance(instance)


# The queue


def refused_by_a_stopping_code_server() -> str:
    """Return Dagster's own answer to the request to start a run."""
    stopping = Event()
    stopping.set()
    server: Any = SimpleNamespace(_shutdown_once_executions_finish_event=stopping)
    request: Any = None
    reply = DagsterApiServer.StartRun(server, request, request)
    return deserialize_value(reply.serialized_start_run_result).message


@pytest.mark.parametrize("why", ["stopping", "not there", "for another reason"])
def test_a_run_without_a_code_server_stays_in_the_queue(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, why: str
):
    def refuse(_launcher: Any, _context: Any) -> None:
        if why == "not there":
            raise DagsterUserCodeUnreachableError("Could not reach user code server. gRPC Error code: UNAVAILABLE")
        raise DagsterLaunchFailedError(refused_by_a_stopping_code_server() if why == "stopping" else "No such job")

    monkeypatch.setattr(dg.DefaultRunLauncher, "launch_run", refuse)
    assert isinstance(instance.run_launcher, PatientRunLauncher)
    run = add_run(instance, "sync_users", "QUEUED")
    queued = DagsterEvent(DagsterEventType.PIPELINE_ENQUEUED.value, job_name=run.job_name)
    instance.report_dagster_event(queued, run_id=run.run_id)
    workspace: Any = SimpleNamespace()
    for _ in range(3):
        # A new daemon each time: one would wait half a minute before it tries again.
        daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
        daemon._dequeue_run(instance, workspace, run, instance.get_concurrency_config(), None)
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    expected = dg.DagsterRunStatus.FAILURE if why == "for another reason" else dg.DagsterRunStatus.QUEUED
    assert found.status == expected


def test_a_code_server_that_is_away_is_one_warning_without_a_stack_trace():
    log, seen = logging.getLogger("test of a code server"), []
    handler = logging.Handler()
    handler.emit = seen.append
    handler.addFilter(ForeseenErrors())
    log.addHandler(handler)
    try:
        log.warning(
            "Error loading repository location aperture:dagster._core.errors.DagsterUserCodeUnreachableError: Could "
            "not reach user code server. gRPC Error code: UNAVAILABLE\n\nStack Trace:\n  File"
        )
        try:
            raise DagsterUserCodeUnreachableError("The code server is stopping; the next one starts the run.")
        except DagsterUserCodeUnreachableError:
            log.exception("Caught an error dequeuing run 1a2b")
        log.error("Another error")
    finally:
        log.removeHandler(handler)
    assert [(one.levelname, one.getMessage()) for one in seen] == [
        ("WARNING", f"{CODE_SERVER_GONE} (Shown once in ten minutes.)"),
        ("ERROR", "Another error"),
    ]
    assert seen[0].exc_info is None
