"""An operator reads in the UI what each resource is and how it is configured, and finds no secret there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap, ResourceSnap

from aperture_dagster.build import build_definitions
from aperture_dagster.defs.resources import RESOURCES, SHOWN_ONLY, build_resources
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster.taste.embedder import Embedders

SECRETS = {
    "media_server_api_key": "secret-1",
    "media_server_headers": '{"Authorization": "Basic secret-2"}',
    "tmdb_api_key": "secret-3",
    "database_url": "postgresql://ann:secret-4@10.0.0.5/household",
    "secret_key": "secret-6",
    "trakt_client_secret": "secret-7",
    "alert_urls": "json://ann:secret-8@10.0.0.5/alerts",
    "embedder_api_key": "secret-9",
}
OPEN = {"media_server_url": "http://10.0.0.5:8096", "media_server_timeout_seconds": 30.0, "embedder": "openai"}


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
    for name in RESOURCES:
        resource = resources[name]
        assert resource.resource_type.startswith("aperture_dagster.defs.resources."), name
        description = resource.resource_snapshot.description or ""
        assert len(description) > 40 and description.endswith("."), name
        for field in resource.config_field_snaps:
            assert field.description, f"{name}.{field.name}"


def test_the_configuration_is_that_of_the_settings(resources: dict[str, ResourceSnap]):
    assert values(resources["database"]) == {"server": "10.0.0.5/household"}
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


def held(part: Any) -> dict[str, Any]:
    """What a part was made from: its settings, and values of its own."""
    given = part if isinstance(part, Settings) else getattr(part, "_settings", None)
    own = {name: value for name, value in vars(part).items() if isinstance(value, (str, bool, int, float, Path, dict))}
    return {name: getattr(given, name) for name in Settings.model_fields if given is not None} | own


def test_no_field_of_a_resource_can_be_changed_for_a_run(make_settings: Callable[..., Settings]):
    settings = make_settings(**OPEN)
    made, before = build_resources(settings), shown(settings)
    with dg.build_resources(made) as given:
        usual = {name: held(getattr(given, name)) for name in RESOURCES}
    fields = [(name, field) for name in RESOURCES for field in values(before[name])]
    assert ("settings", "home") in fields
    for name, field in fields:
        configured = values(before[name])
        other = {"a": "b"} if isinstance(configured[field], dict) else "http://evil.example"
        run_config = {name: {"config": configured | {field: other}}}
        with dg.build_resources(made, resource_config=run_config) as given:
            assert held(getattr(given, name)) == usual[name], f"{name}.{field} was changed"
            assert SHOWN_ONLY in (RESOURCES[name].model_fields[field].description or ""), f"{name}.{field}"


def leaves(kind: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    fields = getattr(kind, "fields", None)
    if not fields:
        yield path, kind.key
    for name, field in (fields or {}).items():
        yield from leaves(field.config_type, (*path, name))


def test_a_run_can_be_given_no_text_but_for_its_log(settings: Settings):
    own = {("resources", name, "config", field) for name, kind in RESOURCES.items() for field in kind.model_fields}
    harmless = ("Int", "Float", "Bool", "IntSourceType", "BoolSourceType", "Noneable.BoolSourceType")
    text = set()
    for job in build_definitions(settings).get_repository_def().get_all_jobs():
        for path, kind in leaves(job.run_config_schema.config_type):
            # What declares no configuration ignores what it is given.
            if path not in own and kind not in harmless and kind != "Any" and not kind.startswith("Shape."):
                text.add(".".join(path))
    assert text == {
        "loggers.console.config.log_level",
        "loggers.console.config.name",
        "execution.config.marker_to_close",
    }
