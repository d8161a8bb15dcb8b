"""External failures: a run loses no data and says why it failed, and the next one continues."""

from __future__ import annotations

import dagster as dg
import pytest

from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.taste import embedder
from aperture_dagster_tests.e2e.reading import read_server
from aperture_dagster_tests.e2e.worlds import small_world
from aperture_dagster_tests.household import Household, failures, metadata_of

pytestmark = pytest.mark.e2e


def test_a_failure_that_affects_every_user_is_not_tried_with_every_user(household):
    """A server that is down is not tried again for each user."""
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
        per_user = job in ("sync_watch_history", "generate_recommendations")
        errors = failures(home.run(job, users=home.everyone() if per_user else None))
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
        monkeypatch.setattr(embedder, "BATCH", 16)
        simulator.state.add_fault(FaultRule("openai", status=500, after=2))
        assert not other.run("generate_embeddings").success
        assert home.value(in_use) == old
        home.must("generate_recommendations", users=home.everyone())
        simulator.state.clear_faults()
        simulator.state.reset_counters()
        metadata = metadata_of(other.must("generate_embeddings"), "embeddings")
        assert metadata["model_in_use"] == metadata["model"] != old
        assert metadata["missing"] == 0
        assert simulator.state.requests("openai") == metadata["requests"]
        other.must("generate_recommendations", users=home.everyone())
        assert home.value("SELECT count(DISTINCT model_key) FROM embeddings") == 2, (
            "the vectors of the old model are kept"
        )
        assert metadata_of(home.must("generate_embeddings"), "embeddings")["embedded"] == 0, (
            "switching back embeds nothing"
        )
