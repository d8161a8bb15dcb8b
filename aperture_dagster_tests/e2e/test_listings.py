"""Listings hold no transaction open."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.worlds import WorldSize, generate_world
from aperture_dagster_tests.household import Household, failures
from aperture_dagster_tests.shelf import NOW

pytestmark = pytest.mark.e2e

SESSIONS = (
    "SELECT max(extract(epoch FROM now() - state_change))::float8 FROM pg_stat_activity "
    "WHERE datname = current_database() AND state LIKE 'idle in transaction%' AND pid <> pg_backend_pid()"
)


@contextmanager
def idle_transactions(home: Household) -> Iterator[list[float]]:
    """Record how long other transactions were idle during the block, in seconds."""
    seen: list[float] = []
    over = threading.Event()
    url = str(home.settings.database_url.get_secret_value()).replace("postgresql://", "postgresql+psycopg://")  # pyright: ignore
    engine = create_engine(url, isolation_level="AUTOCOMMIT")

    def watch() -> None:
        with engine.connect() as connection:
            while not over.wait(0.02):
                longest = connection.execute(text(SESSIONS)).scalar()
                if longest is not None:
                    seen.append(longest)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()
        engine.dispose()


def test_no_transaction_is_open_during_a_listing(household: Any):
    """Otherwise an external database would see an idle transaction for as long as all listings take."""
    world = generate_world(WorldSize(movies=40, series=0, episodes=0, users=1, plays=10), seed=4, now=NOW)
    with household(world, page_size=20) as (simulator, home):
        home.must("sync_users")
        simulator.state.add_fault(FaultRule("jellyfin", "/Items", "slow", delay_seconds=1.5))
        with idle_transactions(home) as seen:
            home.must("sync_movies")
        # A busy machine stretches a transaction, too, but not to the length of an answer.
        assert max(seen, default=0) < 1.2, "shorter than one answer takes"


def test_titles_listed_before_a_failure_are_stored_and_nothing_is_removed(household: Any):
    """A failure half-way does not discard what was read before."""
    world = generate_world(WorldSize(movies=40, series=3, episodes=30, users=1, plays=10), seed=4, now=NOW)
    with household(world, page_size=10) as (simulator, home):
        fault = FaultRule("jellyfin", "includeItemTypes=Movie", status=500, after=2)
        simulator.state.add_fault(fault)
        result = home.run("sync_movies")
        assert not result.success
        assert "500" in failures(result)["movies"]
        assert home.value("SELECT count(*) FROM titles") == 20
        simulator.state.clear_faults()
        home.must("sync_movies")
        films = home.value("SELECT count(*) FROM titles WHERE media_type = 'movie'")
        assert films >= 40
        simulator.state.add_fault(fault)
        assert not home.run("sync_movies").success
        assert home.value("SELECT count(*) FROM titles WHERE removed_at IS NOT NULL") == 0
        assert home.value("SELECT count(*) FROM titles WHERE media_type = 'movie'") == films
