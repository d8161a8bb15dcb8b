"""Unmodelled requests are refused with 501 and fail the test that sent them, rather than being ignored."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import pytest

from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster_tests.programs import run_program

pytest_plugins = ["pytester"]
PROJECT = Path(__file__).parents[2]
JELLYFIN = {"Authorization": 'MediaBrowser Token="demo-jellyfin-key"'}


@pytest.mark.requests_unmodelled
@pytest.mark.parametrize(
    ("path", "named"),
    [
        # A parameter, a value, and routes that would be taken for an id.
        ("tmdb/3/discover/tv?with_people=1&api_key=demo-tmdb-key", "with_people"),
        ("tmdb/3/movie/900000000?append_to_response=credits,nonsense&api_key=demo-tmdb-key", "nonsense"),
        ("tmdb/3/movie/upcoming?api_key=demo-tmdb-key", "/movie/upcoming"),
        ("jellyfin/Items?recursive=true&collapseBoxSetItems=false&fields=Trickplay", "trickplay"),
        ("jellyfin/Users/Public", "/Users/Public"),
    ],
)
def test_unmodelled_requests_are_refused_by_name(steady: RunningSimulator, path: str, named: str):
    answer = httpx.get(f"{steady.url}/{path}", headers=JELLYFIN if path.startswith("jellyfin") else None)
    assert answer.status_code == 501, answer.text
    assert named in answer.json()["error"] and path.partition("/")[0] in answer.json()["error"]


def test_operations_are_run_for_programs_on_this_machine_and_not_for_pages_in_a_browser(steady: RunningSimulator):
    url = f"{steady.url}/_control/requests"
    assert httpx.post(url, json={"service": "trakt"}).json() == {"result": 0}
    assert httpx.post(url, json={"service": "trakt"}, headers={"Origin": "http://example.org"}).status_code == 403
    assert httpx.post(url, json={"nonsense": 1}).status_code == 400
    assert httpx.post(f"{steady.url}/_control/settings").status_code == 404


PROGRAM = """
import subprocess, sys, httpx, pytest
from datetime import UTC, datetime
from aperture_dagster.simulator.worlds import odd_world
from aperture_dagster.simulator.server import running_simulator

def ask(root):
    assert httpx.get(root + "/tmdb/3/movie/upcoming", params={"api_key": "demo-tmdb-key"}).status_code == 501

def test_in_this_process():
    with running_simulator(odd_world(datetime.now(UTC))) as simulator:
        ask(simulator.url)

def test_in_another_process(tmp_path):
    command = [sys.executable, "-m", "aperture_dagster.simulator", "--world", "odd"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            ask(process.stdout.readline().split()[1])
        finally:
            process.kill()

@pytest.mark.requests_unmodelled
def test_on_purpose():
    test_in_this_process()

@pytest.mark.requests_unmodelled
def test_marked_without_need():
    pass

def test_that_asks_for_nothing():
    pass
"""


def test_an_unmodelled_request_fails_the_test_whichever_process_serves_it(pytester: pytest.Pytester):
    pytester.makeconftest("from aperture_dagster_tests.conftest import no_unmodelled_requests, unmodelled_log")
    pytester.makeini("[pytest]\nmarkers = requests_unmodelled: on purpose\n")
    pytester.makepyfile(PROGRAM)
    command = "import sys, pytest; sys.exit(pytest.main(['-v', '-p', 'no:cacheprovider', '-p', 'no:xdist']))"
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    ran = run_program(command, environment=environment, folder=pytester.path)
    errors = [line for line in ran.stdout.splitlines() if line.startswith("ERROR")]
    assert [line.partition("::")[2].partition(" ")[0] for line in errors] == [
        "test_in_this_process", "test_in_another_process", "test_marked_without_need",
    ], ran.stdout  # fmt: skip
    assert ran.stdout.count("AssertionError: the stand-in for tmdb does not model GET /movie/upcoming") >= 2
