"""All stand-ins as one ASGI application, and running it on loopback."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router
from starlette.types import ASGIApp

from aperture_dagster.simulator.emby import EmbyService
from aperture_dagster.simulator.jellyfin import JellyfinService
from aperture_dagster.simulator.mdblist import MdblistService
from aperture_dagster.simulator.model_services import EmbeddingsService, LmStudioService, OllamaService
from aperture_dagster.simulator.omdb import OmdbService
from aperture_dagster.simulator.prices import PriceListService
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.seerr import SeerrService
from aperture_dagster.simulator.settings import (
    EMBY_PATH,
    JELLYFIN_PATH,
    LM_STUDIO_PATH,
    MDBLIST_PATH,
    OLLAMA_PATH,
    OMDB_PATH,
    OPENAI_PATH,
    PRICES_FILE,
    PRICES_PATH,
    SEERR_PATH,
    TMDB_IMAGES_PATH,
    TMDB_PATH,
    TRAKT_AUTH_PATH,
    TRAKT_PATH,
    SimulatorSettings,
)
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.tmdb import TmdbImageService, TmdbService
from aperture_dagster.simulator.trakt.app import TraktAuthService, TraktService
from aperture_dagster.simulator.world import CastMember, Play, World, WorldTitle, WorldUser

# Control a running simulator from other processes: ``POST /_control/OPERATION``; from this machine only.
#
# An operation is a public method of `SimulatorState`, and the body its arguments as a JSON object. The response is
# ``{"result": value}``, or ``{"error": text}`` with 400 for wrong arguments and 404 for an unknown user, title or the
# like.


_LOOPBACK = ("127.0.0.1", "::1", "testclient")


def control_route(state: SimulatorState) -> Route:
    """Build the route that runs the operations of a state."""

    async def control(request: Request) -> Response:
        if request.client is None or request.client.host not in _LOOPBACK or "origin" in request.headers:
            # A page in a browser sends its origin.
            return JSONResponse({"error": "from this machine only"}, 403)
        name = request.path_params["operation"]
        operation = getattr(state, name, None)
        if operation is None or not getattr(operation, "is_operation", False):
            return JSONResponse({"error": f"no operation {name!r}"}, 404)
        try:
            arguments = await request.json() if await request.body() else {}
            result = operation(**_PARSERS.get(name, dict)(arguments))
            return JSONResponse({"result": result})
        except KeyError as error:
            return JSONResponse({"error": f"unknown: {error.args[0]}"}, 404)
        except (TypeError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 400)

    return Route("/_control/{operation}", control, methods=["POST"])


def _parse_play(body: dict[str, Any]) -> Play:
    played_at = datetime.fromisoformat(body["played_at"]) if "played_at" in body else datetime.now(UTC)
    return Play(**{**body, "played_at": played_at if played_at.tzinfo else played_at.replace(tzinfo=UTC)})


def _parse_title(body: dict[str, Any]) -> WorldTitle:
    """Parse a title; its cast as names or as ``{name, character}``."""
    facts: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in body.items()}
    cast = (
        CastMember(**member) if isinstance(member, dict) else CastMember(member) for member in facts.pop("cast", ())
    )
    return WorldTitle(cast=tuple(cast), **facts)


_PARSERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "add_fault": lambda body: {"rule": FaultRule(**body)},
    "add_title": lambda body: {"title": _parse_title(body)},
    "add_user": lambda body: {"user": WorldUser(**body)},
    "play_item": lambda body: body | ({"at": datetime.fromisoformat(body["at"])} if body.get("at") else {}),
    "play": lambda body: {"play": _parse_play(body)},
}
"""Operations whose arguments are the fields of one object."""

_START_SECONDS = 30.0


class Simulator:
    """Stand-ins for every service over one world. ``app`` is the ASGI application, ``state`` what can change."""

    def __init__(self, world: World, settings: SimulatorSettings | None = None) -> None:
        self.state = SimulatorState(world, settings)
        omdb = OmdbService(self.state)
        self.app: ASGIApp = Router(
            [
                Mount(TMDB_PATH, TmdbService(self.state)),
                Mount(JELLYFIN_PATH, JellyfinService(self.state)),
                Mount(EMBY_PATH, EmbyService(self.state)),
                Mount(OPENAI_PATH, EmbeddingsService(self.state)),
                Mount(OLLAMA_PATH, OllamaService(self.state)),
                Mount(LM_STUDIO_PATH, LmStudioService(self.state)),
                Mount(PRICES_PATH, PriceListService(self.state)),
                Mount(OMDB_PATH, omdb),
                # Some clients leave out the slash.
                Route(OMDB_PATH, omdb),
                Mount(MDBLIST_PATH, MdblistService(self.state)),
                Mount(TMDB_IMAGES_PATH, TmdbImageService(self.state)),
                Mount(TRAKT_AUTH_PATH, TraktAuthService(self.state)),
                Mount(TRAKT_PATH, TraktService(self.state)),
                Mount(SEERR_PATH, SeerrService(self.state)),
                control_route(self.state),
            ],
            redirect_slashes=False,
        )


class _Url:
    """The base URL of a service of a running simulator."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __get__(self, running: RunningSimulator, owner: type | None = None) -> str:
        return running.url + self._path


@dataclass(frozen=True, slots=True)
class RunningSimulator:
    """A simulator that listens on loopback."""

    simulator: Simulator
    port: int

    @property
    def state(self) -> SimulatorState:
        """The state, with the operations that change it."""
        return self.simulator.state

    @property
    def url(self) -> str:
        """The root of all services."""
        return f"http://127.0.0.1:{self.port}"

    jellyfin_url = _Url(JELLYFIN_PATH)
    emby_url = _Url(EMBY_PATH)
    """Base URL of Emby, which serves the same items."""
    tmdb_url = _Url(TMDB_PATH)
    tmdb_images_url = _Url(TMDB_IMAGES_PATH)
    """Base URL of TMDb's pictures, to be followed by size and path."""
    openai_url = _Url(OPENAI_PATH)
    omdb_url = _Url(OMDB_PATH)
    mdblist_url = _Url(MDBLIST_PATH)
    trakt_url = _Url(TRAKT_PATH)
    seerr_url = _Url(SEERR_PATH)
    """Address of Seerr, without the path of its API."""
    ollama_url = _Url(OLLAMA_PATH + "/v1")
    lm_studio_url = _Url(LM_STUDIO_PATH + "/v1")
    prices_url = _Url(PRICES_PATH + PRICES_FILE)


def listen(port: int = 0) -> socket.socket:
    """Bind a socket on loopback; port 0 takes any free one. Raises OSError when the port is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.close()
        raise
    return listener


class _ThreadServer(uvicorn.Server):
    """A server in a thread, which another thread stops at once: uvicorn's own takes up to 0.2 s to notice."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()

    async def main_loop(self) -> None:
        """Serve until :meth:`stop`."""
        self._loop = asyncio.get_running_loop()
        await self.on_tick(0)
        if not self.should_exit:
            await self._stopped.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close all sockets, without waiting for connections."""
        for server in self.servers:
            server.close()
        for one in sockets or []:
            one.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        # Connections are closed in the next turn of the loop.
        await asyncio.sleep(0)

    def stop(self) -> None:
        """Stop serving; called in another thread."""
        self.should_exit = self.force_exit = True
        if self._loop is not None:
            # It is closed if the server has failed.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stopped.set)


def make_server(simulator: Simulator) -> uvicorn.Server:
    """Make a uvicorn server that does not log: a connection that is cut off on demand is not an error."""
    return uvicorn.Server(_config(simulator))


def _config(simulator: Simulator) -> uvicorn.Config:
    return uvicorn.Config(
        simulator.app,
        lifespan="off",
        log_level="critical",
        access_log=False,
        # The stand-ins send their own: their clock can be moved.
        date_header=False,
        # Longer than clients keep idle connections: closing them first would look like a fault.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
        backlog=2048,
    )


@contextmanager
def running_simulator(world: World, settings: SimulatorSettings | None = None) -> Iterator[RunningSimulator]:
    """Serve a world on a free port of loopback, in a thread, until the block ends.

    Raises RuntimeError when the server does not come up.
    """
    with running(Simulator(world, settings)) as simulator:
        yield simulator


@contextmanager
def running(simulator: Simulator) -> Iterator[RunningSimulator]:
    """Serve an existing simulator, such as one whose ``app`` was wrapped. See `running_simulator`."""
    listener = listen()
    server = _ThreadServer(_config(simulator))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="simulator", daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the simulator did not start")
            time.sleep(0.005)
        yield RunningSimulator(simulator, listener.getsockname()[1])
    finally:
        server.stop()
        thread.join(timeout=10)
        simulator.state.close()
        listener.close()
