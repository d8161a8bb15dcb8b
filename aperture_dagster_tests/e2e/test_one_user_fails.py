"""An error that nobody foresaw costs only the user in whose turn it happens."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from typing import Any

import dagster as dg
import pytest

from aperture_dagster.defs.users import VERSION_TAG
from aperture_dagster.partitions import users_partitions
from aperture_dagster_tests.household import Household, failures, materializations

pytestmark = pytest.mark.e2e

KEY = "demo-jellyfin-key"
UNLUCKY = "bela1"
HISTORY = "aperture_dagster.defs.catalogue.history"
TASTE = "aperture_dagster.taste"
# By asset: its job, and a function with the user first that serves one user. That of lists: test_from_the_ui.py.
TURNS = {
    "watch_history": ("sync_watch_history", HISTORY, "_outcome"),
    "taste_profiles": ("generate_recommendations", f"{TASTE}.profiles", "_profile_row"),
}


class Bug(Exception):
    """Nobody foresaw it, and its message holds a secret."""


@pytest.fixture
def break_turn(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Let a function of a module raise in the turn of one user."""

    def breaking(module_name: str, name: str) -> None:
        module = import_module(module_name)
        whole = getattr(module, name)

        def broken(user: Any, *more: Any) -> Any:
            if user.name == UNLUCKY:
                raise Bug(f"no rule for https://server/?api_key={KEY}")
            return whole(user, *more)

        monkeypatch.setattr(module, name, broken)

    return breaking


def status(home: Household, asset: str) -> dict[str, str]:
    """The status of each user's partition, as the UI shows it."""
    found = home.instance.get_status_by_partition(dg.AssetKey(asset), home.everyone(), users_partitions)
    return {key: state.value for key, state in (found or {}).items() if state is not None}


def recorded(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, dg.AssetMaterialization]:
    return {one.partition or "": one for one in materializations(result) if one.asset_key == dg.AssetKey(asset)}


@pytest.mark.parametrize("asset", TURNS)
def test_an_unforeseen_error_of_one_user_costs_only_that_user(settled, break_turn, monkeypatch, asset: str):
    job, module, name = TURNS[asset]
    with settled() as (_, home, _):
        everyone = home.everyone()
        others = [user for user in everyone if user != UNLUCKY]
        assert everyone.index(UNLUCKY) < len(others), "somebody comes after"
        with monkeypatch.context():
            break_turn(module, name)
            # If nothing had changed, no taste or list would be computed.
            config = {} if asset == "watch_history" else {asset: {"recompute": True}}
            result = home.run(job, users=everyone, scheduled=True, config=config)
        assert not result.success and list(failures(result)) == [asset]
        said = failures(result)[asset]
        assert said.startswith(f"1 of 4 users could not be served, the others were. {UNLUCKY}: Bug: no rule for ")
        log = home.instance.all_logs(result.run_id)
        assert any("test_one_user_fails.py" in str(event.dagster_event) for event in log), "the stack trace is kept"
        assert not any(KEY in f"{event.user_message} {event.dagster_event}" for event in log)
        served = recorded(result, asset)
        assert sorted(served) == sorted(others)
        for user, one in served.items():
            assert (one.tags or {})[VERSION_TAG]
            assert one.metadata["user"].value == user
        assert status(home, asset) == {UNLUCKY: "FAILED"} | dict.fromkeys(others, "MATERIALIZED")
        # Unless everybody is recorded, the partition would stay failed until something changes.
        monkeypatch.undo()
        home.must(job, users=everyone, scheduled=True)
        assert status(home, asset) == dict.fromkeys(everyone, "MATERIALIZED")


def test_a_user_who_was_deleted_since_the_users_were_read_costs_nobody_and_loses_nothing(settled):
    with settled() as (simulator, home, _):
        everyone, history = home.everyone(), "SELECT user_id, item_id, played FROM watch_state ORDER BY 1, 2"
        before, full = home.rows(history), {"watch_history": {"full": True}}
        simulator.state.remove_user(UNLUCKY)
        result = home.must("sync_watch_history", users=everyone, scheduled=True, config=full)
        assert sorted(recorded(result, "watch_history")) == sorted(user for user in everyone if user != UNLUCKY)
        assert home.rows(history) == before
        warnings = [one.user_message for one in home.instance.all_logs(result.run_id) if one.level == logging.WARNING]
        assert any(one.startswith(f"{UNLUCKY} was deleted on the media server") for one in warnings)
        home.must("sync_users")
        gone = home.rows("SELECT name FROM users WHERE removed_at IS NOT NULL")
        assert [row["name"] for row in gone] == [UNLUCKY]
