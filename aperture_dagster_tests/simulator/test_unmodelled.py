"""Unmodelled requests are refused with 501 and fail the test that sent them, rather than being ignored."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from starlette.responses import Response
from starlette.routing import Match

from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster.simulator.service import Operation, Request, StandIn
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.world import World

pytest_plugins = ["pytester"]
AGENT = {"User-Agent": "a test"}
PROJECT = Path(__file__).parents[2]


@pytest.fixture
def keys(steady: RunningSimulator) -> dict[str, dict[str, str]]:
    settings = steady.state.settings
    return {
        "tmdb": {"api_key": settings.tmdb_key},
        "omdb": {"apikey": settings.omdb_key},
        "mdblist": {"apikey": settings.mdblist_key},
    }


@pytest.mark.requests_unmodelled
@pytest.mark.parametrize(
    ("path", "named"),
    [
        # Parameters.
        ("tmdb/3/movie/900000000?region=DE", "region"),
        ("tmdb/3/discover/movie?include_video=true", "include_video"),
        # Of series, the real service ignores it, and the list is too long.
        ("tmdb/3/discover/tv?with_people=1", "with_people"),
        ("omdb/?s=Alien", "s"),
        ("omdb/?i=tt0000001&Season=1", "season"),
        # Values.
        ("tmdb/3/movie/900000000?append_to_response=credits,nonsense", "nonsense"),
        ("tmdb/3/discover/tv?sort_by=name.asc", "name.asc"),
        ("tmdb/3/discover/movie?with_genres=35|80", "with_genres"),
        ("tmdb/3/find/1?external_source=facebook_id", "facebook_id"),
        ("omdb/?i=tt0000001&r=xml", "r=xml"),
        # Routes, also those that would be taken for an id.
        ("tmdb/3/movie/upcoming", "/movie/upcoming"),
        ("tmdb/3/tv/on_the_air", "/tv/on_the_air"),
        ("tmdb/3/movie/900000000/account_states", "account_states"),
        ("tmdb/3/search/movie", "/search/movie"),
        ("mdblist/lists/1/changes", "/lists/1/changes"),
    ],
)
def test_unmodelled_requests_are_refused_by_name(
    steady: RunningSimulator, keys: dict[str, dict[str, str]], path: str, named: str
) -> None:
    """parameters, values and routes that a stand-in does not model were ignored."""
    service = path.partition("/")[0]
    url = httpx.URL(f"{steady.url}/{path}")
    answer = httpx.get(url.copy_merge_params(keys[service]), headers=AGENT)
    assert answer.status_code == 501, answer.text
    assert named in answer.json()["error"]
    assert service in answer.json()["error"]


@pytest.mark.requests_unmodelled
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("mdblist/imdb/movie?apikey=demo-mdblist-key", {"ids": [], "provider": "imdb"}),
        ("mdblist/imdb/movie?apikey=demo-mdblist-key", {"ids": [], "append_to_response": ["extra"]}),
        ("mdblist/rating/movie/imdb?apikey=demo-mdblist-key", {}),
        ("openai/v1/embeddings", {"model": "demo-embedding", "input": "a", "truncate": True}),
        ("openai/v1/chat/completions", {}),
    ],
)
def test_unmodelled_fields_of_a_body_are_refused(steady: RunningSimulator, path: str, body: dict[str, object]) -> None:
    """the same for the fields of a body."""
    headers = AGENT | {"Authorization": "Bearer demo-openai-key"}
    assert httpx.post(f"{steady.url}/{path}", json=body, headers=headers).status_code == 501


@pytest.mark.requests_unmodelled
@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE"])
def test_other_methods_of_a_known_path_are_refused(
    steady: RunningSimulator, keys: dict[str, dict[str, str]], method: str
) -> None:
    url = f"{steady.tmdb_url}/configuration"
    assert httpx.request(method, url, params=keys["tmdb"]).status_code == 501


def test_a_literal_path_takes_precedence_over_a_placeholder() -> None:
    class Tiny(StandIn):
        name = "tiny"

        def error(self, status: int) -> Response:
            return Response(status_code=status)

    def respond(_: Request, **parts: str) -> Response:
        return Response()

    operations = [Operation("GET", path, respond) for path in ("/titles/{title_id}", "/titles/popular")]
    scope = {"type": "http", "method": "GET", "root_path": "", "path": "/titles/popular"}
    stand_in = Tiny(SimulatorState(World("empty")), operations)
    first = next(one for one in stand_in.operations if one.matches(scope)[0] is Match.FULL)
    assert first.path == "/titles/popular"


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


def test_an_unmodelled_request_fails_the_test_whichever_process_serves_it(pytester: pytest.Pytester) -> None:
    """no test noticed what a stand-in ignored."""
    pytester.makeconftest("from aperture_dagster_tests.conftest import no_unmodelled_requests, unmodelled_log")
    pytester.makeini("[pytest]\nmarkers = requests_unmodelled: on purpose\n")
    pytester.makepyfile(PROGRAM)
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", "no:xdist"]
    ran = subprocess.run(
        command, cwd=pytester.path, capture_output=True, text=True, timeout=300,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
    )  # fmt: skip
    errors = [line for line in ran.stdout.splitlines() if line.startswith("ERROR")]
    assert [line.partition("::")[2].partition(" ")[0] for line in errors] == [
        "test_in_this_process", "test_in_another_process", "test_marked_without_need",
    ], ran.stdout  # fmt: skip
    assert ran.stdout.count("AssertionError: the stand-in for tmdb does not model GET /movie/upcoming") >= 2
