"""The names of a household: everything that a Dagster instance has once for all code locations begins with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

import dagster as dg
import pytest
from click.testing import CliRunner
from dagster._serdes import serialize_value

from aperture_dagster import build
from aperture_dagster.cli.up import up
from aperture_dagster.errors import OperatorError
from aperture_dagster.household import asset_key, require_own_location, scoped
from aperture_dagster.instance.pools import POOLS
from aperture_dagster.sensors import freshness_makers
from aperture_dagster.settings import Settings, SettingsError
from aperture_dagster_tests.defs.shared import definitions_of, settings_of

NAMED = {
    "household": "smiths", "media_server_url": "http://nas.invalid", "media_server_api_key": "key",
    "trakt_client_id": "id", "publish": True, "publish_root": "/published",
}  # fmt: skip


@pytest.fixture(scope="module")
def repository() -> dg.RepositoryDefinition:
    return definitions_of(**NAMED).get_repository_def()


def keys_in(data: Any) -> Iterator[str]:
    """Yield the first part of every asset key in serialized data."""
    if isinstance(data, dict):
        if data.get("__class__") == "AssetKey":
            yield data["path"][0]
        for one in data.values():
            yield from keys_in(one)
    elif isinstance(data, list):
        for one in data:
            yield from keys_in(one)


def test_every_asset_and_check_begins_with_the_household(repository: dg.RepositoryDefinition):
    graph = repository.asset_graph
    plain = definitions_of().get_repository_def().asset_graph
    expected = {scoped("smiths", key.to_user_string()) for key in plain.get_all_asset_keys()}
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == expected, "none is added, none is lost"
    assert {key.asset_key.path[0] for key in graph.asset_check_keys} == {"smiths"}
    assert len(graph.asset_check_keys) == len(plain.asset_check_keys)
    for key in plain.get_all_asset_keys():
        parents = {asset_key("smiths", parent.to_user_string()) for parent in plain.get(key).parent_keys}
        assert graph.get(asset_key("smiths", key.to_user_string())).parent_keys == parents


def test_conditions_speak_of_the_households_assets(repository: dg.RepositoryDefinition):
    nodes = [node for node in repository.asset_graph.asset_nodes if node.automation_condition is not None]
    named = [first for node in nodes for first in keys_in(json.loads(serialize_value(node.automation_condition)))]
    assert len(nodes) > 5 and len(named) > 20
    assert set(named) == {"smiths"}


def test_partitions_and_pools_are_the_households_own(repository: dg.RepositoryDefinition):
    graph = repository.asset_graph
    dynamic = [
        node.partitions_def.name
        for node in graph.asset_nodes
        if isinstance(node.partitions_def, dg.DynamicPartitionsDefinition)
    ]
    assert len(dynamic) > 5 and set(dynamic) == {"smiths/users"}
    pools = {asset.op.pool for asset in graph.assets_defs if asset.is_executable}
    pools |= {check.op.pool for check in repository.asset_checks_defs_by_key.values()}
    assert pools - {None} <= {scoped("smiths", pool) for pool in POOLS} and len(pools) > 5


def test_jobs_select_the_households_assets_and_queue_apart_from_others(repository: dg.RepositoryDefinition):
    for job in repository.get_all_jobs():
        keys = {key.path[0] for key in job.asset_layer.selected_asset_keys}
        assert keys <= {"smiths"}, job.name
        queue = job.tags.get("aperture/one_at_a_time", "smiths/")
        assert queue.startswith("smiths/"), job.name
    plain = definitions_of().get_repository_def()
    assert {job.name for job in repository.get_all_jobs()} == {job.name for job in plain.get_all_jobs()}
    for job in plain.get_all_jobs():
        ours = {key.to_user_string() for key in repository.get_job(job.name).asset_layer.selected_asset_keys}
        assert ours == {scoped("smiths", key.to_user_string()) for key in job.asset_layer.selected_asset_keys}


def test_schedules_wait_for_what_the_household_builds_on(monkeypatch: pytest.MonkeyPatch):
    """Without the right names, no blocking check would ever hold a job back."""
    upstream: dict[str, set[str]] = {}
    blocking: dict[str, set[str]] = {}
    original = build.build_schedule

    def build_schedule(job: Any, *others: Any) -> Any:
        upstream[job.name] = {key.to_user_string() for key in others[2]}
        blocking[others[0].household] = {key.path[0] for key in others[3]}
        return original(job, *others)

    monkeypatch.setattr(build, "build_schedule", build_schedule)
    build.build_definitions(settings_of())
    plain = dict(upstream)
    upstream.clear()
    build.build_definitions(settings_of(household="smiths"))
    assert upstream == {job: {scoped("smiths", name) for name in names} for job, names in plain.items()}
    assert sum(map(len, plain.values())) > 20
    assert blocking["smiths"] == {"smiths"} != blocking[""]


def test_the_households_own_assets_must_be_fresh():
    settings = settings_of(**NAMED)
    assert {key.path[0] for key in freshness_makers(settings, build.all_jobs(settings))} == {"smiths"}


def test_without_a_name_all_names_are_plain():
    assert scoped("", "movies") == "movies" and asset_key("", "movies") == dg.AssetKey("movies")
    graph = definitions_of().get_repository_def().asset_graph
    assert {len(key.path) for key in graph.get_all_asset_keys()} == {1}


@pytest.mark.parametrize("name", ["the smiths", "a/b", "smith-s", "Müller", "..", "x" * 41, 'a"b'])
def test_a_name_that_could_be_mistaken_is_refused(name: str):
    with pytest.raises(SettingsError, match="household given by the program") as refused:
        settings_of(household=name)
    assert "letters, digits and _" in str(refused.value)


def test_the_name_of_the_location_of_a_single_household_is_refused():
    with pytest.raises(SettingsError, match="aperture"):
        settings_of(household="aperture")


@pytest.mark.parametrize("name", ["smiths", "flat_2", "A", ""])
def test_a_plain_word_is_accepted(name: str):
    assert isinstance(settings_of(household=name), Settings)


def test_a_household_whose_location_has_another_name_is_told_so():
    class Location:
        location_name = "smith"

    class Context:
        code_location_origin = Location

    with pytest.raises(OperatorError, match="APERTURE_HOUSEHOLD is smiths, but its code location is named smith:"):
        require_own_location(cast("Any", Context), "smiths")
    require_own_location(cast("Any", Context), "smith")
    require_own_location(cast("Any", Context), "")


def test_up_is_for_a_single_household(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("APERTURE_HOUSEHOLD", "smiths")
    refused = CliRunner().invoke(up, [])
    assert refused.exit_code == 1
    assert "docs/many-households.md" in " ".join(refused.output.split())
