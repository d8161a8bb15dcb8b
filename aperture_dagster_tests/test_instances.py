"""The instances in memory of tests behave as Dagster's own."""

from __future__ import annotations

import threading
from typing import Any

import dagster as dg

from aperture_dagster_tests.instances import copy_instance, instance_in_memory
from aperture_dagster_tests.waiting import SECONDS


@dg.asset
def films() -> dg.MaterializeResult:
    return dg.MaterializeResult(metadata={"titles": 3})


def tables(storage: Any) -> list[tuple[str, str]]:
    with storage._held_conn.begin():
        return storage._held_conn.exec_driver_sql("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


def test_an_instance_has_the_tables_of_dagsters_and_shares_nothing_with_the_next_one():
    with dg.DagsterInstance.ephemeral() as dagsters, instance_in_memory() as ours, instance_in_memory() as other:
        assert tables(ours.run_storage) == tables(dagsters.run_storage)
        assert tables(ours.event_log_storage) == tables(dagsters.event_log_storage)
        assert dg.materialize([films], instance=ours).success
        assert ours.get_runs_count() == 1 and other.get_runs_count() == 0
        assert not other.get_latest_materialization_event(films.key)
        copy_instance(ours, other)
        assert other.get_runs_count() == 1 and other.get_latest_materialization_event(films.key)


def test_other_threads_read_and_write_it():
    with instance_in_memory() as instance:
        thread = threading.Thread(target=lambda: dg.materialize([films], instance=instance))
        thread.start()
        thread.join(SECONDS)
        assert instance.get_latest_materialization_event(films.key)
