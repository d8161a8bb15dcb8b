"""What Dagster is told: it loads anywhere, it is what the operator was promised, and it is said well."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from aperture_dagster.build import all_jobs, build_definitions
from aperture_dagster.enrichment.sources import merge_plan
from aperture_dagster.jobs import ONE_AT_A_TIME
from aperture_dagster.model import often
from aperture_dagster.settings import Settings
from aperture_dagster.taste.changes import program_hash
from aperture_dagster.taste.ranking.text import RECIPE
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.defs.describe import GOLDEN, describe, plain_definitions
from aperture_dagster_tests.programs import run_program
from aperture_dagster_tests.waiting import SECONDS

VERBS = ("sync", "enrich", "generate", "refresh", "evaluate", "send", "first", "follow", "run", "show")


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return plain_definitions()


def in_a_fresh_interpreter(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run code as a new process that has no environment at all."""
    return subprocess.run(
        [sys.executable, *options, "-c", code], env={}, cwd=PROJECT, capture_output=True, text=True, timeout=SECONDS
    )


def test_it_loads_with_no_environment_at_all_and_no_warning_of_ours():
    code = (
        "import aperture_dagster.definitions as module; module.defs.get_repository_def().load_all_definitions();"
        "print(len(module.defs.resolve_asset_graph().materializable_asset_keys))"
    )
    loaded = in_a_fresh_interpreter(code, "-W", "error:::aperture_dagster", "-W", "default::dagster.BetaWarning")
    assert loaded.returncode == 0, loaded.stderr
    assert int(loaded.stdout) >= 11
    assert "Warning" not in loaded.stderr


def test_loading_opens_no_database_and_makes_no_folder(tmp_path: Path):
    home = tmp_path / "home"
    code = "import aperture_dagster.definitions as module; module.defs.get_repository_def().load_all_definitions()"
    environment = {"APERTURE_HOME": str(home)}
    assert run_program(code, environment=environment, folder=PROJECT).returncode == 0
    assert not home.exists()


def test_they_are_what_the_golden_file_says(definitions: dg.Definitions):
    described = describe(definitions)
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    told = "if it is meant: python -m aperture_dagster_tests.defs.describe"
    for part in golden:
        assert described[part] == golden[part], told
    assert set(described) == set(golden), told


def test_assets_are_snake_case_nouns_in_the_group_of_their_module_or_folder(definitions: dg.Definitions):
    verbs = ("sync", "generate", "refresh", "enrich", "get", "make", "update", "build")
    for asset in definitions.resolve_asset_graph().assets_defs:
        for key in asset.keys:
            name = key.to_user_string()
            assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name), name
            assert name.split("_")[0] not in verbs, name
            if asset.is_executable and not asset.check_keys:
                module = asset.op.compute_fn.decorated_fn.__module__  # type: ignore[union-attr]
                below = module.removeprefix("aperture_dagster.defs.")
                assert asset.group_names_by_key[key] == below.partition(".")[0], name


def test_jobs_begin_with_a_verb_and_say_what_they_do(definitions: dg.Definitions):
    for job in definitions.get_repository_def().get_all_jobs():
        # These have their asset's name.
        if job.name.startswith("__") or job.name in ("database_backup", "housekeeping"):
            continue
        assert job.name.split("_")[0] in VERBS, job.name
        assert job.description and job.description.endswith("."), job.name


def test_everything_has_a_description_that_an_operator_can_read(definitions: dg.Definitions):
    repository = definitions.get_repository_def()
    graph = definitions.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        said = graph.get(key).description or ""
        assert 40 <= len(said) <= 600 and said.rstrip().endswith("."), key
    for check in graph.asset_check_keys:
        assert graph.get(check).description, check
    for one in (*repository.schedule_defs, *repository.sensor_defs):
        said = one.description or ""
        assert 60 <= len(said) <= 500 and said.endswith("."), one.name


def test_jobs_and_schedules_say_what_when_and_why(definitions: dg.Definitions, settings: Settings):
    repository = definitions.get_repository_def()
    said = {one.name: one.description or "" for one in (*repository.get_all_jobs(), *repository.schedule_defs)}
    for job in all_jobs(settings):
        assert job.why.endswith("."), job.name
        for name in (job.name, f"{job.name}_schedule") if job.cron else (job.name,):
            assert job.description[1:] in said[name] and job.why in said[name], name
            assert job.cron is None or f"{often(job.cron)} (UTC)" in said[name], name
    assert said["sync_movies_schedule"] == (
        "Read the media server's films. Starts every day at 02:00 (UTC), and at once on a new home. Before titles are "
        "embedded and lists are made from them."
    )
    assert "on a new home as soon as it can read movies and series" in said["generate_embeddings"]


def test_a_schedule_that_is_off_says_so_and_how_to_switch_it_on(definitions: dg.Definitions, make_settings):
    plain = {one.name: one.description or "" for one in definitions.get_repository_def().schedule_defs}
    assert "It is off now. Publishing is off: set APERTURE_PUBLISH" in plain["sync_libraries_schedule"]
    assert "off now" not in plain["sync_movies_schedule"]
    off = build_definitions(make_settings(schedules={"sync_movies": "off"}))
    (said,) = (one.description for one in off.schedules or [] if one.name == "sync_movies_schedule")
    assert "It is off now. Switched off: sync_movies is off in APERTURE_SCHEDULES." in (said or "")


def test_every_asset_says_its_grain(definitions: dg.Definitions):
    graph = definitions.resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        said = (graph.get(key).description or "").lower()
        assert re.search(r"\b(row each|one row|per user|a vector for each|titles per|one file per)\b", said), key


def test_the_ui_links_each_asset_to_its_function(definitions: dg.Definitions):
    for asset in definitions.resolve_asset_graph().assets_defs:
        if not asset.is_executable or not asset.keys or asset.check_keys:
            continue
        for spec in asset.specs:
            (place,) = spec.metadata["dagster/code_references"].code_references
            function = asset.op.compute_fn.decorated_fn  # type: ignore[union-attr]
            assert isinstance(place, dg.LocalFileCodeReference)
            assert Path(place.file_path) == Path(inspect.getfile(function))
            assert place.line_number == inspect.getsourcelines(function)[1], spec.key


def test_columns_have_postgresqls_types_and_their_comments(definitions: dg.Definitions):
    tastes = definitions.resolve_asset_graph().get(dg.AssetKey("taste_profiles"))
    columns = {one.name: one for one in tastes.metadata["dagster/column_schema"].columns}
    assert columns["updated_at"].type == "timestamp with time zone" and columns["user_id"].constraints.unique
    assert columns["titles"].description == "titles that the taste is based on"
    assert not columns["titles"].constraints.nullable and not columns["titles"].constraints.unique


def test_columns_of_the_merged_view_name_the_columns_of_its_sources(definitions: dg.Definitions):
    graph = definitions.resolve_asset_graph()
    view = graph.get(dg.AssetKey("enriched_metadata"))
    lineage = view.metadata["dagster/column_lineage"].deps_by_column
    found = {
        column: {(one.asset_key.to_user_string(), one.column_name) for one in on} for column, on in lineage.items()
    }
    assert found["imdb_rating"] == {("omdb_ratings", "imdb_rating"), ("mdblist_scores", "imdb_rating")}
    assert found["release_date"] == {
        ("movies", "premiere_date"),
        ("series", "premiere_date"),
        ("tmdb_metadata", "release_date"),
    }
    columns = {
        key: {one.name for one in graph.get(key).metadata["dagster/column_schema"].columns}
        for key in (view.key, *view.parent_keys)
    }
    assert set(lineage) == columns[view.key] - {"work_id", "media_type", "sources", "updated_at"}
    for on in lineage.values():
        assert all(one.column_name in columns[one.asset_key] for one in on), on


def test_what_follows_an_algorithm_has_the_version_by_which_it_is_made_again(definitions: dg.Definitions):
    graph = definitions.resolve_asset_graph()
    versions = {key.to_user_string(): graph.get(key).code_version for key in graph.materializable_asset_keys}
    assert {name: version for name, version in versions.items() if version is not None} == {
        "enriched_metadata": merge_plan().recipe(),
        "embeddings": RECIPE,
        "taste_profiles": program_hash(),
        "recommendations": program_hash(),
        "discovery_candidates": program_hash("discovery"),
    }
    assert program_hash("discovery") != program_hash()


def test_sensors_have_all_the_resources_that_they_ask_for(definitions: dg.Definitions):
    repository = definitions.get_repository_def()
    given = set(repository.get_top_level_resources())
    for sensor in repository.sensor_defs:
        assert sensor.required_resource_keys <= given, sensor.name
    for job in repository.get_all_jobs():
        assert set(job.required_resource_keys) <= given | {"io_manager"}, job.name


def test_jobs_that_make_the_same_checked_asset_run_one_at_a_time(definitions: dg.Definitions):
    """Otherwise its blocking check may be about another materialization than the last, and hold everything up."""
    graph = definitions.resolve_asset_graph()
    checked = {key.asset_key for key in graph.asset_check_keys if graph.get(key).blocking}
    for key in checked:
        jobs = [
            job
            for job in definitions.get_repository_def().get_all_jobs()
            if not job.name.startswith("__") and key in job.asset_layer.selected_asset_keys
        ]
        if len(jobs) > 1:
            assert {job.tags.get(ONE_AT_A_TIME) for job in jobs} == {key.to_user_string()}
    limits = yaml.safe_load((PROJECT / "dagster.yaml").read_text())["concurrency"]["runs"]["tag_concurrency_limits"]
    assert {"key": ONE_AT_A_TIME, "value": {"applyLimitPerUniqueValue": True}, "limit": 1} in limits


def test_checks_are_apart_from_assets_that_automation_requests(definitions: dg.Definitions):
    """In a run that automation starts, a check within an asset would displace the checks of all other assets."""
    for asset in definitions.resolve_asset_graph().assets_defs:
        if asset.is_executable and asset.keys:
            assert not asset.check_specs or not any(asset.automation_conditions_by_key.values()), asset.keys


def test_schedules_and_sensors_can_be_switched_off_together(make_settings):
    described = describe(build_definitions(make_settings(schedules_enabled=False)))
    assert {one["status"] for one in (*described["schedules"].values(), *described["sensors"].values())} == {"STOPPED"}
