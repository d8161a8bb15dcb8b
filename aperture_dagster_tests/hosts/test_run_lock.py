"""Two hosts and one run: who lost its lock writes nothing more, and who holds it is left alone."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import dagster as dg
import psycopg
import pytest
from sqlalchemy.exc import DBAPIError

from aperture_dagster.instance.dead_runs import dead_runs, unlock_run
from aperture_dagster.postgres import run_lock
from aperture_dagster.postgres.database import Database, service_lease
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.postgres.queries import execute, read_value
from aperture_dagster.settings import Settings
from aperture_dagster_tests.forks import run_fork

OTHER_HOST = """
import dagster as dg
from aperture_dagster.instance.dead_runs import end_dead_runs
from aperture_dagster.settings import load_settings
from aperture_dagster.postgres import run_lock
run_lock.GRACE_SECONDS = 0.01
with dg.DagsterInstance.get() as instance:
    print(*(run.run_id for run in end_dead_runs(instance, load_settings())))
"""


def another_host_ends_dead_runs() -> list[str]:
    """Let another process do what Dagster's monitoring does every minute; return the ids of the runs that it ended."""
    ended: list[str] = []
    # On a busy machine, a session may not end at once. Then the run is left to the next look.
    for _ in range(5):
        done = run_fork(OTHER_HOST)
        assert done.stderr == ""
        ended += done.stdout.split()
        if ended:
            break
    return ended


class ProcessEnded(Exception):
    """What happens in a test instead of the end of its process."""


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process stand for one that works on a run, and survive its own end."""

    def end(reason: str) -> None:
        raise ProcessEnded(reason)

    monkeypatch.setattr(run_lock, "end_process", end)
    monkeypatch.setattr(run_lock, "GRACE_SECONDS", 0.01)
    # It does not look by itself, however slow the test is.
    monkeypatch.setattr(run_lock, "PING_SECONDS", 600.0)


@pytest.fixture
def run(instance: dg.DagsterInstance) -> dg.DagsterRun:
    @dg.job
    def work() -> None: ...

    return instance.create_run_for_job(work, status=dg.DagsterRunStatus.STARTED)


@pytest.fixture
def work_on(instance: dg.DagsterInstance, external: Settings) -> Iterator[Callable[[dg.DagsterRun], None]]:
    """Make this process one that works on a run, until the test ends."""
    begun: list[str] = []

    def begin(run: dg.DagsterRun) -> None:
        begun.append(run.run_id)
        started = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, run.job_name)
        instance.run_storage.handle_run_event(run.run_id, started)

    yield begin
    for run_id in begun:
        unlock_run(run_id, external)


@pytest.fixture
def server(external: Settings) -> Iterator[psycopg.Connection]:
    """A session of the server's operator."""
    assert external.database_url is not None
    with psycopg.connect(external.database_url.get_secret_value(), autocommit=True) as session:
        yield session


def lose_lock(server: psycopg.Connection, run: dg.DagsterRun) -> None:
    """End the session that holds the lock, as the server does when its host does not answer any more."""
    assert server.execute(
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_locks WHERE locktype = 'advisory' AND classid::bigint = %s "
        "AND objid::bigint = (hashtext(%s)::bigint & 4294967295)",
        (run_lock.KEY, run.run_id),
    ).fetchall() == [(True,)]


def eventually(happens: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 240
    while not happens() and time.monotonic() < deadline:
        time.sleep(0.02)
    return happens()


def test_after_a_run_was_taken_over_its_old_process_writes_nothing(
    instance: dg.DagsterInstance,
    external: Settings,
    run: dg.DagsterRun,
    work_on: Callable[[dg.DagsterRun], None],
    server: psycopg.Connection,
):
    """As one that was suspended in the middle of a transaction, and does not know for how long."""
    database = Database(external)
    work_on(run)
    with pytest.raises((DBAPIError, DatabaseError)), database.transaction() as connection:
        execute(connection, "INSERT INTO facts (name, value) VALUES ('written too late', '1')")
        lose_lock(server, run)
        assert another_host_ends_dead_runs() == [run.run_id]
    # Or, if it took long to notice: it could not hold the lock.
    told = "another process has ended the run|cannot hold the run's lock"
    with pytest.raises(ProcessEnded, match=told), database.transaction() as connection:
        execute(connection, "INSERT INTO facts (name, value) VALUES ('written too late', '2')")
    with pytest.raises(ProcessEnded):
        # Nor does it tell Dagster anything.
        instance.report_engine_event("I go on", run)
    unlock_run(run.run_id, external)
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None and ended.status == dg.DagsterRunStatus.FAILURE
    with database.transaction() as connection:
        assert read_value(connection, "SELECT count(*) FROM facts WHERE name = 'written too late'") == 0


def test_a_process_that_only_lost_its_connection_goes_on(
    instance: dg.DagsterInstance,
    external: Settings,
    run: dg.DagsterRun,
    work_on: Callable[[dg.DagsterRun], None],
    server: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
):
    """As after a restart of the server."""
    monkeypatch.setattr(run_lock, "PING_SECONDS", 0.05)
    monkeypatch.setattr(run_lock, "GRACE_SECONDS", 5.0)
    work_on(run)
    lose_lock(server, run)
    assert dead_runs(instance, external) == []
    with Database(external).transaction() as connection:
        execute(connection, "INSERT INTO facts (name, value) VALUES ('written', '1')")


def test_a_process_that_reaches_no_database_ends_itself_before_the_server_gives_its_lock_away(
    run: dg.DagsterRun,
    work_on: Callable[[dg.DagsterRun], None],
    server: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
):
    keepalive = run_lock.KEEPALIVE
    server_waits = keepalive["tcp_keepalives_interval"] * keepalive["tcp_keepalives_count"]
    # A ping, or an attempt to connect, may have begun just before.
    assert server_waits > run_lock.END_AFTER_SECONDS + run_lock.PATIENCE_SECONDS
    monkeypatch.setattr(run_lock, "PING_SECONDS", 0.05)
    monkeypatch.setattr(run_lock, "END_AFTER_SECONDS", 0.3)
    ended: list[str] = []
    is_ended = threading.Event()

    def end(reason: str) -> None:
        # The thread that watches goes on.
        ended.append(reason)
        is_ended.set()

    monkeypatch.setattr(run_lock, "end_process", end)
    work_on(run)

    def refuse(*_: object, **__: object) -> None:
        raise psycopg.OperationalError("no route to host")

    monkeypatch.setattr(psycopg, "connect", refuse)
    begun = time.monotonic()
    lose_lock(server, run)
    assert is_ended.wait(240) and time.monotonic() - begun >= 0.3
    monkeypatch.undo()
    assert "cannot hold the run's lock in Dagster's database (no route to host)" in ended[0]


def test_a_run_that_is_canceled_elsewhere_is_interrupted(
    instance: dg.DagsterInstance,
    run: dg.DagsterRun,
    work_on: Callable[[dg.DagsterRun], None],
    monkeypatch: pytest.MonkeyPatch,
):
    """Celery cannot tell its workers when its messages are in a database."""
    monkeypatch.setattr(run_lock, "PING_SECONDS", 0.05)
    interrupted = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: interrupted.set())
    try:
        work_on(run)
        assert not interrupted.wait(0.3)
        instance.report_run_canceling(run)
        assert eventually(interrupted.is_set)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_process_that_ends_its_run_itself_goes_on(external: Settings, instance: dg.DagsterInstance):
    @dg.op
    def look() -> None:
        assert os.environ["PGAPPNAME"].startswith("aperture run ")

    @dg.job
    def work() -> None:
        look()

    assert work.execute_in_process(instance=instance).success
    assert work.execute_in_process(instance=instance).success
    assert "PGAPPNAME" not in os.environ and not run_lock._locks


def test_of_two_processes_that_get_the_same_run_one_works_on_it(
    external: Settings,
    run: dg.DagsterRun,
    work_on: Callable[[dg.DagsterRun], None],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(run_lock, "END_AFTER_SECONDS", 0.1)
    work_on(run)
    first = run_lock._locks[run.run_id]
    second = run_lock.RunLock(run.run_id, first._url)
    with pytest.raises(ProcessEnded, match="another process holds it"):
        second.hold()
    with Database(external).transaction() as connection:
        assert read_value(connection, "SELECT 1") == 1


def test_two_hosts_share_the_limits_of_a_service(
    external: Settings,
    run: dg.DagsterRun,
    work_on: Callable[[dg.DagsterRun], None],
    instance: dg.DagsterInstance,
    server: psycopg.Connection,
):
    """The pace of requests holds since one process at a time asks; a host that is cut off does not keep it for ever."""
    database = Database(external)
    work_on(run)
    mine = database._engine()
    with contextlib.suppress(DBAPIError, DatabaseError, ProcessEnded), service_lease(mine, "tmdb"):
        with pytest.raises(TimeoutError), service_lease(mine, "tmdb", patience_seconds=0):
            pass
        lose_lock(server, run)
        assert another_host_ends_dead_runs() == [run.run_id]
        unlock_run(run.run_id, external)
        with service_lease(database._engine(), "tmdb", patience_seconds=0):
            pass
