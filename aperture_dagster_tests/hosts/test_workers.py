"""Celery's messages in Dagster's database: who writes and reads them, and what is left of them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster_postgres import PostgresEventLogStorage
from kombu.transport.sqlalchemy import Channel

from aperture_dagster.instance.purge import Retention, purge
from aperture_dagster.instance.workers import QUEUE, SettingsCeleryRunLauncher, _app, celery_arguments
from aperture_dagster.postgres.migrate import schema_lock
from aperture_dagster.settings import Settings
from aperture_dagster_tests.databases import run_statements


@pytest.fixture
def launch(instance: dg.DagsterInstance) -> Iterator[Callable[[], SettingsCeleryRunLauncher]]:
    """Return a function that makes launchers; afterwards forget their connections, and tables of the same name."""
    made: list[SettingsCeleryRunLauncher] = []

    def make() -> SettingsCeleryRunLauncher:
        made.append(SettingsCeleryRunLauncher())
        return made[-1]

    yield make
    for launcher in made:
        launcher.celery.close()
    if made:
        _app().close()
    _app.cache_clear()
    # Channels do not close their sessions.
    gc.collect(1)
    for engine, _ in Channel._engines.values():
        engine.dispose()
    Channel._engines.clear()


@pytest.fixture
def messages(external: Settings) -> Callable[..., list[tuple[object, ...]]]:
    """Return a function that runs statements in Dagster's database."""
    assert external.database_url is not None
    url = external.database_url.get_secret_value()
    head, _, name = url.partition("?")[0].rpartition("/")
    query = url.partition("?")[2]
    return lambda *statements: run_statements(f"{head}/{name}_dagster?{query}", *statements)


def test_of_hosts_that_start_at_once_one_makes_the_queue(
    instance: dg.DagsterInstance,
    messages: Callable[..., list[tuple[object, ...]]],
    launch: Callable[[], SettingsCeleryRunLauncher],
):
    """Otherwise one of two workers dies in its first second."""
    storage = instance.event_log_storage
    assert isinstance(storage, PostgresEventLogStorage)
    with ThreadPoolExecutor() as threads:
        with storage._engine.connect() as connection, schema_lock(connection):
            others = [threads.submit(launch) for _ in range(2)]
            assert wait(others, timeout=0.5).done == set()
            assert messages("SELECT to_regclass('kombu_queue')") == [(None,)]
        for one in others:
            one.result()
    assert messages("SELECT name FROM kombu_queue") == [(QUEUE,)]


def test_a_message_reaches_a_worker_once_and_is_deleted_when_it_is_old(
    instance: dg.DagsterInstance,
    messages: Callable[..., list[tuple[object, ...]]],
    launch: Callable[[], SettingsCeleryRunLauncher],
):
    launcher = launch()
    app = _app()
    for number in range(2):
        launcher.celery.send_task("execute_job", kwargs={"number": number}, queue=QUEUE)
    read = []
    with app.connection_for_read() as connection:
        channel = connection.channel()
        while (message := channel.basic_get(QUEUE, no_ack=True)) is not None:
            read.append(message.payload[1]["number"])
        assert read == [0, 1]
        launcher.celery.send_task("execute_job", kwargs={"number": 2}, queue=QUEUE)
    later = datetime.now(UTC) + timedelta(days=2)
    freed = {one.part: one.rows for one in purge(instance, Retention(logs=later, runs=later))}
    assert freed["messages"] == 2
    assert messages("SELECT count(*) FROM kombu_message WHERE visible") == [(1,)]


def test_a_run_is_canceled_by_its_status(instance: dg.DagsterInstance, launch: Callable[[], SettingsCeleryRunLauncher]):
    """A database carries no broadcasts; `test_run_lock.py` shows that the process of the run takes notice."""

    @dg.job
    def work() -> None: ...

    run = instance.create_run_for_job(work, status=dg.DagsterRunStatus.STARTED)
    launcher = launch()
    launcher.register_instance(instance)
    assert launcher.terminate(run.run_id)
    canceled = instance.get_run_by_id(run.run_id)
    assert canceled is not None and canceled.status == dg.DagsterRunStatus.CANCELING
    instance.report_run_canceled(canceled)
    assert not launcher.terminate(run.run_id)


def test_workers_and_launcher_use_the_database_of_the_settings_and_no_broadcasts(
    external: Settings, instance: dg.DagsterInstance, launch: Callable[[], SettingsCeleryRunLauncher]
):
    launch()
    given = celery_arguments()
    assert given["broker"].startswith("sqla+postgresql+psycopg2://") and given["broker"][5:] == given["backend"][3:]
    conf = _app().conf
    assert not conf.worker_enable_remote_control and conf.worker_max_tasks_per_child == 1
    # As many as the queue lets through.
    limits = instance.get_concurrency_config().run_queue_config
    assert limits is not None and conf.worker_concurrency == limits.max_concurrent_runs
