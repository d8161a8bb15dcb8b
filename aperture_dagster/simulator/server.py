"""All stand-ins as one ASGI program, and running it on loopback."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from aperture_dagster.simulator.asgi import Request, Response, Route, Service, Unmodelled, json_response
from aperture_dagster.simulator.control import ControlService
from aperture_dagster.simulator.embeddings import EmbeddingsService
from aperture_dagster.simulator.emby import EmbyService
from aperture_dagster.simulator.faults import FaultRule, spoil
from aperture_dagster.simulator.jellyfin import JellyfinService
from aperture_dagster.simulator.mdblist import MdblistService
from aperture_dagster.simulator.omdb import OmdbService
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.tmdb import TmdbImageService, TmdbService
from aperture_dagster.simulator.world import World

if TYPE_CHECKING:
    import uvicorn

JELLYFIN_MOUNT = "/jellyfin"
EMBY_MOUNT = "/emby"
TMDB_MOUNT = "/tmdb/3"
OPENAI_MOUNT = "/openai/v1"
OMDB_MOUNT = "/omdb"
MDBLIST_MOUNT = "/mdblist"
TMDB_IMAGES_MOUNT = "/tmdb-images"
CONTROL_MOUNT = "/_control"
_START_SECONDS = 30.0
_CHUNK = 64 * 1024

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Simulator:
    """Stand-ins for every service over one world. ``app`` is the ASGI program, ``state`` what may be done to it."""

    def __init__(self, world: World, settings: SimulatorSettings | None = None) -> None:
        self.state = SimulatorState(world, settings)
        self.app: Application = SimulatorApp(self.state)


class SimulatorApp:
    """Finds the service of a request, counts it, lets the faults act, and answers."""

    def __init__(self, state: SimulatorState) -> None:
        self._state = state
        self._control = ControlService(state)
        tmdb, images = TmdbService(state), TmdbImageService(state)
        omdb, mdblist = OmdbService(state), MdblistService(state)
        self._subjects: dict[str, Callable[[Request], Sequence[str]]] = {
            service.name: service.subjects for service in (tmdb, images, omdb, mdblist)
        }
        self._mounts: list[tuple[str, Service]] = [
            (TMDB_MOUNT, tmdb),
            (JELLYFIN_MOUNT, JellyfinService(state)),
            (EMBY_MOUNT, EmbyService(state)),
            (OPENAI_MOUNT, EmbeddingsService(state)),
            (OMDB_MOUNT, omdb),
            (MDBLIST_MOUNT, mdblist),
            (TMDB_IMAGES_MOUNT, images),
            (CONTROL_MOUNT, self._control),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI call; anything but HTTP is declined."""
        if scope["type"] != "http":
            return
        body = b"" if scope["method"] in ("GET", "HEAD") else await _read(receive)
        mount, service = self._service(scope["path"])
        if service is None:
            await _send(send, json_response({"error": "no service is mounted here"}, 404))
            return
        client = scope.get("client")
        raw_path = scope.get("raw_path") or scope["path"].encode()
        request = Request(
            scope["method"],
            scope["path"][len(mount) :] or "/",
            scope["query_string"].decode("latin-1"),
            scope["headers"],
            body,
            client[0] if client else "",
            raw_path.decode("latin-1")[len(mount) :] or "/",
        )
        response, fault = self._answer(service, request)
        drip = fault.delay() if fault is not None and fault.kind == "drip" else 0.0
        if fault is not None and not drip and (delay := fault.delay()) > 0:
            await asyncio.sleep(delay)
        await _send(send, response, cut_off=fault is not None and fault.kind == "cut_off", drip_seconds=drip)

    def _service(self, path: str) -> tuple[str, Service | None]:
        for mount, service in self._mounts:
            if path.startswith(mount) and path[len(mount) : len(mount) + 1] in ("", "/"):
                return mount, service
        return "", None

    def _answer(self, service: Service, request: Request) -> tuple[Response, FaultRule | None]:
        state = self._state
        with state.lock:
            route = service.find(request)
            state.counters.count(service.name, route.endpoint, request.target)
            fault = None if service is self._control else state.faults.take(service.name, request)
            if fault is not None and fault.kind == "status":
                # It fails before anything is done.
                response = spoil(Response(), fault, service)
            else:
                if fault is not None and fault.kind == "shift":
                    state.shift(leaves=fault.leaves, comes=fault.comes)
                response = self._handled(service, route, request)
                if fault is not None:
                    response = spoil(response, fault, service)
            cut_off = fault is not None and fault.kind == "cut_off"
            state.counters.count_status(service.name, 0 if cut_off else response.status)
            subjects = self._subjects.get(service.name)
            if subjects is not None:
                in_full = (fault is None or fault.kind == "slow") and response.status in (200, 404)
                state.counters.count_subjects(service.name, subjects(request), answered=in_full)
            return response, fault

    def _handled(self, service: Service, route: Route, request: Request) -> Response:
        try:
            return route.answer(request)
        except Unmodelled as asked:
            told = f"the stand-in for {service.name} does not model {asked}"
            self._state.counters.note_unmodelled(told)
            return json_response({"error": told}, 501)
        except Exception:
            logging.getLogger(__name__).exception("the stand-in %s failed at %s", service.name, route.endpoint)
            return service.error(500)


async def _read(receive: Receive) -> bytes:
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            break
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    return b"".join(chunks)


async def _send(send: Send, response: Response, *, cut_off: bool = False, drip_seconds: float = 0.0) -> None:
    headers = [] if response.padding else [(b"content-length", str(len(response.body)).encode())]
    if response.content_type is not None:
        headers.append((b"content-type", response.content_type.encode("latin-1")))
    headers += [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    if cut_off and response.body:
        # Returning before the announced length makes the server close the connection.
        await send({"type": "http.response.body", "body": response.body[: len(response.body) // 2], "more_body": True})
        return
    if drip_seconds:
        for place in range(len(response.body) - 1):
            await send({"type": "http.response.body", "body": response.body[place : place + 1], "more_body": True})
            await asyncio.sleep(drip_seconds)
        response = replace(response, body=response.body[-1:])
    await send({"type": "http.response.body", "body": response.body, "more_body": response.padding > 0})
    for sent in range(0, response.padding, _CHUNK):
        last = sent + _CHUNK >= response.padding
        body = bytes(min(_CHUNK, response.padding - sent))
        await send({"type": "http.response.body", "body": body, "more_body": not last})
        # Others are answered in between, also when the client reads as fast as this is written.
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class RunningSimulator:
    """A simulator that listens on loopback."""

    simulator: Simulator
    port: int

    @property
    def state(self) -> SimulatorState:
        """What may be done to the world while it is served."""
        return self.simulator.state

    @property
    def url(self) -> str:
        """The root of all services."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def jellyfin_url(self) -> str:
        """Base URL of the media server as Jellyfin."""
        return self.url + JELLYFIN_MOUNT

    @property
    def emby_url(self) -> str:
        """Base URL of the same media server as Emby."""
        return self.url + EMBY_MOUNT

    @property
    def tmdb_url(self) -> str:
        """Base URL of TMDb's API."""
        return self.url + TMDB_MOUNT

    @property
    def openai_url(self) -> str:
        """Base URL of the embeddings endpoint."""
        return self.url + OPENAI_MOUNT

    @property
    def omdb_url(self) -> str:
        """Base URL of OMDb."""
        return self.url + OMDB_MOUNT

    @property
    def mdblist_url(self) -> str:
        """Base URL of MDBList."""
        return self.url + MDBLIST_MOUNT

    @property
    def tmdb_images_url(self) -> str:
        """Base URL of TMDb's pictures, which a size and a path follow."""
        return self.url + TMDB_IMAGES_MOUNT

    @property
    def control_url(self) -> str:
        """Base URL of the control operations."""
        return self.url + CONTROL_MOUNT


def listen(port: int = 0) -> socket.socket:
    """A socket on loopback; port 0 takes any free one. Raises OSError when the port is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.close()
        raise
    return listener


def make_server(simulator: Simulator) -> uvicorn.Server:
    """A uvicorn server for a simulator, quiet: a cut connection is no error of ours."""
    import uvicorn

    config = uvicorn.Config(
        simulator.app,
        lifespan="off",
        log_level="critical",
        access_log=False,
        # Longer than clients keep idle connections: closing first would look like a fault that no one asked for.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
        backlog=2048,
    )
    return uvicorn.Server(config)


@contextmanager
def running_simulator(world: World, settings: SimulatorSettings | None = None) -> Iterator[RunningSimulator]:
    """Serve a world on a free port of loopback, in a thread, until the block ends.

    Raises RuntimeError when the server does not come up.
    """
    with running(Simulator(world, settings)) as simulator:
        yield simulator


@contextmanager
def running(simulator: Simulator) -> Iterator[RunningSimulator]:
    """The same for a simulator that was made before, for one whose ``app`` something was put around."""
    listener = listen()
    server = make_server(simulator)
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
        # Whoever still holds a connection is not waited for.
        server.should_exit = server.force_exit = True
        thread.join(timeout=10)
        listener.close()
