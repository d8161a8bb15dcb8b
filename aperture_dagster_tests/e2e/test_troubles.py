"""External failures: a run loses no data and says why it failed, and the next one continues."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from aperture_dagster.simulator.demo_world import load_demo_world
from aperture_dagster.simulator.faults import FaultRule
from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster.simulator.world import World
from aperture_dagster.taste import embedder
from aperture_dagster_tests.e2e.reading import read_server
from aperture_dagster_tests.e2e.worlds import small_world
from aperture_dagster_tests.household import Household, failures, metadata_of
from aperture_dagster_tests.marks import ANOTHER_CASE

pytestmark = pytest.mark.e2e

TITLES_OF_TMDB = "source = 'tmdb' AND kind IN ('movie', 'series')"
TITLE_ENDPOINTS = ("GET /movie/{tmdb_id}", "GET /tv/{tmdb_id}")


def history_fails(simulator: RunningSimulator, user: str) -> None:
    """Answer requests about this user's items with 500."""
    user_id = simulator.state.user_named(user).id
    simulator.state.add_fault(FaultRule("jellyfin", path_contains=user_id, status=500))


def test_a_failure_of_one_user_affects_no_other_and_is_reported_with_the_name(household):
    with household(small_world()) as (simulator, home):
        read_server(home)
        history_fails(simulator, "cora2")
        result = home.run("sync_watch_history", users=home.everyone())
        assert not result.success
        message = failures(result)["watch_history"]
        assert message.startswith("1 of 4 users could not be served, the others were.")
        assert "cora2" in message and "ada0" not in message
        materialized = home.instance.get_materialized_partitions(dg.AssetKey("watch_history"))
        assert materialized == {"ada0", "bela1", "dario3"}
        assert home.value("SELECT count(*) FROM watch_state") > 0
        simulator.state.clear_faults()
        home.must("sync_watch_history", users=home.everyone())
        assert home.instance.get_materialized_partitions(dg.AssetKey("watch_history")) == set(home.everyone())


@pytest.mark.parametrize(
    ("status", "headers", "asked"),
    [
        (503, None, 3),
        pytest.param(
            401,
            None,
            1,
            marks=ANOTHER_CASE,
        ),
        pytest.param(
            429,
            "3600",
            1,
            marks=ANOTHER_CASE,
        ),
    ],
    ids=["down", "refused", "pause"],
)
def test_a_failure_that_affects_every_user_is_not_tried_with_every_user(
    household, status: int, headers: str | None, asked: int
):
    """Neither a server that hangs nor a refused key is tried again for each user."""
    with household(small_world(users=8)) as (simulator, home):
        read_server(home)
        simulator.state.add_fault(
            FaultRule("jellyfin", path_contains="userId=", status=status, after=1, retry_after=headers)
        )
        simulator.state.reset_counters()
        result = home.run("sync_watch_history", users=home.everyone())
        message = failures(result)["watch_history"]
        assert str(status) in message and len(message) < 400
        users = {target.partition("userId=")[2][:32] for target, _ in simulator.state.arrivals("jellyfin", "userId=")}
        assert len(users) == asked
        simulator.state.clear_faults()
        home.must("sync_watch_history", users=home.everyone())
        assert home.instance.get_materialized_partitions(dg.AssetKey("watch_history")) == set(home.everyone())


@pytest.mark.nightly(
    reason="A whole household and its runs, for what the part beneath shows alone.",
    instead="http/test_transport.py::test_a_decompression_bomb_is_not_read",
)
@pytest.mark.parametrize(
    ("service", "fault", "reason"),
    [
        ("jellyfin", {"kind": "drip", "delay_seconds": 0.05}, "no answer in time"),
        ("jellyfin", {"kind": "packed", "megabytes": 40}, "larger than 32 MB"),
        ("tmdb", {"kind": "packed", "megabytes": 40}, "larger than 32 MB"),
        ("tmdb", {"kind": "huge", "megabytes": 40}, "larger than 32 MB"),
    ],
)
def test_an_endless_answer_is_cut_off_and_loses_nothing(household, service: str, fault: dict[str, Any], reason: str):
    """Neither a slow stream nor a compressed body may take unlimited time or memory."""
    with household(small_world(), media_server_timeout_seconds=1, http_attempts=1) as (simulator, home):
        read_server(home)
        before = home.snapshot()
        path = "/Items" if service == "jellyfin" else "/movie/"
        simulator.state.add_fault(FaultRule(service, path_contains=path, times=1, **fault))
        if service == "jellyfin":
            said = failures(home.run("sync_movies"))["movies"]
            assert reason in said and "kept" in said
            assert home.snapshot() == before
        else:
            home.must("enrich_metadata")
            details = home.rows("SELECT detail FROM fetches WHERE source = 'tmdb' AND outcome = 'error'")
            assert len(details) == 1 and reason in details[0]["detail"]


def test_occasional_failures_of_users_do_not_stop_the_others(household):
    with household(small_world(users=8)) as (simulator, home):
        read_server(home)
        everyone = home.everyone()
        broken = [key for number, key in enumerate(everyone) if number % 3 != 2]
        for key in broken:
            history_fails(simulator, key)
        home.run("sync_watch_history", users=everyone)
        served = home.instance.get_materialized_partitions(dg.AssetKey("watch_history"))
        assert served == set(everyone) - set(broken)


@pytest.mark.nightly(
    reason="Another case of the same outcome, with a household of its own.",
    instead="e2e/test_fault_matrix.py::test_an_outage_loses_nothing_and_a_transient_one_is_retried",
)
def test_when_the_server_is_down_nothing_is_lost_and_the_next_run_completes(settled):
    jobs = ("sync_users", "sync_movies", "sync_series", "sync_watch_history")
    with settled() as (simulator, home, _):
        before = home.snapshot()
        simulator.state.add_fault(FaultRule("jellyfin", status=503))
        for job in jobs:
            result = home.run(job, users=home.everyone() if job == "sync_watch_history" else None)
            assert not result.success
            for said in failures(result).values():
                assert "503" in said and "Traceback" not in said and len(said) < 400
        assert home.snapshot() == before
        simulator.state.clear_faults()
        for job in jobs:
            home.must(job, users=home.everyone() if job == "sync_watch_history" else None)


def test_when_tmdb_fails_half_way_answers_are_kept_and_no_title_is_requested_twice(household):
    with household(small_world(movies=90), concurrency=2) as (simulator, home):
        read_server(home)
        simulator.state.add_fault(FaultRule("tmdb", status=503, after=60))
        result = home.run("enrich_metadata")
        errors = failures(result)
        assert list(errors) == ["tmdb_metadata"]
        assert "TMDb cannot be reached" in errors["tmdb_metadata"]
        kept = home.value("SELECT count(*) FROM tmdb_metadata")
        assert 40 <= kept <= 60
        assert home.value(f"SELECT count(*) FROM fetches WHERE outcome = 'ok' AND {TITLES_OF_TMDB}") == kept
        assert home.value("SELECT count(*) FROM fetches WHERE outcome <> 'ok' AND fetched_at IS NOT NULL") == 0
        simulator.state.clear_faults()
        simulator.state.reset_counters()
        # Make failed titles due again at once instead of after an hour.
        home.rows("UPDATE fetches SET due_at = now() - interval '1 second' WHERE outcome = 'error' RETURNING 1")
        home.must("enrich_metadata")
        standing = {
            row["outcome"]: row["n"]
            for row in home.rows(f"SELECT outcome, count(*) AS n FROM fetches WHERE {TITLES_OF_TMDB} GROUP BY 1")
        }
        # A few titles of this world have no id known to TMDb.
        assert sum(standing.values()) == 100 and set(standing) == {"ok", "not_found"}
        assert home.value("SELECT count(*) FROM tmdb_metadata") == standing["ok"]
        requests = simulator.state.counters.requests["tmdb"]
        asked = sum(number for endpoint, number in requests.items() if endpoint in TITLE_ENDPOINTS)
        assert asked == standing["ok"] - kept


@pytest.mark.nightly(
    reason="Another case of the same outcome, with a household of its own.",
    instead="e2e/test_enrichment_faults.py::test_a_refused_key_fails_with_one_sentence_and_marks_no_title",
)
def test_a_refused_tmdb_key_fails_at_once_and_names_the_setting(household):
    settings = {"tmdb_api_key": "wr0ng-s3cret", "step_retries": 3, "step_retry_wait_seconds": 30}
    with household(small_world(), **settings) as (simulator, home):
        read_server(home)
        result = home.run("enrich_metadata")
        message = failures(result)["tmdb_metadata"]
        assert "TMDB_API_KEY" in message
        assert "wr0ng" not in message
        assert not [event for event in result.all_events if event.is_step_up_for_retry]
        assert simulator.state.requests("tmdb") <= 20
        assert home.value(f"SELECT count(*) FROM fetches WHERE outcome <> 'waiting' AND {TITLES_OF_TMDB}") == 0
        assert home.value("SELECT count(*) FROM fetches WHERE source = 'omdb' AND outcome = 'ok'") > 0, (
            "other sources continue"
        )


def test_a_refused_media_server_key_fails_at_once_and_names_the_setting(household):
    settings = {"media_server_api_key": "wr0ng-s3cret", "step_retries": 3, "step_retry_wait_seconds": 30}
    with household(small_world(), **settings) as (_, home):
        result = home.run("sync_users")
        message = failures(result)["users"]
        assert "APERTURE_MEDIA_SERVER_API_KEY" in message
        assert "wr0ng" not in message
        assert not [event for event in result.all_events if event.is_step_up_for_retry]


def test_the_retry_of_a_step_succeeds_when_the_service_is_back(household):
    settings = {"step_retries": 1, "step_retry_wait_seconds": 0, "http_attempts": 1}
    with household(small_world(), **settings) as (simulator, home):
        simulator.state.add_fault(FaultRule("jellyfin", status=503, times=1))
        home.must("sync_users")


@pytest.mark.nightly(
    reason="A whole cycle of its own.",
    instead="e2e/test_enrichment_view.py::test_a_source_without_a_key_is_reported_as_skipped_and_the_graph_continues",
)
def test_without_a_tmdb_key_enrichment_is_skipped_and_the_graph_continues(household):
    with household(small_world(), tmdb_api_key=None) as (simulator, home):
        results = home.cycle()
        assert "TMDB_API_KEY" in metadata_of(results.values(), "tmdb_metadata")["skipped"]
        assert simulator.state.requests("tmdb") == 0
        assert len(home.titles_for("bela1")) == 50


def test_a_home_refuses_another_server(settled, serve):
    with settled() as (_, home, _):
        before = home.snapshot()
        other = World(
            "another world",
            small_world(movies=5, users=1, plays=3).titles,
            load_demo_world(now=datetime.now(UTC)).users,
        )
        url = home.settings.database_url.get_secret_value()
        with serve(other, database_url=url) as (_, settings), dg.DagsterInstance.ephemeral() as instance:
            stranger = Household(settings, instance)
            for job in ("sync_users", "sync_movies", "sync_series"):
                errors = failures(stranger.run(job))
                assert any("APERTURE_HOME" in said for said in errors.values()), errors
        assert home.snapshot() == before


@pytest.mark.parametrize(
    ("job", "asset", "first"),
    [
        pytest.param("enrich_metadata", "enriched_metadata", "sync_movies", marks=ANOTHER_CASE),
        pytest.param("generate_embeddings", "embeddings", "enriched_metadata", marks=ANOTHER_CASE),
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


@pytest.mark.nightly(
    reason="A whole household and its runs, for what the part beneath shows alone.",
    instead="defs/test_checks_of_sources.py::test_a_check_fails_for_its_reason_and_passes_otherwise",
)
def test_a_check_warns_about_a_mostly_unreadable_listing_with_count_and_first_reason(household):
    """Such a run must not look like any other."""
    with household(small_world(movies=20)) as (simulator, home):
        home.must("sync_movies")
        spoilt = FaultRule("jellyfin", "includeItemTypes=Movie", kind="missing_field", field="Name")
        simulator.state.add_fault(spoilt)
        result = home.must("sync_movies")
        assert metadata_of(result, "movies")["unreadable"] == 20
        said = [record.user_message for record in home.instance.all_logs(result.run_id)]
        (warning,) = [line for line in said if "could not be read and were left as they are" in line]
        assert warning.startswith("20 of 20 items could not be read") and "Name" in warning
        assert any(line.startswith("Done: ") and line.endswith("20 could not be read.") for line in said)
        checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
        assert (checks["is_readable"].passed, checks["is_readable"].severity) == (False, dg.AssetCheckSeverity.WARN)
        assert checks["is_not_empty"].passed, "the stored titles are unchanged"
        simulator.state.clear_faults()
        healed = home.must("sync_movies").get_asset_check_evaluations()
        assert all(check.passed for check in healed if check.check_name == "is_readable")
