"""A new installation is filled at once, and then left alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import dagster as dg
import pytest

from aperture_dagster.build import build_definitions
from aperture_dagster.settings import Settings

SERVER = {"media_server_url": "http://127.0.0.1:9", "media_server_api_key": "key"}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


def _asked_for(settings: Settings, instance: dg.DagsterInstance) -> list[str | None]:
    definitions = build_definitions(settings)
    sensor = definitions.resolve_sensor_def("first_sync_sensor")
    with dg.build_sensor_context(instance=instance, definitions=definitions) as context:
        result = sensor.evaluate_tick(context)
    return [request.job_name for request in result.run_requests or []]


def _made(instance: dg.DagsterInstance, *assets: str) -> None:
    for asset in assets:
        instance.report_runless_asset_event(dg.AssetMaterialization(asset))


def test_what_was_never_read_is_read_at_once(
    make_settings: Callable[..., Settings], instance: dg.DagsterInstance
) -> None:
    assert _asked_for(make_settings(**SERVER), instance) == ["sync_users", "sync_movies", "sync_series"]


def test_titles_are_enriched_when_they_are_all_there(
    make_settings: Callable[..., Settings], instance: dg.DagsterInstance
) -> None:
    settings = make_settings(**SERVER)
    _made(instance, "users", "movies")
    assert _asked_for(settings, instance) == ["sync_series"]
    _made(instance, "series", "episodes")
    assert _asked_for(settings, instance) == ["enrich_metadata", "enrich_mdblist"]


def test_an_installation_that_has_been_filled_is_left_alone(
    make_settings: Callable[..., Settings], instance: dg.DagsterInstance
) -> None:
    _made(
        instance, "users", "movies", "series", "episodes", "tmdb_metadata", "omdb_ratings", "mdblist_scores",
        "enriched_metadata",
    )  # fmt: skip
    assert _asked_for(make_settings(**SERVER), instance) == []


def test_nothing_is_read_without_a_server(settings: Settings, instance: dg.DagsterInstance) -> None:
    assert _asked_for(settings, instance) == []
