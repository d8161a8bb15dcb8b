"""Worlds and running stand-ins for the tests in this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from aperture_dagster.simulator.server import RunningSimulator, running_simulator
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import World
from aperture_dagster.simulator.worlds import odd_world
from aperture_dagster_tests.simulator.published import ROOT, Server

NOW = datetime(2026, 5, 17, 15, 30, tzinfo=UTC)
Serve = Callable[..., RunningSimulator]
Control = Callable[..., Any]
MakeServer = Callable[..., Server]


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a function that serves a world (default: the odd one) with some settings until the test ends."""
    with ExitStack() as stack:

        def start(world: World | None = None, **settings: Any) -> RunningSimulator:
            chosen = SimulatorSettings(**settings)
            return stack.enter_context(running_simulator(world or odd_world(NOW), chosen))

        yield start


@pytest.fixture(scope="session")
def steady() -> Iterator[RunningSimulator]:
    """The odd world, shared by tests that do not change it."""
    with running_simulator(odd_world(NOW)) as running:
        yield running


@pytest.fixture(scope="session")
def steady_old() -> Iterator[RunningSimulator]:
    """The odd world on an old version of the media server, shared by tests that do not change it."""
    with running_simulator(odd_world(NOW), SimulatorSettings(jellyfin_version="10.9.11")) as running:
        yield running


@pytest.fixture
def reader(steady: RunningSimulator) -> Iterator[httpx.Client]:
    """A read-only client of the shared media server."""
    headers = {"Authorization": f'MediaBrowser Token="{steady.state.settings.jellyfin_key}"'}
    with httpx.Client(base_url=steady.jellyfin_url, headers=headers) as client:
        yield client


@pytest.fixture
def simulator(serve: Serve) -> RunningSimulator:
    """The odd world, served with the default settings."""
    return serve()


@pytest.fixture
def jellyfin(simulator: RunningSimulator) -> Iterator[httpx.Client]:
    headers = {"Authorization": f'MediaBrowser Token="{simulator.state.settings.jellyfin_key}"'}
    with httpx.Client(base_url=simulator.jellyfin_url, headers=headers) as client:
        yield client


@pytest.fixture
def tmdb(simulator: RunningSimulator) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {simulator.state.settings.tmdb_key}"}
    with httpx.Client(base_url=simulator.tmdb_url, headers=headers) as client:
        yield client


@pytest.fixture
def control(simulator: RunningSimulator) -> Iterator[Control]:
    """Return a function that runs an operation over HTTP and returns its result."""
    with httpx.Client(base_url=simulator.control_url) as client:

        def run(operation: str, status: int = 200, **arguments: object) -> Any:
            response = client.post(f"/{operation}", json=arguments)
            assert response.status_code == status, response.text
            return response.json().get("result")

        yield run


@pytest.fixture
def make(serve: Serve, tmp_path: Path) -> MakeServer:
    """Return a function that serves the odd world, with a library of an empty folder unless ``create`` is false."""

    def start(version: str = "12.0.0", kind: str = "movies", create: bool = True, **settings: Any) -> Server:
        here = tmp_path / version
        here.mkdir()
        chosen = {"media_server": "emby"} if version == "emby" else {"jellyfin_version": version}
        server = Server(serve(volumes={ROOT: here}, **chosen, **settings), here)
        if create:
            assert server.create(kind=kind).status_code == 204
        return server

    return start
