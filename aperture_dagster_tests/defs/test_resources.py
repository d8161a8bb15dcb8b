"""An operator reads in the UI what each resource is and how it is configured, and finds no secret there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap, ResourceSnap

from aperture_dagster.build import build_definitions
from aperture_dagster.defs.resources import (
    CHANGEABLE,
    NOT_SET,
    RESOURCES,
    SHOWN_ONLY,
    build_resources,
    changeable,
)
from aperture_dagster.enrichment.sources import SOURCES
from aperture_dagster.instance.pools import MEDIA_SERVER
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.publishing.server.publication import LIBRARY_KINDS, STEMS
from aperture_dagster.settings import Settings, load_settings, secret_names
from aperture_dagster.taste.configured_embedder import Embedders
from aperture_dagster_tests.conftest import PROJECT

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
        assert given.embedder.get() is given.embedder.get()
        with given.database.transaction() as connection:
            assert connection.exec_driver_sql("SELECT 1").scalar() == 1


def test_a_part_that_is_given_is_used_as_it_is_and_by_the_others(settings: Settings):
    clock, embedder = Clock(), Embedders(settings)
    with dg.build_resources(build_resources(settings, clock=clock, embedder=embedder)) as given:
        assert given.clock is clock
        assert given.embedder is embedder
        assert given.omdb.quota._clock is clock and given.trakt._clock is clock


def held(part: Any) -> dict[str, Any]:
    """What a part was made from: its settings, and values of its own."""
    given = part if isinstance(part, Settings) else getattr(part, "_settings", None)
    own = {name: value for name, value in vars(part).items() if isinstance(value, (str, bool, int, float, Path, dict))}
    return {name: getattr(given, name) for name in Settings.model_fields if given is not None} | own


def test_a_run_can_change_numbers_for_itself_and_nothing_else(
    make_settings: Callable[..., Settings], instance: dg.DagsterInstance
):
    """Another address would be sent this machine's keys."""
    settings = make_settings(**OPEN, prices_url="http://10.0.0.6/prices.json")
    made, before = build_resources(settings), shown(settings)
    with dg.build_resources(made) as given:
        usual = {name: held(getattr(given, name)) for name in RESOURCES}
    for name, kind in RESOURCES.items():
        for field in values(before[name]):
            configured = values(before[name])
            is_number = field in changeable(kind)
            other: Any = {"a": "b"} if isinstance(configured[field], dict) else "http://evil.example"
            if is_number:
                other = configured[field] + 1
            elif isinstance(configured[field], bool):
                other = not configured[field]
            run_config = {name: {"config": configured | {field: other}}}
            with dg.build_resources(made, instance=instance, resource_config=run_config) as given:
                now = held(getattr(given, name))
                others = {one: held(getattr(given, one)) for one in RESOURCES if one != name}
            expected = dict(usual[name])
            if is_number and field in expected:
                expected[field] = other
            if name == "ai_price_list" and is_number:
                continue
            assert now == expected, f"{name}.{field}"
            assert others == {one: usual[one] for one in others}, f"{name}.{field} changed another resource"
            said = kind.model_fields[field].description or ""
            assert (CHANGEABLE if is_number else SHOWN_ONLY) in said, f"{name}.{field}"


def test_the_fields_of_a_service_are_settings_and_its_secrets_are_only_said_to_be_set(
    resources: dict[str, ResourceSnap],
):
    own = {"settings", "database", "clock"}
    for name in RESOURCES.keys() - own:
        fields = values(resources[name])
        assert fields.keys() <= Settings.model_fields.keys(), name
        for field in fields.keys() & set(secret_names()):
            assert fields[field] == ("set" if field in SECRETS else NOT_SET), f"{name}.{field}"
    assert values(resources["media_servers"])["media_server_timeout_seconds"] == 30.0
    assert values(resources["media_servers"])["media_server_url"] == "http://10.0.0.5:8096"
    assert values(resources["tmdb"])["tmdb_language"] == "en-US"
    assert values(resources["tmdb"])["tmdb_requests"] == 40


# Services that assets ask, by resource; each is an external asset with its name, but for these.
SERVICES = set(RESOURCES) - {"settings", "database", "clock"}
ASSET_OF = {"media_servers": "media_server"}
POOL_OF = {"media_servers": MEDIA_SERVER}
# Services that an asset asks besides the one whose pool it waits in, or without waiting in any, with the reason.
NOT_WAITED_FOR = {
    ("top_picks", "tmdb"): "enrichment can hold the pool for hours, and a late list is worse than an old one",
    ("top_picks", "mdblist"): "the same",
    ("library_access", "media_servers"): "this takes seconds, and a sync holds the pool for minutes",
    ("media_server_libraries", "media_servers"): "it waits for the server to read, and must keep nobody waiting",
    **{
        (f"{stem}_libraries", "media_servers"): "one at a time by a lock that is let go while the server reads"
        for stem in (STEMS[kind] for kind in LIBRARY_KINDS)
    },
    ("for_later_playlists", "media_servers"): "the same lock, and a playlist takes seconds",
    ("trakt_ratings", "media_servers"): "ratings are few, and each is a request of its own",
    ("discovery_pool", "embedder"): "TMDb is asked for longer",
    ("ai_pricing", "embedder"): "one request for the list of its models",
    **{
        (f"{stem}_libraries", "tmdb_images"): "few titles lack a picture on the server, and each is one request"
        for stem in (STEMS[kind] for kind in LIBRARY_KINDS)
    },
}


def test_each_asset_that_asks_a_service_has_its_resource_its_pool_and_its_place_upstream():
    definitions = build_definitions(
        load_settings(
            top_picks_movies={"source": "tmdb:popular"}, top_picks_series={"source": "mdblist:linaspurinis/top-series"}
        )
    )
    graph = definitions.resolve_asset_graph()
    external = {key.to_user_string() for key in graph.external_asset_keys}
    assert external == {ASSET_OF.get(name, name) for name in SERVICES}
    unneeded = set(NOT_WAITED_FOR)
    for asset in graph.assets_defs:
        if not asset.is_executable or asset.check_keys:
            continue
        asked = asset.required_resource_keys & SERVICES
        for key in asset.keys:
            name = key.to_user_string()
            upstream = {parent.to_user_string() for parent in graph.get(key).parent_keys} & external
            # An asset that publishes ends in the media server instead.
            missing = {ASSET_OF.get(one, one) for one in asked} - upstream
            if graph.get(key).group_name == "publishing":
                missing -= {"media_server"}
            assert not missing, f"{name} asks {missing} without declaring it"
            assert upstream <= {ASSET_OF.get(one, one) for one in asked}, f"{name} has no resource for {upstream}"
            for one in asked:
                waits = POOL_OF.get(one, one) in graph.get(key).pools
                assert waits != ((name, one) in NOT_WAITED_FOR), f"{name}: {one}"
                unneeded.discard((name, one))
    assert not unneeded


# Whatever makes a client of a service, or the part that does, and where: nowhere else, so that limits hold.
MAKERS = {
    "MeteredService": {
        "defs/resources.py", "cli/publish.py", "cli/doctor/services.py",
        # Members and commands request titles through it.
        "discovery/requests.py",
        # Each key is tested as it is entered, before anything runs.
        "front_door/set_up/checks.py",
    },
    "TraktAccounts": {
        "defs/resources.py", "cli/doctor/services.py", "cli/ratings.py", "front_door/forms.py",
        # A schedule and a page read what the database knows of accounts.
        "shelves.py", "trakt/accounts.py",
        # Somebody who is forgotten, by command or by housekeeping, is disconnected first.
        "instance/forgetting.py",
    },
    "MediaServers": {
        "defs/resources.py", "cli/doctor/media_server.py", "cli/doctor/publishing.py", "cli/publish.py",
        "cli/ratings.py",
        # Looks of schedules and sensors, which give up sooner.
        "defs/publishing/__init__.py", "sensors/plays.py", "catalogue/server_users.py", "catalogue/servers.py",
        # One request a night about who left, and what is still there of somebody who is forgotten.
        "instance/forgetting.py",
        # Whether the server still lets in who is signed in, and whether the one that is entered can be used.
        "front_door/house.py", "front_door/set_up/checks.py",
    },
    "PriceList": {"defs/resources.py"},
    "Embedders": {"defs/resources.py", "cli/doctor/services.py"},
}  # fmt: skip


@pytest.mark.parametrize("part", MAKERS)
def test_no_asset_makes_a_client_of_its_own(part: str):
    package = PROJECT / "aperture_dagster"
    made_in = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if "simulator" not in path.parts and re.search(rf"(?<!class )\b{part}\(", path.read_text(encoding="utf-8"))
    }
    assert made_in == MAKERS[part]


def leaves(kind: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    fields = getattr(kind, "fields", None)
    if not fields:
        yield path, kind.key
    for name, field in (fields or {}).items():
        yield from leaves(field.config_type, (*path, name))


def test_a_run_can_be_given_no_text_but_for_its_log_and_the_titles_to_ask_about_again(settings: Settings):
    own = {("resources", name, "config", field) for name, kind in RESOURCES.items() for field in kind.model_fields}
    harmless = ("Int", "Float", "Bool", "IntSourceType", "BoolSourceType", "Noneable.BoolSourceType")
    text = set()
    for job in build_definitions(settings).get_repository_def().get_all_jobs():
        for path, kind in leaves(job.run_config_schema.config_type):
            # What declares no configuration ignores what it is given.
            if path not in own and kind not in harmless and kind != "Any" and not kind.startswith("Shape."):
                text.add(".".join(path))
    assert text == {
        *(f"ops.{source.table}.config.refetch" for source in SOURCES),
        "loggers.console.config.log_level",
        "loggers.console.config.name",
        "execution.config.marker_to_close",
    }
