"""The demo world on seven hosts, of which one is killed and one is cut off: the end is that of a single machine."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from aperture_dagster.build import all_jobs
from aperture_dagster.settings import load_settings
from aperture_dagster_tests.chaos import demo_home_in, differences, tables
from aperture_dagster_tests.hosts.deployment import (
    PASSWORD,
    REPOSITORY,
    START_SENSOR,
    TERMINATE,
    TMDB_LIMIT,
    Deployment,
    eventually,
)
from aperture_dagster_tests.hosts.network import Network, needs_network_namespaces
from aperture_dagster_tests.household import MAINTENANCE

USERS = 3


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment(tmp_path / "hosts", Network(), users=USERS)
    try:
        made.start()
        yield made
    finally:
        made.network.close()
        made.close()


def logos(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "logos").iterdir()}


def disturb(deployment: Deployment, run_id: str) -> None:
    """Kill the host of a run in the middle, and cut the host of the next attempt off."""
    network = deployment.network

    def host_of(attempt: int, requests: int) -> str:
        """Wait until an attempt has sent so many more requests to TMDb, and return its host."""
        eventually(lambda: len(deployment.attempts(run_id)) > attempt)
        eventually(lambda: deployment.attempts(run_id)[attempt][1:] > ("STARTED", ""))
        before = deployment.control("requests", service="tmdb")
        eventually(lambda: deployment.control("requests", service="tmdb") > before + requests, every=0.2)
        _, status, host = deployment.attempts(run_id)[attempt]
        assert status == "STARTED"
        return host

    killed = host_of(0, 40)
    deployment.hosts[killed].kill()
    lost = host_of(1, 40)
    assert lost != killed
    deployment.replace(killed)
    deployment.start_worker(killed)
    network.cut(deployment.hosts[lost])
    # It ends itself, before anybody else goes on with the run.
    eventually(lambda: "ends now: it cannot hold the run's lock" in deployment.log(lost), seconds=60)
    assert len(deployment.attempts(run_id)) == 2
    attempts = deployment.wait_for_success(run_id)
    assert [(status, host) for _, status, host in attempts] == [
        ("FAILURE", killed), ("FAILURE", lost), ("SUCCESS", killed)
    ]  # fmt: skip
    # The host that was cut off comes back by itself, and alone it carries all that follows.
    network.join(deployment.hosts[lost])
    deployment.hosts[killed].kill()


def cancel(deployment: Deployment, run_id: str) -> None:
    """Cancel a run in the middle, as the UI does."""
    before = deployment.control("requests", service="tmdb")
    eventually(lambda: deployment.control("requests", service="tmdb") > before + 20, every=0.2)
    assert deployment.ask(TERMINATE, run=run_id)["__typename"] == "TerminateRunSuccess"
    eventually(lambda: deployment.attempts(run_id)[-1][1] == "CANCELED", seconds=90)
    # Not marked only: it sends no more.
    before = deployment.control("requests", service="tmdb")
    time.sleep(3)
    assert deployment.control("requests", service="tmdb") == before


@pytest.mark.nightly(
    reason="it starts seven hosts, and waits for one of them to be given up",
    instead="hosts/test_run_lock.py::test_after_a_run_was_taken_over_its_old_process_writes_nothing",
)
@needs_network_namespaces
def test_a_deployment_that_loses_two_workers_ends_like_a_single_machine(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, value in deployment.environment_here().items():
        monkeypatch.setenv(name, value)
    settings, today = load_settings(), datetime.now(UTC).date()
    selector = REPOSITORY | {"sensorName": "failures_sensor"}
    assert deployment.ask(START_SENSOR, selector=selector)["__typename"] == "Sensor"
    workers: set[str] = set()
    with dg.DagsterInstance.get() as instance:
        for job in all_jobs(settings):
            if job.name in MAINTENANCE or job.scope == "newcomers":
                continue
            request = job.first_request(instance, settings)
            assert request is not None
            partition = {"dagster/partition": request.partition_key} if request.partition_key else {}
            run_id = deployment.launch(job.name, {**request.tags, **partition})
            if job.name == "enrich_metadata":
                disturb(deployment, run_id)
            if job.name == "generate_discovery_suggestions":
                cancel(deployment, run_id)
                run_id = deployment.launch(job.name, {**request.tags, **partition})
            workers |= {host for _, _, host in deployment.wait_for_success(run_id)}
    assert workers == {"worker-1", "worker-2"}
    # By the clock of TMDb, over both hosts.
    requests, seconds = TMDB_LIMIT
    assert 1 < deployment.control("most_in_window", service="tmdb", seconds=seconds) <= requests
    with deployment.database("aperture_dagster") as session:
        held = "SELECT count(*) FROM concurrency_slots WHERE run_id IS NOT NULL AND NOT deleted"
        assert session.execute(held).fetchone() == (0,)
        statuses = session.execute("SELECT status, count(*) FROM runs GROUP BY 1").fetchall()
        assert {status: count for status, count in statuses if status != "SUCCESS"} == {"FAILURE": 2, "CANCELED": 1}
        (messages,) = session.execute("SELECT string_agg(payload, '') FROM kombu_message").fetchone() or ("",)
    # Passwords do not travel, nor are they logged.
    texts = {name: deployment.log(name) for name in deployment.hosts} | {"messages": messages}
    leaks = [name for name, text in texts.items() if re.search("correct.{1,3}horse", text)]
    assert PASSWORD.startswith("correct") and leaks == []
    # Each host keeps only what is its own.
    for name in deployment.hosts:
        home = deployment.folder / name / "home"
        assert not home.exists() or not {"logos", "backups", "log-of-plays.json"} & {one.name for one in home.iterdir()}
    with deployment.database() as session:
        ended = tables(session) | {"logos": logos(deployment.shared)}
    for host in deployment.hosts.values():
        host.kill()
    with demo_home_in(tmp_path / "alone") as alone:
        alone.users = USERS
        alone.run()
        with alone.databases() as (product, _):
            expected = tables(product) | {"logos": logos(alone.home)}
    if datetime.now(UTC).date() != today:
        pytest.skip("The day has ended meanwhile: the plays of the two worlds have other dates.")
    different = differences(ended, expected)
    assert not different, "\n".join(different)
