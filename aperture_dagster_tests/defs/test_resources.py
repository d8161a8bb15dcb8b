"""An operator reads in the UI what each resource is and how it is configured, and finds no secret there."""

from __future__ import annotations

import json
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap, ResourceSnap

from aperture_dagster.build import build_definitions
from aperture_dagster.defs.resources import build_resources
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.providers import Embedders
from aperture_dagster.settings import Settings, load_settings

SECRETS = {
    "media_server_api_key": "secret-1",
    "media_server_headers": '{"Authorization": "Basic secret-2"}',
    "tmdb_api_key": "secret-3",
    "database_url": "postgresql://ann:secret-4@10.0.0.5/household",
    "dagster_database_url": "postgresql://ann:secret-5@10.0.0.5/dagster",
    "secret_key": "secret-6",
    "trakt_client_secret": "secret-7",
    "alert_urls": "json://ann:secret-8@10.0.0.5/alerts",
    "embedder_api_key": "secret-9",
}
OPEN = {"media_server_url": "http://10.0.0.5:8096", "media_server_page_size": 250, "embedder": "openai"}


def shown(settings: Settings, **parts: Any) -> dict[str, ResourceSnap]:
    """What the UI gets to know of each resource."""
    snapshot = RepositorySnap.from_def(build_definitions(settings, **parts).get_repository_def())
    return {resource.name: resource for resource in snapshot.resources or ()}


def values(resource: ResourceSnap) -> dict[str, Any]:
    return {name: json.loads(str(value)) for name, value in resource.configured_values.items()}


@pytest.fixture(scope="module")
def resources() -> dict[str, ResourceSnap]:
    return shown(load_settings(timezone="Europe/Berlin", **SECRETS, **OPEN))


def test_each_resource_has_a_type_and_says_what_it_is_for(resources: dict[str, ResourceSnap]):
    for name, resource in resources.items():
        assert resource.resource_type.startswith("aperture_dagster.defs.resources."), name
        description = resource.resource_snapshot.description or ""
        assert len(description) > 40 and description.endswith("."), name
        for field in resource.config_field_snaps:
            assert field.description, f"{name}.{field.name}"
        assert resource.configured_values, name


def test_the_configuration_is_that_of_the_settings(resources: dict[str, ResourceSnap]):
    server = values(resources["media_servers"])
    assert (server["media_server_url"], server["media_server_page_size"]) == ("http://10.0.0.5:8096", 250)
    assert server["credentials"]["APERTURE_MEDIA_SERVER_API_KEY"] == "set"
    services = values(resources["services"])
    assert services["credentials"] == {
        "TMDB_API_KEY": "set", "OMDB_API_KEY": "not set", "MDBLIST_API_KEY": "not set", "SEERR_API_KEY": "not set",
    }  # fmt: skip
    assert services["omdb_daily_limit"] == 1000
    assert values(resources["database"]) == {"server": "10.0.0.5/household"}
    assert values(resources["embedders"])["embedder"] == "openai"
    assert values(resources["clock"]) == {"timezone": "Europe/Berlin"}
    changed = values(resources["settings"])["changed"]
    assert changed == {name: "set" for name in SECRETS} | {
        name: str(value) for name, value in (OPEN | {"timezone": "Europe/Berlin"}).items()
    }


def test_no_secret_reaches_the_ui(resources: dict[str, ResourceSnap]):
    said = repr(resources)
    assert "secret-" not in said
    assert "ann" not in values(resources["database"])["server"]


def test_the_embedded_database_is_named_as_such():
    assert values(shown(load_settings())["database"]) == {"server": "embedded"}


def test_each_makes_the_plain_part_that_assets_use(settings: Settings):
    made = build_resources(settings)
    with dg.build_resources(made) as given:
        assert isinstance(given.database, Database)
        assert given.settings is settings
        assert given.embedders.get() is given.embedders.get()
        with given.database.transaction() as connection:
            assert connection.exec_driver_sql("SELECT 1").scalar() == 1


def test_a_part_that_is_given_is_used_as_it_is_and_by_the_others(settings: Settings):
    clock, embedders = Clock(), Embedders(settings)
    with dg.build_resources(build_resources(settings, clock=clock, embedders=embedders)) as given:
        assert given.clock is clock
        assert given.embedders is embedders
        assert given.services._clock is clock and given.trakt._clock is clock


def test_what_is_changed_in_the_launchpad_holds_for_that_run(settings: Settings):
    made = build_resources(settings)
    before = shown(settings)
    server = values(before["media_servers"]) | {"media_server_timeout_seconds": 5.0}
    embedder = values(before["embedders"]) | {"embedder": "openai", "embedder_model": "another"}
    run_config = {"media_servers": {"config": server}, "embedders": {"config": embedder}}
    with dg.build_resources(made, resource_config=run_config) as given:
        assert given.media_servers._settings.media_server_timeout_seconds == 5.0
        assert given.media_servers._settings.home == settings.home
        assert given.embedders._settings.embedder == "openai"
    with dg.build_resources(made) as given:
        assert given.media_servers._settings.media_server_timeout_seconds == 60
        assert given.embedders._settings.embedder == settings.embedder
