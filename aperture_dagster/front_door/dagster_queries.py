"""Dagster's own GraphQL, asked in this process: the same queries and mutations that its UI sends."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message

from aperture_dagster.model.errors import OperatorError

_JOBS = """query { repositoriesOrError { ... on RepositoryConnection { nodes { name location { name }
  jobs { name description }
  assetNodes { assetKey { path } jobNames }
  schedules { name pipelineName description cronSchedule executionTimezone scheduleState { id status }
    futureTicks(limit: 3) { results { timestamp } } } } }
  ... on PythonError { message } } }"""
_LAUNCH = """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }"""
_TERMINATE = """mutation ($run: String!) { terminateRun(runId: $run) { __typename
  ... on TerminateRunFailure { message } ... on PythonError { message } } }"""
_START = """mutation ($schedule: ScheduleSelector!) { startSchedule(scheduleSelector: $schedule) { __typename
  ... on PythonError { message } } }"""
_STOP = """mutation ($id: String!) { stopRunningSchedule(id: $id) { __typename ... on PythonError { message } } }"""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule of a job.

    Attributes:
        state_id: by which Dagster stops it.
        about: what it does and why then, or why it always skips.
        ticks: when it starts next, as seconds since 1970.
    """

    name: str
    state_id: str
    is_on: bool
    cron: str
    zone: str
    about: str
    ticks: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class DeclaredJob:
    """A job as Dagster knows it, with its repository and location, and the paths of the assets that it makes."""

    name: str
    about: str
    repository: str
    location: str
    schedule: Schedule | None
    assets: tuple[str, ...] = ()

    @property
    def _place(self) -> dict[str, str]:
        return {"repositoryName": self.repository, "repositoryLocationName": self.location}

    @property
    def selector(self) -> dict[str, str]:
        """What names the job in a mutation."""
        return {**self._place, "jobName": self.name}

    @property
    def schedule_selector(self) -> dict[str, str]:
        """What names its schedule in a mutation."""
        return {**self._place, "scheduleName": self.schedule.name if self.schedule is not None else ""}


class NotDone(OperatorError):
    """Dagster did not do what it was asked."""


class DagsterQueries:
    """Asks Dagster's web application, whose code server may be away for a moment.

    Args:
        app: Dagster's application.
        path: where its queries are, such as ``/operate/graphql``.
    """

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app, self._path = app, path

    async def jobs(self) -> list[DeclaredJob]:
        """Return all jobs. Raises NotDone if Dagster cannot say."""
        data = (await self._ask(_JOBS))["repositoriesOrError"]
        nodes = data.get("nodes")
        if not nodes:
            raise NotDone(str(data.get("message") or "Dagster has loaded no jobs yet.").splitlines()[0])
        return [job for node in nodes for job in _jobs_of(node)]

    async def launch(self, job: DeclaredJob, config: Mapping[str, Any]) -> str:
        """Request a run, and return its id. Raises NotDone."""
        params = {"selector": job.selector, "runConfigData": json.dumps(config)}
        done = await self._do(_LAUNCH, "launchRun", "LaunchRunSuccess", params=params)
        return done["run"]["runId"]

    async def stop(self, run_id: str) -> None:
        """Ask a run to stop; one that waits is canceled. Raises NotDone."""
        await self._do(_TERMINATE, "terminateRun", "TerminateRunSuccess", run=run_id)

    async def switch(self, job: DeclaredJob, *, on: bool) -> None:
        """Switch the schedule of a job on or off. Raises NotDone."""
        if job.schedule is None:
            raise NotDone(f"{job.name} has no schedule.")
        if on:
            await self._do(_START, "startSchedule", "ScheduleStateResult", schedule=job.schedule_selector)
        else:
            await self._do(_STOP, "stopRunningSchedule", "ScheduleStateResult", id=job.schedule.state_id)

    async def _do(self, mutation: str, name: str, success: str, **variables: Any) -> dict[str, Any]:
        done = (await self._ask(mutation, **variables))[name]
        if done["__typename"] != success:
            errors = [error["message"] for error in done.get("errors", ())]
            raise NotDone(" ".join([done.get("message") or done["__typename"], *errors]).splitlines()[0])
        return done

    async def _ask(self, query: str, **variables: Any) -> dict[str, Any]:
        body, sent = json.dumps({"query": query, "variables": variables}).encode(), False
        answer: list[bytes] = []
        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        headers.append((b"content-length", str(len(body)).encode()))
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": self._path, "raw_path": self._path.encode(), "root_path": "", "query_string": b"",
            "headers": headers, "client": ("127.0.0.1", 0), "server": ("127.0.0.1", 0),
        }  # fmt: skip

        async def receive() -> Message:
            nonlocal sent
            if sent:
                return {"type": "http.disconnect"}
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.body":
                answer.append(message.get("body", b""))

        await self._app(scope, receive, send)
        try:
            document = json.loads(b"".join(answer))
        except ValueError:
            raise NotDone("Dagster gives no usable answer.") from None
        if document.get("errors"):
            raise NotDone(f"Dagster refuses: {document['errors'][0]['message']}".splitlines()[0])
        return document["data"]


def _jobs_of(node: Mapping[str, Any]) -> list[DeclaredJob]:
    schedules = {one["pipelineName"]: _schedule(one) for one in node["schedules"]}
    assets: dict[str, list[str]] = defaultdict(list)
    for asset in node["assetNodes"]:
        for name in asset["jobNames"]:
            assets[name].append("/".join(asset["assetKey"]["path"]))
    return [
        DeclaredJob(
            job["name"],
            job["description"] or "",
            node["name"],
            node["location"]["name"],
            schedules.get(job["name"]),
            tuple(sorted(assets[job["name"]])),
        )
        for job in node["jobs"]
        if not job["name"].startswith("__")
    ]


def _schedule(found: Mapping[str, Any]) -> Schedule:
    state = found["scheduleState"]
    return Schedule(
        found["name"],
        state["id"],
        state["status"] == "RUNNING",
        found["cronSchedule"],
        found["executionTimezone"] or "UTC",
        found["description"] or "",
        tuple(tick["timestamp"] for tick in found["futureTicks"]["results"]),
    )
