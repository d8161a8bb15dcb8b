"""Pools exist before runs need them, even if several processes open the storage at once."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from aperture_dagster.build import build_definitions
from aperture_dagster.instance.pools import POOLS, create_missing_pools
from aperture_dagster.postgres.connection import dagster_database_url
from aperture_dagster.settings import Settings
from aperture_dagster_tests.interleaving import race, stop_before_statement

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


def test_processes_that_open_the_storage_at_once_create_each_pool_once(
    external: Settings, instance: dg.DagsterInstance
):
    events: Any = instance.event_log_storage
    for name in POOLS:
        events.delete_concurrency_limit(name)
    assert limits(instance) == {}
    with stop_before_statement("INSERT INTO concurrency_limits") as stop:
        race(dagster_database_url(external), stop, *[lambda: create_missing_pools(events)] * 2)
    assert limits(instance) == POOLS
    assert {name: events.get_concurrency_info(name).slot_count for name in POOLS} == POOLS
