"""Dagster's UI and daemon in the test's own process: the mutations that the UI sends, and the loop of backfills."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg

# Neither the loop nor a workspace has a public way in; a real daemon and webserver cost ten times as much.
from dagster._core.launcher import LaunchRunContext
from dagster._core.launcher.sync_in_memory_run_launcher import SyncInMemoryRunLauncher
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.remote_representation.grpc_server_registry import GrpcServerRegistry
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceLoadTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._grpc.constants import GrpcServerCommand
from dagster_graphql.test.utils import execute_dagster_graphql

from aperture_dagster.instance.home import LOCATION
from aperture_dagster_tests.household import Household

LAUNCH_BACKFILL = """mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
  }
}"""
LAUNCH_RUN = """mutation ($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}"""
RESUME = """mutation ($run: ReexecutionParams!) {
  launchPipelineReexecution(reexecutionParams: $run) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  }
}"""
CHECKS = """query ($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) { ... on AssetNode { assetChecksOrError { ... on AssetChecks { checks {
    name executionForLatestMaterialization { status runId }
  } } } } }
}"""
# More than a backfill of a chain needs.
MOST_LOOKS = 12
_numbers = itertools.count()
_loaded: dict[str, dg.Definitions] = {}


def __getattr__(name: str) -> Callable[[], dg.RepositoryDefinition]:
    """Return the function that Dagster calls for the definitions of a household: it keeps them by its name."""
    if name not in _loaded:
        raise AttributeError(name)
    return _loaded[name].get_repository_def


class _Location(WorkspaceLoadTarget):
    def __init__(self, name: str) -> None:
        self._name = name

    def create_origins(self) -> Sequence[InProcessCodeLocationOrigin]:
        target = LoadableTargetOrigin(module_name=__name__, attribute=self._name)
        return [InProcessCodeLocationOrigin(target, location_name=LOCATION)]


class _Launcher(SyncInMemoryRunLauncher):
    """Executes runs in this process when :meth:`work` is called, rather than within the query that launches them."""

    def __init__(self) -> None:
        super().__init__()
        self._launched: list[LaunchRunContext] = []

    def launch_run(self, context: LaunchRunContext) -> None:
        self._launched.append(context)

    def work(self) -> None:
        """Execute the runs that have been launched."""
        while self._launched:
            super().launch_run(self._launched.pop(0))


class Console:
    """A household's UI and daemon."""

    def __init__(self, home: Household, process: WorkspaceProcessContext, launcher: _Launcher) -> None:
        self.home, self.instance, self._process, self._launcher = home, home.instance, process, launcher
        self.simulator: Any = None
        self.world: Any = None
        self.repository = home.definitions.get_repository_def()

    def backfill(self, *assets: str, users: Sequence[str] | None = None, **params: Any) -> Backfill:
        """Materialize partitions of assets with *Launch backfill*, all of them without ``users``; wait for its end."""
        given: dict[str, Any] = {
            "assetSelection": [{"path": [one]} for one in assets],
            "tags": [{"key": "dagster/from_ui", "value": "true"}],
            **({"partitionNames": list(users), "fromFailure": False} if users is not None else {"allPartitions": True}),
            **params,
        }
        answer = self._ask(LAUNCH_BACKFILL, params=given)["launchPartitionBackfill"]
        assert answer["__typename"] == "LaunchBackfillSuccess", answer
        for _ in range(MOST_LOOKS):
            errors = [
                error for error in execute_backfill_iteration(self._process, logging.getLogger("daemon")) if error
            ]
            self._launcher.work()
            found = self.instance.get_backfill(answer["backfillId"])
            assert found is not None
            if found.status.value not in ("REQUESTED", "FAILING"):
                return Backfill(self, found, [str(error) for error in errors])
        raise AssertionError(f"still {found.status}")

    def materialize(self, *assets: str, partition: str | None = None) -> dg.DagsterRun:
        """Materialize assets with *Materialize*, which takes their checks along; return the run, which has ended."""
        graph = self.repository.asset_graph
        keys = [dg.AssetKey(one) for one in assets]
        checks = [check for key in keys for check in graph.get_check_keys_for_assets({key})]
        return self._launch(
            {
                "pipelineName": "__ASSET_JOB",
                "assetSelection": [{"path": list(key.path)} for key in keys],
                "assetCheckSelection": [
                    {"assetKey": {"path": list(one.asset_key.path)}, "name": one.name} for one in checks
                ],
            },
            partition,
        )

    def launch(self, job: str, *, partition: str | None = None) -> dg.DagsterRun:
        """Launch a job from its launchpad; return the run, which has ended."""
        return self._launch({"pipelineName": job}, partition)

    def launch_with(self, job: str, config: dict[str, Any]) -> None:
        """Launch a job with a run configuration, which may be refused."""
        self._ask(LAUNCH_RUN, params=self._params({"pipelineName": job}, runConfigData=config))
        self._launcher.work()

    def resume(self, run: dg.DagsterRun) -> dg.DagsterRun:
        """Execute a run again from where it failed; return the new one, which has ended."""
        given = {"parentRunId": run.run_id, "strategy": "FROM_FAILURE"}
        return self._started(self._ask(RESUME, run=given)["launchPipelineReexecution"])

    def checks_of(self, asset: str) -> dict[str, str | None]:
        """Return what the UI shows of the last result of each check of an asset."""
        key = {"path": [asset]}
        node = self._ask(CHECKS, key=key)["assetNodeOrError"]
        return {
            one["name"]: one["executionForLatestMaterialization"] and one["executionForLatestMaterialization"]["status"]
            for one in node["assetChecksOrError"]["checks"]
        }

    def _launch(self, selector: dict[str, Any], partition: str | None) -> dg.DagsterRun:
        tags = [{"key": "dagster/partition", "value": partition}] if partition is not None else []
        params = self._params(selector, executionMetadata={"tags": tags})
        return self._started(self._ask(LAUNCH_RUN, params=params)["launchPipelineExecution"])

    def _params(self, selector: dict[str, Any], **more: Any) -> dict[str, Any]:
        where = {"repositoryLocationName": LOCATION, "repositoryName": "__repository__"}
        return {"mode": "default", "runConfigData": "{}", "selector": where | selector, **more}

    def _started(self, answer: dict[str, Any]) -> dg.DagsterRun:
        assert answer["__typename"] == "LaunchRunSuccess", answer
        self._launcher.work()
        run = self.instance.get_run_by_id(answer["run"]["runId"])
        assert run is not None and run.is_finished
        return run

    def _ask(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = execute_dagster_graphql(self._process.create_request_context(), query, variables)
        assert not answer.errors, answer.errors
        return answer.data


class Backfill:
    """A backfill that has ended."""

    def __init__(self, console: Console, record: Any, errors: list[str]) -> None:
        self._console, self.status, self.errors = console, record.status.value, errors
        tag = dg.RunsFilter(tags={"dagster/backfill": record.backfill_id})
        self.runs = sorted(console.instance.get_run_records(tag), key=lambda one: one.storage_id)

    def events(self, asset: str) -> list[dg.AssetMaterialization]:
        """Return what its runs materialized of an asset."""
        return [
            one
            for record in self.runs
            for one in materialized(self._console.home, record.dagster_run.run_id)
            if one.asset_key == dg.AssetKey(asset)
        ]


def materialized(home: Household, run_id: str) -> list[dg.AssetMaterialization]:
    """Return all materializations of a run, in their order."""
    logged = home.instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    return [one.asset_materialization for one in logged if one.asset_materialization is not None]


def why_failed(home: Household, run_id: str) -> list[str]:
    """Return the reason of each step that failed in a run."""
    failed = home.instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    return [str(one.dagster_event.event_specific_data) for one in failed if one.dagster_event is not None]


@contextmanager
def console_of(home: Household) -> Iterator[Console]:
    """Open the UI and the daemon of a household."""
    name = f"household_{next(_numbers)}"
    _loaded[name] = home.definitions
    launcher = _Launcher()
    launcher.register_instance(home.instance)
    home.instance._run_launcher = launcher
    # No server is started; without a registry, Dagster asks the instance of the test for its folder.
    registry = GrpcServerRegistry(None, GrpcServerCommand.API_GRPC, 0, 0, wait_for_processes_on_shutdown=False)
    try:
        with (
            registry,
            WorkspaceProcessContext(home.instance, _Location(name), grpc_server_registry=registry) as process,
        ):
            yield Console(home, process, launcher)
    finally:
        del _loaded[name]
