"""Pools exist before runs need them, even if several processes open the storage at once."""

from __future__ import annotations

import time

import dagster as dg
import pytest
from sqlalchemy import create_engine

from aperture_dagster.build import build_definitions
from aperture_dagster.instance.pools import POOLS
from aperture_dagster.settings import Settings
from aperture_dagster.storage.connection import dagster_database_url
from aperture_dagster.storage.schema_lock import schema_lock
from aperture_dagster_tests.forks import Fork

OPEN = """
import dagster as dg
with dg.DagsterInstance.get() as instance:
    print(sorted((pool.name, pool.limit) for pool in instance.event_log_storage.get_pool_limits()))
"""
WAITING = (
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


pytestmark = pytest.mark.usefixtures("external")


def limits(instance: dg.DagsterInstance) -> dict[str, int]:
    return {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits() if not pool.from_default}


def test_each_pool_of_an_asset_has_a_limit(external: Settings, instance: dg.DagsterInstance):
    definitions = build_definitions(external)
    named = {
        asset.op.pool
        for asset in definitions.resolve_asset_graph().assets_defs
        if asset.is_executable and asset.op.pool is not None
    }
    assert named <= POOLS.keys()
    assert limits(instance) == POOLS


def test_a_limit_set_by_hand_is_kept():
    with dg.DagsterInstance.get() as instance:
        instance.event_log_storage.set_concurrency_slots("tmdb", 3)
    with dg.DagsterInstance.get() as instance:
        assert limits(instance) == POOLS | {"tmdb": 3}


def test_processes_that_open_the_storage_at_once_create_each_pool_once(external: Settings):
    with dg.DagsterInstance.get() as instance:
        for name in POOLS:
            instance.event_log_storage.delete_concurrency_limit(name)
        assert limits(instance) == {}
        engine = create_engine(dagster_database_url(external), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            # Block the processes until each has seen that no pool exists.
            with schema_lock(connection):
                processes = [Fork(OPEN) for _ in range(2)]
                deadline = time.monotonic() + 240
                while connection.exec_driver_sql(WAITING).scalar() != len(processes):
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            for process in processes:
                out, errors = process.communicate()
                assert process.returncode == 0, errors
                assert out.strip() == str(sorted(POOLS.items()))
        engine.dispose()
        events = instance.event_log_storage
        assert {name: events.get_concurrency_info(name).slot_count for name in POOLS} == POOLS
