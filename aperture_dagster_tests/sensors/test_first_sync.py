"""A new installation is filled at once, one run of each job at a time, and then left alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from aperture_dagster.model import Clock
from aperture_dagster.partitions import RANGE_END_TAG, RANGE_START_TAG, USERS
from aperture_dagster.sensors import attempts
from aperture_dagster.settings import Settings
from aperture_dagster_tests.defs.shared import build_sensor, definitions_of, settings_of
from aperture_dagster_tests.sensors.runs import add_run, look

SERVER = {"media_server_url": "http://127.0.0.1:9", "media_server_api_key": "key"}


class Installation:
    """An instance on which things have been materialized, and the sensor that looks at it."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.instance, self.settings = instance, settings
        self.cursor: str | None = None
        self.definitions = definitions_of(**(SERVER if settings.media_server_url else {}))
        self.restart()

    def restart(self, at: datetime | None = None) -> None:
        """Restart the program, as after a change of the settings."""
        self.sensor = build_sensor(self.settings, "first_sync_sensor", loaded_at=at)

    def has(self, *assets: str) -> None:
        for asset in assets:
            self.instance.report_runless_asset_event(dg.AssetMaterialization(asset))

    def fails(self, *jobs: str) -> datetime:
        """A run of each job fails now; returns when the last did."""
        for job in jobs:
            self.instance.report_run_failed(self.run(job))
        return datetime.fromtimestamp(self.instance.get_run_records(limit=1)[0].end_time or 0, UTC)

    def run(self, job: str) -> dg.DagsterRun:
        return self.instance.create_run_for_job(self.definitions.resolve_job_def(job))

    def look(self, at: datetime | None = None) -> Any:
        """One look of the sensor."""
        clock = Clock((lambda: at) if at is not None else None)
        data = look(self.sensor, self.instance, self.definitions, self.cursor, clock=clock)
        self.cursor = data.cursor
        return data

    def requests(self) -> list[dg.RunRequest]:
        """The runs that one look starts."""
        return list(self.look().run_requests or [])

    def tick(self, at: datetime | None = None) -> tuple[list[str | None], str | None]:
        """What one look starts, and why it starts nothing."""
        result = self.look(at)
        return [request.job_name for request in result.run_requests or []], result.skip_message

    def starts(self, at: datetime | None = None) -> list[str | None]:
        return self.tick(at)[0]


@pytest.fixture
def installation(instance: dg.DagsterInstance) -> Installation:
    return Installation(settings_of(**SERVER), instance)


def test_titles_are_embedded_once_all_of_them_are_there_and_enriched_afterwards(installation: Installation) -> None:
    installation.has("users", "movies")
    assert installation.starts() == ["sync_series"]
    installation.has("series", "episodes")
    assert installation.starts() == ["generate_embeddings"]
    installation.has("enriched_metadata", "embeddings")
    assert installation.starts()[:2] == ["enrich_metadata", "enrich_mdblist"]


@pytest.mark.parametrize("status", ["QUEUED", "STARTED"])
def test_a_job_is_not_started_again_while_a_run_of_it_is_unfinished(installation: Installation, status: str) -> None:
    installation.has("users", "movies")
    run = add_run(installation.instance, "sync_series", status)
    starts, reason = installation.tick(datetime.now(UTC) + timedelta(days=2))
    assert starts == []
    assert reason is not None
    assert "sync_series is running or queued" in reason
    assert "enrich_metadata waits for series, episodes" in reason
    installation.instance.delete_run(run.run_id)
    assert installation.starts() == ["sync_series"]


def test_a_job_that_failed_starts_again_after_waits_that_grow_to_an_hour(installation: Installation) -> None:
    installation.has("users", "movies")
    for minutes in (1, 5, 15, 60, 60):
        failed = installation.fails("sync_series")
        starts, reason = installation.tick(failed + timedelta(minutes=minutes, seconds=-10))
        assert starts == [], minutes
        assert reason is not None
        assert f"starts again at {failed + timedelta(minutes=minutes):%H:%M}" in reason
        assert installation.starts(failed + timedelta(minutes=minutes, seconds=1)) == ["sync_series"], minutes


def test_what_failed_starts_again_at_once_after_a_restart(installation: Installation) -> None:
    for _ in range(3):
        installation.fails("sync_users", "sync_movies", "sync_series")
    assert installation.starts() == []
    installation.restart()
    assert installation.starts() == ["sync_users", "sync_movies", "sync_series"]
    failed = installation.fails("sync_users", "sync_movies", "sync_series")
    assert installation.starts(failed + timedelta(seconds=50)) == []
    assert installation.starts(failed + timedelta(seconds=61)) == ["sync_users", "sync_movies", "sync_series"]


def test_a_run_that_was_killed_with_the_program_counts_as_no_attempt_of_the_new_one(installation: Installation) -> None:
    installation.has("users", "movies")
    run = installation.run("sync_series")
    installation.instance.report_dagster_event(
        dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, run.job_name), run.run_id
    )
    # It starts while the run still seems to work; then somebody finds that its process is gone.
    installation.restart()
    assert installation.starts() == []
    installation.instance.report_run_failed(run)
    assert installation.starts() == ["sync_series"]


def test_a_program_that_restarts_all_the_time_does_not_repeat_a_hopeless_job_each_time(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "MOST_AN_HOUR", 3)
    installation.has("users", "movies")
    started = 0
    for _ in range(5):
        installation.restart()
        if installation.starts():
            started += 1
            failed = installation.fails("sync_series")
    assert started == 3
    assert installation.starts(failed + timedelta(minutes=61)) == ["sync_series"]


def test_sources_are_asked_even_if_titles_cannot_be_embedded(installation: Installation) -> None:
    installation.has("users", "movies", "series", "episodes")
    run = add_run(installation.instance, "generate_embeddings", "STARTED")
    assert "enrich_metadata" not in installation.starts(), "first lists come first"
    installation.instance.report_run_failed(run)
    assert "enrich_metadata" in installation.starts()


def test_histories_are_read_while_titles_are_embedded_and_plays_are_counted_once_all_are_there(
    installation: Installation,
) -> None:
    installation.has("users", "movies", "series", "episodes")
    installation.instance.add_dynamic_partitions(USERS, ["Alma", "Bruno"])
    requests = {request.job_name: request for request in installation.requests()}
    assert requests.keys() == {"generate_embeddings", "sync_watch_history"}
    tags = requests["sync_watch_history"].tags
    assert (tags[RANGE_START_TAG], tags[RANGE_END_TAG]) == ("Alma", "Bruno")
    run = add_run(installation.instance, "sync_watch_history", "STARTED")
    installation.instance.report_runless_asset_event(dg.AssetMaterialization("watch_history", partition="Alma"))
    assert "refresh_top_picks" not in installation.starts(), "Bruno's plays are being read"
    installation.instance.report_run_failed(run)
    assert "refresh_top_picks" in installation.starts()


def test_vectors_that_automation_could_not_make_are_tried_again(installation: Installation) -> None:
    installation.has("users", "movies", "series", "episodes")
    installation.has("tmdb_metadata", "omdb_ratings", "mdblist_scores", "enriched_metadata")
    job = installation.definitions.resolve_implicit_global_asset_job_def()
    run = installation.instance.create_run_for_job(
        job.get_subset(asset_selection={dg.AssetKey("embeddings")}), asset_selection={dg.AssetKey("embeddings")}
    )
    assert "generate_embeddings" not in installation.starts(), "automation is making them"
    installation.instance.report_run_failed(run)
    assert "generate_embeddings" not in installation.starts()
    assert "generate_embeddings" in installation.starts(datetime.now(UTC) + timedelta(minutes=2))
    installation.restart()
    assert "generate_embeddings" in installation.starts()


def test_a_failure_of_one_job_holds_up_no_other(installation: Installation) -> None:
    installation.instance.report_run_failed(installation.run("sync_movies"))
    assert installation.starts() == ["sync_users", "sync_series"]


def test_an_installation_that_has_been_filled_is_left_alone_until_a_new_version_brings_a_job(
    installation: Installation,
) -> None:
    installation.has("users", "movies", "series", "episodes")
    installation.has("tmdb_metadata", "omdb_ratings", "mdblist_scores", "enriched_metadata")
    installation.has("watch_history", "top_picks", "top_picks_libraries")
    installation.has("taste_profiles", "trakt_recommendations", "discovery_pool", "discovery_candidates")
    installation.has("embeddings", "ai_pricing")
    assert installation.tick() == ([], "Everything has been read once.")
    # The next look reads nothing, and says the same.
    assert installation.cursor
    assert installation.tick() == ([], "Everything has been read once.")
    # Until a new version brings a job.
    installation.cursor = ",".join(name for name in (installation.cursor or "").split(",") if name != "ai_pricing")
    installation.instance.wipe_assets([dg.AssetKey("ai_pricing")])
    assert installation.starts() == ["refresh_ai_pricing"]


def test_top_picks_of_all_days_are_made_once_plays_have_been_read(installation: Installation) -> None:
    installation.has("users", "movies", "series", "episodes")
    assert "refresh_top_picks" not in installation.starts()
    installation.has("tmdb_metadata", "omdb_ratings", "mdblist_scores", "enriched_metadata", "embeddings")
    installation.has("ai_pricing", "watch_history")
    (request,) = installation.requests()
    days = installation.definitions.resolve_asset_graph().get(dg.AssetKey("top_picks")).partitions_def
    assert days is not None
    keys = days.get_partition_keys()
    assert request.job_name == "refresh_top_picks"
    assert (request.tags[RANGE_START_TAG], request.tags[RANGE_END_TAG]) == (keys[0], keys[-1])
    assert len(keys) == 31


def test_nothing_is_read_without_a_server(instance: dg.DagsterInstance) -> None:
    starts, reason = Installation(settings_of(), instance).tick()
    assert starts == []
    assert reason is not None
    assert "APERTURE_MEDIA_SERVER_URL" in reason
