"""Failures outside, and errors that nobody foresaw: no data is lost, and each costs nobody else anything."""

from __future__ import annotations

import logging
from importlib import import_module
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from aperture_dagster.build import all_jobs, build_definitions
from aperture_dagster.defs.users import VERSION_TAG
from aperture_dagster.sensors import freshness_makers
from aperture_dagster.settings import Settings
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.taste import endpoint
from aperture_dagster_tests.e2e.reading import read_server
from aperture_dagster_tests.e2e.worlds import small_world
from aperture_dagster_tests.household import Household, failures, materializations, metadata_of, status_of

pytestmark = pytest.mark.e2e


def test_a_failure_that_affects_every_user_is_not_tried_with_every_user(household):
    with household(small_world(users=8)) as (simulator, home):
        read_server(home)
        simulator.state.add_fault(FaultRule("jellyfin", path_contains="userId=", status=503, after=1))
        simulator.state.reset_counters()
        result = home.run("sync_watch_history", users=home.everyone())
        message = failures(result)["watch_history"]
        assert "503" in message and len(message) < 400
        users = {target.partition("userId=")[2][:32] for target, _ in simulator.state.arrivals("jellyfin", "userId=")}
        assert len(users) == 3
        simulator.state.clear_faults()
        home.must("sync_watch_history", users=home.everyone())
        assert home.instance.get_materialized_partitions(dg.AssetKey("watch_history")) == set(home.everyone())


@pytest.mark.parametrize(
    ("job", "asset", "first"),
    [
        ("sync_watch_history", "watch_history", "sync_movies"),
        ("generate_recommendations", "recommendations", "embeddings"),
    ],
)
def test_a_job_without_its_prerequisites_names_the_asset_to_materialize_first(
    household, job: str, asset: str, first: str
):
    with household(small_world()) as (_, home):
        home.must("sync_users")
        errors = failures(home.run(job, users=home.everyone()))
        assert first in errors[asset]


def test_a_new_model_is_filled_next_to_the_old_one_and_used_once_complete(settled, make_settings, monkeypatch):
    with settled() as (simulator, home, _):
        old = home.value("SELECT model_key FROM embedding_models")
        base = {name: getattr(home.settings, name) for name in ("media_server_url", "tmdb_url")}
        settings = make_settings(
            **base,
            database_url=home.settings.database_url.get_secret_value(),
            media_server_api_key="demo-jellyfin-key",
            tmdb_api_key="demo-tmdb-key",
            embedder="openai",
            embedder_url=simulator.openai_url,
            embedder_model="demo-embedding",
            embedder_api_key="demo-openai-key",
        )
        other = Household(settings, home.instance)
        in_use = (
            "SELECT model_key FROM embedding_models WHERE activated_at IS NOT NULL ORDER BY activated_at DESC LIMIT 1"
        )
        monkeypatch.setattr(endpoint, "BATCH", 16)
        simulator.state.add_fault(FaultRule("openai", status=500, after=2))
        assert not other.run("generate_embeddings").success
        assert home.value(in_use) == old
        simulator.state.clear_faults()
        simulator.state.reset_counters()
        metadata = metadata_of(other.must("generate_embeddings"), "embeddings")
        assert metadata["model_in_use"] == metadata["model"] != old
        assert metadata["missing"] == 0
        assert simulator.state.requests("openai") == metadata["requests"]
        assert home.value("SELECT count(DISTINCT model_key) FROM embeddings") == 2, (
            "the vectors of the old model are kept"
        )
        assert metadata_of(home.must("generate_embeddings"), "embeddings")["embedded"] == 0, (
            "switching back embeds nothing"
        )


# Errors in the turn of one user


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


def recorded(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, dg.AssetMaterialization]:
    return {one.partition or "": one for one in materializations(result) if one.asset_key == dg.AssetKey(asset)}


@pytest.mark.parametrize("asset", TURNS)
def test_an_unforeseen_error_of_one_user_costs_only_that_user(settled, monkeypatch, asset: str):
    job, module, name = TURNS[asset]
    whole = getattr(import_module(module), name)

    def broken(user: Any, *more: Any) -> Any:
        if user.name == UNLUCKY:
            raise Bug(f"no rule for https://server/?api_key={KEY}")
        return whole(user, *more)

    with settled() as (_, home, _):
        everyone = home.everyone()
        others = [user for user in everyone if user != UNLUCKY]
        assert everyone.index(UNLUCKY) < len(others), "somebody comes after"
        with monkeypatch.context() as patched:
            patched.setattr(f"{module}.{name}", broken)
            # If nothing had changed, no taste or list would be computed.
            config = {} if asset == "watch_history" else {asset: {"recompute": True}}
            result = home.run(job, users=everyone, scheduled=True, config=config)
        assert not result.success and list(failures(result)) == [asset]
        said = failures(result)[asset]
        assert said.startswith(f"1 of 4 users could not be served, the others were. {UNLUCKY}: Bug: no rule for ")
        log = home.instance.all_logs(result.run_id)
        assert any(Path(__file__).name in str(event.dagster_event) for event in log), "the stack trace is kept"
        assert not any(KEY in f"{event.user_message} {event.dagster_event}" for event in log)
        served = recorded(result, asset)
        assert sorted(served) == sorted(others)
        for user, one in served.items():
            assert (one.tags or {})[VERSION_TAG]
            assert one.metadata["user"].value == user
        assert status_of(home, asset) == {UNLUCKY: "FAILED"} | dict.fromkeys(others, "MATERIALIZED")
        # Unless everybody is recorded, the partition would stay failed until something changes.
        home.must(job, users=everyone, scheduled=True)
        assert status_of(home, asset) == dict.fromkeys(everyone, "MATERIALIZED")


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


def test_the_policies_of_all_assets_are_watched(settings: Settings):
    graph = build_definitions(settings).resolve_asset_graph()
    watched = {key for key in graph.materializable_asset_keys if graph.get(key).freshness_policy is not None}
    assert set(freshness_makers(settings, all_jobs(settings))) == watched
    assert dg.AssetKey("movies") in watched
