"""Dagster's UI takes an asset's row count from the partition that was materialized last: each record has the total."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from aperture_dagster.simulator.world import Play, World, WorldUser
from aperture_dagster_tests.e2e.library import NOON, titles
from aperture_dagster_tests.e2e.reading import read_server
from aperture_dagster_tests.household import SetClock, metadata_of

pytestmark = pytest.mark.e2e


def test_the_row_count_of_an_asset_with_users_is_their_sum_also_after_a_run_for_one(household: Callable[..., Any]):
    plays = [Play(user, f"movie:{film}", NOON) for user, films in (("ann", 5), ("ben", 2)) for film in range(1, films)]
    world = World("a home", titles(1, 8), [WorldUser("ann"), WorldUser("ben")], plays)
    with household(world, {"clock": SetClock(NOON)}) as (simulator, home):
        read_server(home)
        result = home.must("sync_watch_history", users=home.everyone())

        def counts(user: str) -> tuple[int, int]:
            shown = metadata_of(result, "watch_history", user)
            return shown["dagster/partition_row_count"], shown["dagster/row_count"]

        # Ann was recorded as soon as she was served, and Ben's rows came after that.
        assert (counts("ann"), counts("ben")) == ((4, 4), (1, 5))
        simulator.state.play(Play("ben", "movie:7", NOON))
        result = home.must("sync_watch_history", users=["ben"], config={"watch_history": {"full": True}})
        assert counts("ben") == (2, 6)
