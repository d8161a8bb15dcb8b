"""Whoever can start a run, a page in a browser included, cannot have a key sent to another address."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import in_process_test_workspace
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster_graphql.test.utils import execute_dagster_graphql

from aperture_dagster.defs.resources import FIXED, RESOURCES
from aperture_dagster.settings import Settings, environment_names
from aperture_dagster.simulator.faults import FaultRule
from aperture_dagster_tests.e2e.one_run import plain
from aperture_dagster_tests.e2e.worlds import small_world
from aperture_dagster_tests.household import Household
from aperture_dagster_tests.listener import listening

LAUNCH = """mutation($run: ExecutionParams!) { launchRun(executionParams: $run) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }"""

RESUME = """mutation($run: ReexecutionParams!) { launchRunReexecution(reexecutionParams: $run) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""

CODE = """import json, sys
from aperture_dagster.build import build_definitions
from aperture_dagster.settings import load_settings
defs = build_definitions(load_settings(**json.loads({settings!r})))
"""

IN_THIS_PROCESS = {
    "run_launcher": {
        "module": "dagster._core.launcher.sync_in_memory_run_launcher",
        "class": "SyncInMemoryRunLauncher",
    },
    "run_coordinator": {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"},
}

JOBS = {
    "media_servers": "sync_users",
    "mdblist_url": "enrich_mdblist",
    "seerr_url": "send_requests",
    "services": "enrich_metadata",
    "trakt": "sync_trakt_ratings",
    "embedders": "generate_embeddings",
}
"""A job that uses a resource, or the service at an address."""


def overrides(settings: Settings, address: str) -> Iterator[tuple[str, str, str | bool]]:
    """Yield what resources hold besides numbers, each with another value than that of the settings."""
    for resource, kind in RESOURCES.items():
        for name, field in kind.model_fields.items():
            if FIXED in (field.description or ""):
                now = getattr(settings, name)
                yield resource, name, address if name.endswith("_url") else not now if now in (True, False) else "other"


@contextmanager
def webserver(home: Household, folder: Path) -> Iterator[tuple[Any, dg.DagsterInstance]]:
    """A workspace with the code location of a household, as the webserver has it, whose runs are over when launched."""
    code = folder / "code.py"
    code.write_text(CODE.format(settings=json.dumps(plain(home.settings))))
    origin = LoadableTargetOrigin(python_file=str(code), attribute="defs")
    with (
        dg.instance_for_test(overrides=IN_THIS_PROCESS) as instance,
        in_process_test_workspace(instance, origin) as workspace,
    ):
        yield workspace, instance


@pytest.mark.e2e
def test_a_run_that_failed_in_a_later_step_is_resumed_there(household: Callable[..., Any], tmp_path: Path):
    world = small_world(movies=3, users=1, plays=2)
    with (
        household(world, after=("sync_users", "sync_movies"), http_attempts=1) as (simulator, home),
        webserver(home, tmp_path) as (workspace, instance),
    ):
        (location,) = workspace.code_locations
        (repository,) = location.get_repositories().values()
        selector = {"repositoryLocationName": location.name, "repositoryName": repository.name}
        simulator.state.add_fault(FaultRule("jellyfin", "includeItemTypes=Episode"))
        run = {"selector": {**selector, "jobName": "sync_series"}, "runConfigData": {}}
        first = execute_dagster_graphql(workspace, LAUNCH, {"run": run}).data["launchRun"]["run"]["runId"]
        simulator.state.clear_faults()
        again = {"parentRunId": first, "strategy": "FROM_FAILURE"}
        answer = execute_dagster_graphql(workspace, RESUME, {"run": again}).data["launchRunReexecution"]
        assert answer["__typename"] == "LaunchRunSuccess", answer

        def steps(run_id: str) -> set[str | None]:
            events = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
            return {event.step_key for event in events}

        assert (steps(first), steps(answer["run"]["runId"])) == ({"series"}, {"episodes"})
        # Nor can a run name a folder for what passes between steps.
        elsewhere = tmp_path / "elsewhere"
        run["runConfigData"] = {"resources": {"io_manager": {"config": {"base_dir": str(elsewhere)}}}}
        execute_dagster_graphql(workspace, LAUNCH, {"run": run})
        assert not elsewhere.exists()


@pytest.mark.e2e
def test_no_run_started_through_graphql_sends_anything_elsewhere(household: Callable[..., Any], tmp_path: Path):
    world = small_world(movies=3, users=1, plays=2)
    keys = {"trakt_client_id": "id", "trakt_client_secret": "secret", "secret_key": "a key", "embedder": "openai"}
    with listening() as listener, household(world, after=("sync_users", "sync_movies"), **keys) as (_, home):
        assert isinstance(home, Household)
        with webserver(home, tmp_path) as (workspace, instance):
            (location,) = workspace.code_locations
            (repository,) = location.get_repositories().values()
            # The launchpad has them all, and Dagster requires them all.
            configured = {
                resource.name: {name: json.loads(str(value)) for name, value in resource.configured_values.items()}
                for resource in repository.get_resources()
            }

            def launch(job: str, **run_config: Any) -> tuple[dg.DagsterRunStatus, str]:
                selector = {
                    "repositoryLocationName": location.name, "repositoryName": repository.name, "jobName": job,
                }  # fmt: skip
                run = {"selector": selector, "runConfigData": run_config}
                answer = execute_dagster_graphql(workspace, LAUNCH, {"run": run}).data["launchRun"]
                assert answer["__typename"] == "LaunchRunSuccess", answer
                run_id = answer["run"]["runId"]
                (ended,) = instance.get_runs(dg.RunsFilter(run_ids=[run_id]))
                said = [
                    event.dagster_event.event_specific_data.error.to_string()
                    for event in instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
                ]
                return ended.status, " ".join(said)

            assert launch("sync_users")[0] == dg.DagsterRunStatus.SUCCESS
            tried = set()
            for resource, field, value in overrides(home.settings, listener.url):
                job = JOBS.get(field, JOBS[resource])
                status, said = launch(job, resources={resource: {"config": configured[resource] | {field: value}}})
                assert listener.received == [], f"{resource}.{field}"
                assert status == dg.DagsterRunStatus.FAILURE, f"{resource}.{field}"
                assert f"A run cannot change {field}" in said and environment_names(field)[0] in said
                tried.add(field)
            assert {"media_server_url", "media_server_verify_tls", "embedder_url", "trakt_url"} <= tried
