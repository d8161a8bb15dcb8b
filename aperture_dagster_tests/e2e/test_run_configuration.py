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

from aperture_dagster.simulator.responses import FaultRule
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
    with listening() as listener, household(world, after=("sync_users",)) as (_, home):
        assert isinstance(home, Household)
        with webserver(home, tmp_path) as (workspace, instance):
            (location,) = workspace.code_locations
            (repository,) = location.get_repositories().values()
            selector = {
                "repositoryLocationName": location.name, "repositoryName": repository.name, "jobName": "sync_users",
            }  # fmt: skip
            for resource, field in (("media_servers", "media_server_url"), ("services", "tmdb_url")):
                run_config = {"resources": {resource: {"config": {field: listener.url}}}}
                run = {"selector": selector, "runConfigData": run_config}
                execute_dagster_graphql(workspace, LAUNCH, {"run": run})
            assert listener.received == []
            assert all(run.status == dg.DagsterRunStatus.SUCCESS for run in instance.get_runs())
