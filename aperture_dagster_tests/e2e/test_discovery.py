"""From what users like to what is suggested to them of what the library does not have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from aperture_dagster.simulator.world import World
from aperture_dagster_tests.e2e.discovery import NOW, Discovering, world
from aperture_dagster_tests.household import SetClock

pytestmark = pytest.mark.e2e


@pytest.fixture
def discovering(household: Any) -> Any:
    """``with discovering(world, **settings) as home``: users with tastes, and nothing discovered yet."""

    @contextmanager
    def living(one: World, **overrides: Any) -> Iterator[Discovering]:
        clock = SetClock(NOW)
        with household(one, {"clock": clock}, http_attempts=1, **overrides) as (simulator, home):
            found = Discovering(simulator, home, clock)
            found.prepare()
            yield found

    return living


def test_try(discovering: Any) -> None:
    with discovering(world()) as home:
        before = home.asked()
        print(home.discover(), home.asked() - before, home.lists(), sum(home.details().values()))
        for user in ("ann", "bob"):
            for row in home.rows(user)[:6]:
                print(
                    user,
                    row["rank"],
                    row["title"],
                    row["score"],
                    row["components"],
                    row["because"],
                    row["suggested_by"],
                )
            print(user, len(home.titles(user)), home.titles(user, "series")[:5])
        before = home.asked()
        print(home.discover(), home.asked() - before)
        print(home.home.rows("select * from household_candidates order by 1,2 limit 5"))
        assert 0
