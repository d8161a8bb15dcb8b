"""Call the operations of a third-party client on the stand-ins, and sort the outcomes.

A client's module has a function that yields a `Call` for each public operation of the client. An operation that cannot
work for another reason than a gap of a stand-in is named there with its reason.
"""

from __future__ import annotations

import inspect
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aperture_dagster.simulator.server import RunningSimulator, Simulator, running
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import BoxSet, CastMember, Play, World, WorldTitle, WorldUser
from aperture_dagster_tests.habits import NOW

UNMODELLED = 501


@dataclass(frozen=True)
class Call:
    """An operation of a client with its arguments filled in."""

    name: str
    run: Callable[[], object]


@dataclass(frozen=True)
class Client:
    """A client, and what it is tried on.

    Args:
        package: its name on the package index.
        service: the stand-in.
        licence: of the client.
        scope: which of its operations are tried.
        calls: makes the calls; called with the running stand-ins.
        reasons: why a call fails although the stand-in models what it asks for.
        settings: settings of the stand-ins.
    """

    package: str
    service: str
    licence: str
    scope: str
    calls: Callable[[RunningSimulator], Iterable[Call]]
    reasons: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of a call. ``gap`` is what the stand-in does not model, ``error`` is what else went wrong."""

    name: str
    gap: str = ""
    error: str = ""

    @property
    def works(self) -> bool:
        """Whether the client got what it asked for, and could read it."""
        return not self.gap and not self.error


@dataclass(slots=True)
class Answer:
    """An answer as far as it has been sent."""

    request: str
    status: int = 0
    content: bytes = b""


class Answers:
    """ASGI middleware that keeps the answers of the stand-ins."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application
        self.kept: list[Answer] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and keep each part of its answer before the client has it.

        A client that knows how long an answer is does not wait for the empty message that ends it.
        """
        answer = Answer(f"{scope['method']} {scope['path']}")
        self.kept.append(answer)

        async def sending(message: Message) -> None:
            answer.status = message.get("status", answer.status)
            answer.content += message.get("body", b"")
            await send(message)

        await self._application(scope, receive, sending)


def outcomes(client: Client) -> list[Outcome]:
    """Make all calls of a client, in order. Calls that send no request are left out."""
    # Some clients print what goes wrong.
    with serving(client.settings) as (simulator, answers), redirect_stdout(io.StringIO()):
        found = [_outcome(call, answers) for call in client.calls(simulator)]
    return [outcome for outcome in found if outcome is not None]


@contextmanager
def serving(given: Mapping[str, Any]) -> Iterator[tuple[RunningSimulator, Answers]]:
    """Serve a world with something of everything."""
    settings = SimulatorSettings(
        omdb_unknown_share=0.0, omdb_malformed_share=0.0, trakt_unknown_share=0.0, trakt_missing_ids_share=0.0,
        trakt_writes=(1_000, 1.0), jellyfin_version="10.11.11", **given,
    )  # fmt: skip
    simulator = Simulator(client_world(), settings)
    answers = Answers(simulator.app)
    simulator.app = answers
    with running(simulator) as served:
        served.state.play(Play("ada", "movie:1", NOW))
        served.state.play(Play("ada", "movie:2", NOW, completion=0.5))
        served.state.play(Play("ada", "series:1", NOW, season=1, episode=1))
        yield served, answers


def _outcome(call: Call, answers: Answers) -> Outcome | None:
    answers.kept.clear()
    error = ""
    try:
        call.run()
    except Exception as failure:
        error = f"{type(failure).__name__}: {failure}".partition("\n")[0][:200]
    if not answers.kept and not error:
        return None
    gap = next((_gap(one.content) for one in answers.kept if one.status == UNMODELLED), "")
    if gap:
        return Outcome(call.name, gap)
    refused = [f"{one.request} -> {one.status}" for one in answers.kept if one.status >= 400]
    return Outcome(call.name, "", error or ", ".join(refused))


def _gap(content: bytes) -> str:
    return json.loads(content)["error"].partition(" does not model ")[2]


def public_operations(owner: type, *, without: Iterable[str] = ()) -> list[str]:
    """Return the names of the public methods of a class, in order of the alphabet."""
    left_out = set(without)
    found = inspect.getmembers(owner, inspect.isfunction)
    return [name for name, _ in found if not name.startswith("_") and name not in left_out]


def filled(operation: Callable[..., object], arguments: Mapping[str, object]) -> Callable[[], object]:
    """Return an operation with its required parameters filled in by name. Raises KeyError for one without a value."""
    given = {
        name: arguments[name]
        for name, parameter in inspect.signature(operation).parameters.items()
        if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    }
    return lambda: operation(**given)


def client_world() -> World:
    """Make a small world in which everything has the facts that clients ask for."""
    film = WorldTitle(
        "movie:1", "movie", "First", year=2001, tmdb_id=101, imdb_id="tt0000101", genres=("Drama",),
        overview="A plot.", cast=(CastMember("Ann Actor", "Hero"),), directors=("Di Rector",), companies=("Stu Dio",),
        release_date="2001-02-03", collection=(55, "Firsts"), vote_average=7.5, vote_count=1_000, popularity=5.0,
        recommended_tmdb_ids=(102,), keywords=("heist",), runtime_minutes=100, official_rating="R",
    )  # fmt: skip
    second = WorldTitle(
        "movie:2", "movie", "Second", year=2005, tmdb_id=102, imdb_id="tt0000102", genres=("Drama",),
        runtime_minutes=90, collection=(55, "Firsts"),
    )  # fmt: skip
    new = WorldTitle("movie:3", "movie", "New", year=2020, tmdb_id=103, imdb_id="tt0000103", copies=0)
    show = WorldTitle(
        "series:1", "series", "Show", year=2010, tmdb_id=101, imdb_id="tt0000201", tvdb_id=77, networks=("Net Work",),
        cast=(CastMember("Lead", "Mayor"), CastMember("Next")), episodes_per_season=(2, 3), keywords=("town",),
        release_date="2010-01-10", runtime_minutes=45, official_rating="TV-14", genres=("Drama",),
    )  # fmt: skip
    users = [WorldUser("ada", is_administrator=True), WorldUser("bob")]
    return World("clients", [film, second, new, show], users, box_sets=[BoxSet("Firsts", ("movie:1", "movie:2"), 55)])
