"""Several hosts as containers on two networks: what happens when one of them is killed, cut off or started again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from aperture_dagster_tests.deploy.asking import PASSWORD, Lists, external, took, wait_for_lists, wait_for_the_same
from aperture_dagster_tests.deploy.engine import Deployment, docker
from aperture_dagster_tests.waiting import wait_for

pytestmark = [pytest.mark.containers, pytest.mark.not_in_ci]

HEARTBEAT_SECONDS = 240
"""The longest time until the run of a lost worker has ended: the server gives up a connection of a host that has
fallen silent after a minute, Dagster's monitoring looks once a minute, and takes 15 seconds to be sure."""
FAULT = """
import sys, urllib.request
request = urllib.request.Request(f"http://127.0.0.1:9500/_control/{sys.argv[1]}", sys.argv[2].encode(), method="POST")
print(urllib.request.urlopen(request).read())
"""
SLOW = json.dumps({"service": "jellyfin", "path_contains": "ncludeItemTypes", "kind": "slow", "delay_seconds": 20})
LAUNCH = """mutation { launchRun(executionParams: {
  selector: {repositoryLocationName: "aperture", repositoryName: "__repository__", jobName: "%s"},
  runConfigData: {} }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
ASK = """
import json, sys, urllib.request
body = json.dumps({"query": sys.argv[1]}).encode()
headers = {"Content-Type": "application/json"}
headers["Authorization"] = "Bearer " + open("/shared/front-door/operator.secret").read().strip()
request = urllib.request.Request("http://127.0.0.1:3000/operate/graphql", body, headers)
print(urllib.request.urlopen(request, timeout=60).read().decode())
"""
ENDED = ("SUCCESS", "FAILURE", "CANCELED")
Say = Callable[[str], None]


def launch(box: Deployment, job: str) -> str:
    """Put a run into the queue, as the UI does; return its id."""
    answer = json.loads(box.run_in("webserver", "python", "-c", ASK, LAUNCH % job))
    return answer["data"]["launchRun"]["run"]["runId"]


def of_run(box: Deployment, run: str, column: str = "status") -> str:
    return external(box, f"SELECT {column} FROM runs WHERE run_id = '{run}'", "aperture_dagster")


def story_of(box: Deployment, run: str) -> str:
    """Return the events of a run, and what the workers have printed."""
    events = f"SELECT timestamp::time(0), left(event, 600) FROM event_logs WHERE run_id = '{run}' ORDER BY id"
    return f"{of_run(box, run)}: {external(box, events, 'aperture_dagster')}\n{box.compose('logs', 'worker')}"


def wait_for_status(box: Deployment, run: str, *statuses: str, seconds: float = 240) -> None:
    def reached() -> bool:
        status = of_run(box, run)
        assert status in statuses or status not in ENDED, story_of(box, run)
        return status in statuses

    wait_for(reached, lambda: story_of(box, run), seconds=seconds, pause=1)


def worker_of(box: Deployment, run: str) -> str:
    """Return the container in which a run works, if it does yet: its host is the beginning of the container's id."""
    host = external(
        box, f"SELECT value FROM run_tags WHERE run_id = '{run}' AND key = 'aperture/host'", "aperture_dagster"
    )
    return docker("inspect", "--format", "{{.Name}}", host).removeprefix("/") if host else ""


def is_done_again(box: Deployment, run: str) -> bool:
    """Tell whether a retry of a run has succeeded; the first one may have been on a worker that was lost as well."""
    again = f"""SELECT count(*) FROM runs JOIN run_tags USING (run_id)
        WHERE key = 'dagster/root_run_id' AND value = '{run}' AND status = 'SUCCESS'"""
    return external(box, again, "aperture_dagster") == "1"


def start_and_find_worker(box: Deployment, job: str) -> tuple[str, str]:
    """Start a run; return its id, and the container in which it works."""
    run = launch(box, job)
    wait_for_status(box, run, "STARTED")
    return run, wait_for(lambda: worker_of(box, run), "no host", seconds=30, pause=0.5)


def test_hosts_give_the_lists_of_one_household(hosts: Deployment, undisturbed: Lists, say: Say):
    hosts.wait_until_healthy("postgres", "code", "webserver", "daemon")
    wait_for_lists(hosts, external, "code")
    wait_for_the_same(hosts, undisturbed, "code")
    say("; ".join(hosts.memory().splitlines()))


def test_the_runs_of_workers_that_are_lost_are_ended_and_started_again(
    hosts: Deployment, stand_ins: str, network: str, say: Say
):
    wait_for_lists(hosts, external, "code")
    docker("exec", stand_ins, "python", "-c", FAULT, "add_fault", SLOW)
    try:
        killed, first = start_and_find_worker(hosts, "sync_series")
        docker("kill", "--signal", "KILL", first)
        killed_at = time.monotonic()
        # The first worker takes nothing more, so this one is on another.
        cut_off, second = start_and_find_worker(hosts, "sync_movies")
        docker("network", "disconnect", network, second)
        cut_off_at = time.monotonic()
    finally:
        docker("exec", stand_ins, "python", "-c", FAULT, "clear_faults", "{}")
    for run, loss, began in ((killed, "killed", killed_at), (cut_off, "cut off", cut_off_at)):
        wait_for_status(hosts, run, "FAILURE", seconds=HEARTBEAT_SECONDS)
        ended = took(began)
        wait_for(lambda run=run: is_done_again(hosts, run), lambda run=run: story_of(hosts, run), seconds=240, pause=1)
        say(f"the run of a worker that was {loss} failed after {ended}, and was done again after {took(began)}")
    docker("start", first)
    docker("network", "connect", network, second)


def test_runs_go_on_when_the_broker_was_restarted_and_wait_while_no_worker_is_there(hosts: Deployment):
    docker("restart", "--time", "30", hosts.container("postgres"))
    hosts.wait_until_healthy("postgres", "code", "webserver", "daemon")
    wait_for_status(hosts, launch(hosts, "sync_users"), "SUCCESS")
    hosts.compose("stop", "--timeout", "60", "worker")
    run = launch(hosts, "sync_users")
    wait_for_status(hosts, run, "STARTING")
    # Longer than a worker needs to take it.
    assert not external(hosts, "SELECT pg_sleep(6)")
    assert of_run(hosts, run) == "STARTING"
    hosts.compose("start", "worker")
    wait_for_status(hosts, run, "SUCCESS")
    assert PASSWORD not in hosts.log("worker") + hosts.log("daemon")
