"""Several hosts as containers on two networks: what happens when one of them is killed, cut off or started again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import pytest

from aperture_dagster_tests.deploy import engine
from aperture_dagster_tests.deploy.asking import PASSWORD, Lists, external, lists_of, took, wait_for_lists
from aperture_dagster_tests.deploy.conftest import OTHER_USER, Deploy
from aperture_dagster_tests.deploy.engine import PYTHON_BASE, Deployment, docker
from aperture_dagster_tests.waiting import wait_for

pytestmark = pytest.mark.containers

HEARTBEAT_SECONDS = 240
"""The longest time until the run of a lost worker has ended: the server gives up a connection of a host that has
fallen silent after a minute, Dagster's monitoring looks once a minute, and takes 15 seconds to be sure."""
FAULT = """
import sys, urllib.request
request = urllib.request.Request(f"http://127.0.0.1:9500/_control/{sys.argv[1]}", sys.argv[2].encode(), method="POST")
print(urllib.request.urlopen(request).read())
"""
SLOW = json.dumps({"service": "jellyfin", "path_contains": "Series", "kind": "slow", "delay_seconds": 20})
LAUNCH = """mutation { launchRun(executionParams: {
  selector: {repositoryLocationName: "aperture", repositoryName: "__repository__", jobName: "%s"},
  runConfigData: {} }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
ASK = """
import json, sys, urllib.request
body = json.dumps({"query": sys.argv[1]}).encode()
headers = {"Content-Type": "application/json"}
headers["Authorization"] = "Bearer " + open("/var/lib/aperture/front-door/operator.secret").read().strip()
request = urllib.request.Request("http://127.0.0.1:3000/operate/graphql", body, headers)
print(urllib.request.urlopen(request, timeout=60).read().decode())
"""
Say = Callable[[str], None]


@pytest.fixture(scope="module")
def hosts(deploy: Deploy, stand_ins: str) -> Iterator[Deployment]:
    """PostgreSQL, code server, webserver, daemon and three workers, with all lists."""
    engine.require_base(engine.POSTGRES_BASE, "postgres", engine.POSTGRES_BASE, PYTHON_BASE)
    settings = OTHER_USER | {"POSTGRES_PASSWORD": PASSWORD}
    with deploy("celery/compose.yaml", "hosts.yaml", **settings) as box:
        box.compose("create")
        docker("network", "connect", "--alias", "media-server", f"{box.name}_control", stand_ins)
        try:
            box.compose("up", "--detach")
            box.wait_until_healthy("postgres", "code", "webserver", "daemon")
            wait_for_lists(box, external, "code")
            yield box
        finally:
            docker("network", "disconnect", "--force", f"{box.name}_control", stand_ins)


def launch(box: Deployment, job: str) -> str:
    """Put a run into the queue, as the UI does; return its id."""
    answer = json.loads(box.run_in("webserver", "python", "-c", ASK, LAUNCH % job))
    return answer["data"]["launchRun"]["run"]["runId"]


def of_run(box: Deployment, run: str, column: str = "status") -> str:
    return external(box, f"SELECT {column} FROM runs WHERE run_id = '{run}'", "aperture_dagster")


def wait_for_status(box: Deployment, run: str, *statuses: str, seconds: float = 240) -> None:
    def reached() -> bool:
        return of_run(box, run) in statuses

    wait_for(reached, lambda: f"{of_run(box, run)}: {box.log('worker')}", seconds=seconds, pause=1)


def worker_of(box: Deployment, run: str) -> str:
    """Return the name of the container in which a run works: its host is the beginning of the container's id."""
    host = external(
        box, f"SELECT value FROM run_tags WHERE run_id = '{run}' AND key = 'aperture/host'", "aperture_dagster"
    )
    return docker("inspect", "--format", "{{.Name}}", host).removeprefix("/")


def retry_of(box: Deployment, run: str) -> str:
    return external(
        box, f"SELECT run_id FROM run_tags WHERE key = 'dagster/parent_run_id' AND value = '{run}'", "aperture_dagster"
    )


def test_hosts_give_the_lists_of_one_household(hosts: Deployment, undisturbed: Lists, say: Say):
    wait_for(lambda: lists_of(hosts, "code") == undisturbed, "other lists", seconds=300, pause=5)
    say("; ".join(hosts.memory().splitlines()))


@pytest.mark.parametrize("loss", ["killed", "cut off"])
def test_the_run_of_a_worker_that_is_lost_is_ended_and_started_again(
    hosts: Deployment, stand_ins: str, network: str, loss: str, say: Say
):
    docker("exec", stand_ins, "python", "-c", FAULT, "add_fault", SLOW)
    try:
        run = launch(hosts, "sync_series")
        wait_for_status(hosts, run, "STARTED")
        wait_for(lambda: external(hosts, f"SELECT 1 FROM run_tags WHERE run_id = '{run}' AND key = 'aperture/host'",
                                  "aperture_dagster"), "no host", seconds=30)  # fmt: skip
        worker = worker_of(hosts, run)
        if loss == "killed":
            docker("kill", "--signal", "KILL", worker)
        else:
            docker("network", "disconnect", network, worker)
        began = time.monotonic()
    finally:
        docker("exec", stand_ins, "python", "-c", FAULT, "clear_faults", "{}")
    wait_for_status(hosts, run, "FAILURE", seconds=HEARTBEAT_SECONDS)
    ended = took(began)
    again = wait_for(lambda: retry_of(hosts, run), "it is not started again", seconds=120, pause=1)
    wait_for_status(hosts, again, "SUCCESS")
    say(f"the run of a worker that was {loss} failed after {ended}, and was done again after {took(began)}")
    if loss == "killed":
        docker("start", worker)
    else:
        docker("network", "connect", network, worker)


def test_runs_go_on_when_the_broker_was_restarted_and_wait_while_no_worker_is_there(hosts: Deployment):
    docker("restart", "--time", "30", hosts.container("postgres"))
    hosts.wait_until_healthy("postgres", "code", "webserver", "daemon")
    wait_for_status(hosts, launch(hosts, "sync_users"), "SUCCESS")
    hosts.compose("stop", "--timeout", "60", "worker")
    run = launch(hosts, "sync_users")
    wait_for_status(hosts, run, "STARTING")
    # Longer than a worker needs to take it.
    assert not external(hosts, "SELECT pg_sleep(15)")
    assert of_run(hosts, run) == "STARTING"
    hosts.compose("start", "worker")
    wait_for_status(hosts, run, "SUCCESS")
    assert PASSWORD not in hosts.log("worker") + hosts.log("daemon")
