"""Celery's messages in Dagster's database: who writes and reads them, and what is left of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster_postgres import PostgresEventLogStorage
from kombu.transport.sqlalchemy import Channel

from aperture_dagster.instance.purge import Retention, purge
from aperture_dagster.instance.workers import QUEUE, SettingsCeleryRunLauncher, _app, celery_arguments
from aperture_dagster.settings import Settings
from aperture_dagster.storage.schema_lock import schema_lock
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.databases import run_statements


@pytest.fixture(autouse=True)
def new_process() -> Iterator[None]:
    """Forget connections and tables of an earlier test, whose database may have had the same name."""
    yield
    _app.cache_clear()
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
    instance: dg.DagsterInstance, messages: Callable[..., list[tuple[object, ...]]]
):
    """Otherwise one of two workers dies in its first second."""
    storage = instance.event_log_storage
    assert isinstance(storage, PostgresEventLogStorage)
    with ThreadPoolExecutor() as threads:
        with storage._engine.connect() as connection, schema_lock(connection):
            others = [threads.submit(SettingsCeleryRunLauncher) for _ in range(2)]
            assert wait(others, timeout=0.5).done == set()
            assert messages("SELECT to_regclass('kombu_queue')") == [(None,)]
        for one in others:
            one.result()
    assert messages("SELECT name FROM kombu_queue") == [(QUEUE,)]


def test_a_message_reaches_a_worker_once_and_is_deleted_when_it_is_old(
    instance: dg.DagsterInstance, messages: Callable[..., list[tuple[object, ...]]]
):
    launcher = SettingsCeleryRunLauncher()
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


def test_workers_and_launcher_use_the_database_of_the_settings_and_no_broadcasts(
    external: Settings, instance: dg.DagsterInstance
):
    given = celery_arguments()
    assert given["broker"].startswith("sqla+postgresql+psycopg2://") and given["broker"][5:] == given["backend"][3:]
    conf = _app().conf
    assert not conf.worker_enable_remote_control and conf.worker_max_tasks_per_child == 1
    # As many as the queue lets through.
    limits = dg.DagsterInstance.get().get_concurrency_config().run_queue_config
    assert limits is not None and conf.worker_concurrency == limits.max_concurrent_runs
    assert (PROJECT / "deploy" / "celery" / "dagster.yaml").exists()
