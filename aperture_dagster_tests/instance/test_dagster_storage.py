"""Dagster's own storage on the embedded server."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster_postgres import PostgresEventLogStorage
from sqlalchemy import make_url

from aperture_dagster.http.errors import ServiceRefused, ServiceUnavailable
from aperture_dagster.instance.failures import STOPPED, operator_errors
from aperture_dagster.postgres.cluster import ROLE, server_url, short_path
from aperture_dagster.postgres.connection import DAGSTER_DATABASE, close_engine, product_database_url
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.embedded import release_embedded_server
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.postgres.migrate import KEY
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster_tests.clusters import copy_clusters
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.databases import run_statements
from aperture_dagster_tests.holders import kill_server
from aperture_dagster_tests.interleaving import Side, wait_until_blocked
from aperture_dagster_tests.killing import Killed, killed_at
from aperture_dagster_tests.processes import all_gone
from aperture_dagster_tests.waiting import SECONDS, wait_for


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, clusters: Path) -> Iterator[Path]:
    """Yield an empty home with an embedded server of its own, of which nothing is left afterwards."""
    copy_clusters(monkeypatch, clusters)
    with tempfile.TemporaryDirectory(prefix="aperture-storage-", ignore_cleanup_errors=True) as folder:
        home = Path(folder).resolve()
        monkeypatch.setenv("APERTURE_HOME", str(home))
        monkeypatch.setenv("DAGSTER_HOME", str(PROJECT))
        try:
            yield home
        finally:
            release_embedded_server(home / "postgres")
        assert all_gone(home)


def test_a_run_is_launched_from_the_webserver_at_once_after_its_database_was_restarted(home: Path):
    with dg.DagsterInstance.get() as instance:
        # As the webserver's command does.
        instance.optimize_for_webserver(15_000, 3600, 20)
        job = dg.GraphDefinition(name="kept").to_job()

        def launch() -> int:
            run = instance.create_run_for_job(job)
            instance.report_engine_event("It was put into the queue.", run)
            instance.all_instigator_state()
            return len(instance.all_logs(run.run_id))

        assert launch() == 1
        kill_server(home / "postgres")
        assert launch() == 1


@dg.op
def stumble() -> None:
    raise RuntimeError("out of luck")


def test_runs_keep_what_happened_and_leave_out_the_talk_about_processes(instance: dg.DagsterInstance):
    job = dg.GraphDefinition(name="unlucky", node_defs=[stumble]).to_job()
    run = job.execute_in_process(instance=instance, raise_on_error=False)
    instance.report_engine_event("Started process for run (pid: 1).", run.dagster_run)
    instance.report_engine_event("The run was canceled by hand.", run.dagster_run)
    kept = [event.dagster_event for event in instance.all_logs(run.run_id) if event.dagster_event is not None]
    types = [event.event_type for event in kept]
    for expected in (dg.DagsterEventType.RUN_START, dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE):
        assert expected in types
    assert dg.DagsterEventType.RESOURCE_INIT_SUCCESS not in types
    talk = [event.message for event in kept if event.event_type == dg.DagsterEventType.ENGINE_EVENT]
    assert talk == ["The run was canceled by hand."]


def failing(error: BaseException, settings: Settings | None = None) -> dg.OpDefinition:
    """Define an op that fails with an error; with settings, as the steps of this program do."""

    @dg.op
    def step() -> None:
        with operator_errors(dg.OpExecutionContext.get(), settings) if settings else nullcontext():
            raise error

    return step


def stored_errors(instance: dg.DagsterInstance, op: dg.OpDefinition) -> dict[str, Any]:
    """Run an op that fails, and return the errors that pages of runs show, by the type of their event."""
    job = dg.GraphDefinition(name="unlucky", node_defs=[op]).to_job(executor_def=dg.in_process_executor)
    run = job.execute_in_process(instance=instance, raise_on_error=False)
    stored = [one.dagster_event for one in instance.all_logs(run.run_id) if one.dagster_event is not None]
    errors = {one.event_type_value: getattr(one.event_specific_data, "error", None) for one in stored}
    (ended,) = (one for one in stored if one.is_run_failure)
    if (failed := ended.job_failure_data.first_step_failure_event) is not None:
        errors["first failure"] = failed.step_failure_data.error
    return {name: error for name, error in errors.items() if error is not None}


WRONG_KEY = "Jellyfin refused (401). Check APERTURE_MEDIA_SERVER_API_KEY."
DOWN = "Jellyfin does not answer."


@pytest.mark.parametrize(
    ("error", "is_handled", "sentences"),
    [
        (ServiceRefused(WRONG_KEY), True, {WRONG_KEY}),
        (ServiceUnavailable(DOWN), True, {DOWN, f"{DOWN} What was there is kept; the next run goes on from here."}),
        # In a check, which only reads what is stored.
        (DatabaseError(WRONG_KEY), False, {WRONG_KEY}),
        (dg.DagsterExecutionInterruptedError(), False, {STOPPED}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_a_foreseen_error_is_shown_as_its_sentence_without_a_stack(
    instance: dg.DagsterInstance, external: Settings, error: BaseException, is_handled: bool, sentences: set[str]
):
    hasty = external.model_copy(update={"step_retries": 1, "step_retry_wait_seconds": 0})
    shown = stored_errors(instance, failing(error, hasty if is_handled else None))
    assert {"STEP_FAILURE", "PIPELINE_FAILURE"} <= shown.keys()
    assert ("STEP_UP_FOR_RETRY" in shown) == isinstance(error, ServiceUnavailable)
    assert {one.to_string() for one in shown.values()} == sentences


def test_an_unforeseen_error_keeps_its_stack(instance: dg.DagsterInstance, external: Settings):
    for op in (failing(LookupError("no such thing"), external), failing(LookupError("no such thing"))):
        shown = stored_errors(instance, op)
        for name in ("STEP_FAILURE", "PIPELINE_FAILURE", "first failure"):
            assert "LookupError: no such thing" in (text := shown[name].to_string())
            assert text.count("in step\n") == 1 and "raise error" in text, name


def test_an_instance_keeps_one_connection_and_closes_it_with_itself(home: Path):
    with dg.DagsterInstance.get() as instance:
        instance.get_runs()
        before = connections(home)
        for _ in range(20):
            instance.get_runs()
            instance.get_asset_keys()
            instance.all_instigator_state()
        after = connections(home)
        # The look itself opens one, and the server may have counted the instance's own a moment later.
        assert after[0] - before[0] <= 2, "a connection for each statement"
        assert after[1] == 1
    # Its process of the server may end a moment later.
    wait_for(lambda: connections(home)[1] == 0, "a connection is left open")
    close_engine(product_database_url(load_settings()))


def connections(home: Path) -> tuple[int, int]:
    """Return how many connections to Dagster's database were opened so far, and how many are open."""
    url = server_url(short_path(home / "postgres"))
    with psycopg.connect(url.replace("/postgres?", f"/{DAGSTER_DATABASE}?"), autocommit=True) as connection:
        # A server process reports its figures when it is idle for a moment, or when it ends.
        connection.execute("SELECT pg_stat_force_next_flush()")
        row = connection.execute(
            "SELECT sessions, (SELECT count(*) FROM pg_stat_activity WHERE datname = %(name)s "
            "AND pid <> pg_backend_pid()) FROM pg_stat_database WHERE datname = %(name)s",
            {"name": DAGSTER_DATABASE},
        ).fetchone()
    assert row is not None
    return row[0], row[1]


def test_dagsters_events_do_not_wait_for_the_disk_and_what_the_product_stores_does(home: Path):
    with dg.DagsterInstance.get() as instance:
        with instance.event_log_storage.index_connection() as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "off"
        with Database(load_settings()).transaction() as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
            assert connection.exec_driver_sql("SHOW fsync").scalar() == "on"


def test_of_processes_that_start_at_once_on_a_new_database_one_creates_dagsters_tables(
    external: Settings, postgres: str, monkeypatch: pytest.MonkeyPatch
):
    assert external.database_url is not None
    product = make_url(external.database_url.get_secret_value())
    own = product.set(database=f"{product.database}_own_dagster")
    run_statements(postgres, f"CREATE DATABASE {own.database} OWNER {ROLE}")
    url = own.render_as_string(hide_password=False)
    monkeypatch.setenv("APERTURE_DATABASE_URL", url.replace("_own_dagster", "_own"))

    def tables() -> set[str]:
        found = run_statements(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {str(name) for (name,) in found}

    def start() -> None:
        with dg.DagsterInstance.get():
            pass

    try:
        # Killed at the first start; a part of the tables, nothing would complete.
        with killed_at([(PostgresEventLogStorage, "reindex_events")], 1), pytest.raises(Killed):
            start()
        with psycopg.connect(url, autocommit=True) as another:
            another.execute(f"SELECT pg_advisory_lock({KEY})".encode())
            late = Side(start)
            wait_until_blocked(url, late)
            assert tables() == set(), "the other one is creating them"
        late.result(SECONDS)
        assert tables() >= {"runs", "instance_info", "event_logs", "jobs"}
    finally:
        run_statements(postgres, f"DROP DATABASE {own.database} WITH (FORCE)")
