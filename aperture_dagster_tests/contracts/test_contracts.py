"""Requests of the client of TMDb and answers of its stand-in match the published specification of June 2026.

Jellyfin and Seerr are held to recordings instead, and Emby's specification is not available. The specifications in the
repository hold what the tests need, without anything that may not be passed on.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, MutableMapping
from contextlib import closing, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from aperture_dagster.enrichment.listed import DiscoverFilters
from aperture_dagster.enrichment.tmdb.client import Tmdb
from aperture_dagster.http.errors import BadAnswer, NotFound
from aperture_dagster.simulator.demo_world import load_demo_world
from aperture_dagster.simulator.server import RunningSimulator, Simulator, running
from aperture_dagster.simulator.settings import TMDB_PATH, SimulatorSettings
from aperture_dagster.simulator.worlds import odd_world
from aperture_dagster_tests.conftest import SHARED_SPECS
from tools.cut_specifications import SOURCES, as_text, cut

NOW = datetime(2026, 5, 17, 15, 30, tzinfo=UTC)
SPECIFICATIONS = Path(__file__).parent / "specifications"
# The specification's paths begin where its server's address ends, and hold the version.
MOUNT = TMDB_PATH.removesuffix("/3")
SPECIFICATION: dict[str, Any] = json.loads((SPECIFICATIONS / "tmdb.json").read_bytes())
TYPES: dict[str, Any] = {
    "string": str, "boolean": bool, "integer": int, "number": int | float, "array": list, "object": dict,
}  # fmt: skip
ALLOWED = {
    # Only a header is declared; a version 3 key goes into the query.
    r"\S+ query api_key: undeclared",
    # Declared for the videos of a series alone. In the notes on changes of the API of July 2021 it is for all videos.
    r"/3/(movie/\{movie_id\}|tv/\{series_id\}) query include_video_language: undeclared",
    # The answer has pages, and says how many; only the parameter is not declared.
    r"/3/trending/\S+ query page: undeclared",
    # Countries, and kinds of offers, are keys; the example that the specification was made from had some of them.
    r"\S+/watch/providers results\.[A-Z]{2}(\.(flatrate|free|ads|rent|buy))?: (absent|undeclared)",
    # They were empty in that example.
    r"/3/movie/\{movie_id\}/recommendations \w+: undeclared",
    # Averages were whole.
    r"/3/\S*tv\S* \S*vote_average: is 'float', not integer",
}
"""What differs on purpose, by operation and place."""


@dataclass(frozen=True)
class Exchange:
    """A request and its answer; the path is as in the specification."""

    path: str
    query: list[tuple[str, str]]
    status: int
    content: Any


class Recorder:
    """ASGI middleware that records every exchange with the stand-in of TMDb."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application
        self.exchanges: list[Exchange] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, body = 0, bytearray()

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)
            body.extend(message.get("body", b""))
            if message["type"] == "http.response.body" and scope["path"].startswith(f"{MOUNT}/"):
                query = parse_qsl(scope["query_string"].decode(), keep_blank_values=True)
                self.exchanges.append(Exchange(scope["path"].removeprefix(MOUNT), query, status, json.loads(body)))
            await send(message)

        await self._application(scope, receive, sending)


def read_everything(served: RunningSimulator, called: set[str], *, every: int) -> None:
    """Read every n-th title with everything about it, lists, and unknown ids."""
    with closing(Tmdb(served.tmdb_url, served.state.settings.tmdb_key)) as tmdb:

        def call(name: str, *arguments: Any, **options: Any) -> Any:
            called.add(name)
            return getattr(tmdb, name)(*arguments, **options)

        call("check")
        titles = [title for title in served.state.titles.values() if title.tmdb_id is not None][::every]
        for title in titles:
            # A blank title is refused by the client: its answer is recorded all the same.
            with nullcontext() if title.title.strip() else pytest.raises(BadAnswer):
                call("title", title.media_type, title.tmdb_id)
                call("pool_title", title.media_type, title.tmdb_id)
            call("find", title.media_type, imdb_id=title.imdb_id, tvdb_id=title.tvdb_id)
            if title.title.strip():
                call("search", title.media_type, title.title, title.year)
        known = (title for title in served.state.titles.values() if title.media_type == "series" and title.imdb_id)
        series = next(known, None)
        episode = f"{series.imdb_id}101" if series is not None else "tt0000001101"
        assert call("series_of_episode", episode) == (series.tmdb_id if series is not None else None)
        for media_type in ("movie", "series"):
            for name in ("popular", "top_rated", "trending"):
                call("listed", media_type, name, 2)
            filters = DiscoverFilters(genre_ids=(18, 35), keyword_ids=(1,), person_ids=(2,), language="en")
            for one in (filters, DiscoverFilters(within_days=90)):
                call("discover", media_type, one, 2, today=served.state.today.date())
        with pytest.raises(NotFound):
            call("title", "movie", 1)


@pytest.fixture(scope="module")
def recording() -> tuple[list[Exchange], set[str]]:
    """The traffic of the client with two worlds, and the methods that were called."""
    exchanges: list[Exchange] = []
    called: set[str] = set()
    version_3_key = SimulatorSettings(tmdb_key="0123456789abcdef0123456789abcdef")
    for world, settings, every in ((odd_world(NOW), None, 1), (load_demo_world(now=NOW, users=1), version_3_key, 12)):
        simulator = Simulator(world, settings)
        recorder = simulator.app = Recorder(simulator.app)
        with running(simulator) as served:
            read_everything(served, called, every=every)
        exchanges += recorder.exchanges
    return exchanges, called


def operation_of(path: str) -> tuple[str, dict[str, Any]]:
    """Return the template of a path, and what is specified for it."""
    known = SPECIFICATION["paths"]
    patterns = {one: re.sub(r"\{\w+\}", "[^/]+", one) for one in known}
    found = path if path in known else next((one for one, form in patterns.items() if re.fullmatch(form, path)), None)
    assert found, f"{path} is not in the specification"
    return found, known[found]["get"]


def schema_of(operation: dict[str, Any]) -> dict[str, Any]:
    return operation["responses"]["200"]["content"]["application/json"]["schema"]


def wrong_query(exchange: Exchange) -> Iterator[str]:
    """Name parameters that are not declared, or have values that they cannot have."""
    name, operation = operation_of(exchange.path)
    declared = {one["name"]: one["schema"] for one in operation.get("parameters", ()) if one["in"] == "query"}
    for parameter, value in exchange.query:
        schema = declared.get(parameter)
        if schema is None:
            yield f"{name} query {parameter}: undeclared"
        elif schema.get("type") == "integer" and not value.isdigit():
            yield f"{name} query {parameter}: {value!r} is no number"
        elif "enum" in schema and value not in schema["enum"]:
            yield f"{name} query {parameter}: {value!r} is none of its values"


def wrong_values(schema: dict[str, Any], value: Any, place: str = "") -> Iterator[str]:
    """Name fields that are not declared, missing, or of another type. Any may be null, which is not declared either."""
    while "$ref" in schema:
        schema = SPECIFICATION["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    expected = schema.get("type")
    if value is None or expected is None:
        return
    if not isinstance(value, TYPES[expected]) or (isinstance(value, bool) and expected != "boolean"):
        yield f"{place}: is {type(value).__name__!r}, not {expected}"
    elif expected == "array":
        for one in value:
            yield from wrong_values(schema.get("items", {}), one, f"{place}.*".lstrip("."))
    elif expected == "object" and "properties" in schema:
        for name in {*schema["properties"], *value}:
            where = f"{place}.{name}".lstrip(".")
            if name not in value or name not in schema["properties"]:
                yield f"{where}: {'absent' if name not in value else 'undeclared'}"
            else:
                yield from wrong_values(schema["properties"][name], value[name], where)


def wrong_answer(exchange: Exchange) -> Iterator[str]:
    """Compare an answer, and each of its appended parts, which the endpoint of that part describes."""
    appended = dict(exchange.query).get("append_to_response", "").split(",")
    parts = {exchange.path: {name: value for name, value in exchange.content.items() if name not in appended}}
    # A part by itself does not repeat the id.
    parts |= {f"{exchange.path}/{one}": exchange.content[one] for one in appended if one}
    for path, content in parts.items():
        name, operation = operation_of(path)
        for one in wrong_values(schema_of(operation), content):
            if path == exchange.path or one != "id: absent":
                yield f"{name} {one}"


def unexplained(differences: Iterator[str]) -> set[str]:
    return {one for one in differences if not any(re.fullmatch(pattern, one) for pattern in ALLOWED)}


def test_every_method_of_the_client_was_used(recording: tuple[list[Exchange], set[str]]):
    methods = {name for name, _ in inspect.getmembers_static(Tmdb, inspect.isfunction) if not name.startswith("_")}
    # What ends requests sends none.
    assert methods - {"cancel", "close"} <= recording[1]


def test_requests_of_the_client_are_specified(recording: tuple[list[Exchange], set[str]]):
    wrong = {one for exchange in recording[0] for one in unexplained(wrong_query(exchange))}
    assert not wrong, "\n".join(sorted(wrong))
    exchange = next(one for one in recording[0] if one.path == "/3/discover/movie")
    for given in (("page", "many"), ("with_genre", "18"), ("sort_by", "luck")):
        assert unexplained(wrong_query(Exchange(exchange.path, [given], 200, {})))


def test_answers_of_the_stand_in_are_specified_and_errors_have_the_form_of_tmdbs(
    recording: tuple[list[Exchange], set[str]],
):
    answers = [exchange for exchange in recording[0] if exchange.status == 200]
    wrong = {one for exchange in answers for one in unexplained(wrong_answer(exchange))}
    assert not wrong, "\n".join(sorted(wrong))
    film = next(one for one in answers if one.path.startswith("/3/movie/") and "title" in one.content)
    for odd in ({"titel": "Alien"}, {"id": "348"}, {"genres": [{"id": 1}]}):
        assert unexplained(wrong_answer(Exchange(film.path, film.query, 200, film.content | odd)))
    for exchange in recording[0]:
        if exchange.status != 200:
            assert set(exchange.content) == {"success", "status_code", "status_message"}
            assert exchange.content["success"] is False and exchange.content["status_code"] in (6, 34)


def members(content: Any) -> list[tuple[str, Any]]:
    """Return all members of all objects in a document."""
    if isinstance(content, dict):
        inside = [member for value in content.values() for member in members(value)]
        return [*content.items(), *inside]
    return [member for value in content for member in members(value)] if isinstance(content, list) else []


@pytest.mark.parametrize("service", SOURCES)
def test_a_specification_is_what_the_tool_cuts(service: str) -> None:
    text = (SPECIFICATIONS / f"{service}.json").read_text(encoding="utf-8")
    assert len(text) < 2**20
    assert as_text(cut(service, json.loads(text))) == text
    full = SHARED_SPECS / SOURCES[service]
    if full.exists():
        assert as_text(cut(service, json.loads(full.read_bytes()))) == text


@pytest.mark.parametrize("service", SOURCES)
def test_a_specification_has_no_prose(service: str) -> None:
    content = json.loads((SPECIFICATIONS / f"{service}.json").read_bytes())
    for name, value in members(content["paths"]):
        # A field may be called so, and is then an object.
        if name in ("description", "summary", "example", "examples", "title", "default"):
            assert value == "" or isinstance(value, dict), (name, value)
    assert not [text for text in re.findall(r'"([^"]*)"', json.dumps(content["paths"])) if text.count(" ") > 2]
