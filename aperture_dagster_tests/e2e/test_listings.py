"""Listings hold no transaction open."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from aperture_dagster.http.transport import Transport
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.worlds import WorldSize, generate_world
from aperture_dagster_tests.household import failures
from aperture_dagster_tests.shelf import NOW

pytestmark = pytest.mark.e2e

SESSIONS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND state LIKE 'idle in transaction%' AND pid <> pg_backend_pid()"
)


def test_no_transaction_is_open_during_a_listing(household: Any, monkeypatch: pytest.MonkeyPatch):
    """Otherwise an external database would see an idle transaction for as long as all listings take."""
    world = generate_world(WorldSize(movies=40, series=0, episodes=0, users=1, plays=10), seed=4, now=NOW)
    send, seen = Transport._send_once, []
    with household(world, page_size=20) as (_, home):
        home.must("sync_users")
        with psycopg.connect(home.settings.database_url.get_secret_value(), autocommit=True) as session:

            def noted(*given: Any, **more: Any) -> Any:
                seen.extend(session.execute(SESSIONS).fetchone() or ())
                return send(*given, **more)

            monkeypatch.setattr(Transport, "_send_once", noted)
            home.must("sync_movies")
        assert len(seen) > 3 and set(seen) == {0}


def test_titles_listed_before_a_failure_are_stored_and_nothing_is_removed(household: Any):
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
