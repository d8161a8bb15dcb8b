"""Calls of omdb, openai, pytrakt and python-overseerr."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from types import FunctionType
from typing import Any

import aiohttp
import omdb
import openai
import requests
import trakt.core
import trakt.movies
import trakt.sync
import trakt.tv
import trakt.users
from python_overseerr import MediaType, OverseerrClient
from python_overseerr.models import IssueType, NotificationType
from trakt.api import HttpClient, TokenAuth
from trakt.auth.device import DeviceAuthAdapter
from trakt.config import AuthConfig
from yarl import URL

from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster.simulator.trakt.titles import trakt_id
from aperture_dagster_tests.contracts.clients.calls import Call, Client, filled, public_operations

# OMDb


def _omdb(simulator: RunningSimulator) -> Iterator[Call]:
    client = omdb.OMDBClient(apikey=simulator.state.settings.omdb_key)
    client.url = simulator.omdb_url
    yield Call("imdbid", lambda: client.imdbid("tt0000101"))
    yield Call("imdbid, fullplot", lambda: client.imdbid("tt0000101", fullplot=True))
    yield Call("imdbid, tomatoes", lambda: client.imdbid("tt0000101", tomatoes=True))
    yield Call("imdbid, season", lambda: client.imdbid("tt0000201", season=1))
    yield Call("imdbid, season and episode", lambda: client.imdbid("tt0000201", season=1, episode=2))
    yield Call("title", lambda: client.title("First"))
    yield Call("title, year and media_type", lambda: client.title("Show", year=2010, media_type="series"))
    yield Call("title, season", lambda: client.title("Show", season=1))
    yield Call("title, season and episode", lambda: client.title("Show", season=1, episode=1))
    for name in ("search", "search_movie", "search_series", "search_episode"):
        yield Call(name, partial(getattr(client, name), "First"))
    yield Call("search, year and page", lambda: client.search("First", year=2001, page=1))


OMDB = Client("omdb", "OMDb", "MIT", "all methods, with all parameters", _omdb)

# OpenAI


def _openai(simulator: RunningSimulator) -> Iterator[Call]:
    client = openai.OpenAI(base_url=simulator.openai_url, api_key="demo-openai-key", max_retries=0)
    model = "text-embedding-3-small"
    with client:
        create = partial(client.embeddings.create, model=model)
        yield Call("embeddings.create, text", lambda: create(input="a film"))
        yield Call("embeddings.create, texts", lambda: create(input=["a film", "a series"]))
        yield Call("embeddings.create, dimensions", lambda: create(input="a film", dimensions=64))
        yield Call("embeddings.create, float", lambda: create(input="a film", encoding_format="float"))
        yield Call("embeddings.create, tokens", lambda: create(input=[1, 2, 3]))
        yield Call("embeddings.create, user", lambda: create(input="a film", user="ada"))
        yield Call("models.list", lambda: list(client.models.list()))
        yield Call("models.retrieve", lambda: client.models.retrieve(model))
        yield Call("models.delete", lambda: client.models.delete(model))


OPENAI = Client("openai", "OpenAI", "Apache-2.0", "all methods on embeddings and models", _openai)

# Trakt

_TITLE = {"query": "First", "title": "First 2001", "username": "ada", "user_name": "ada", "comment_body": "A film.",
          "rating": 8, "progress": 10, "app_version": "1", "app_date": "2026-01-01"}  # fmt: skip
_COMPUTED = ("end_time_from_custom_start", "first_aired_date", "first_aired_end_time")
_MODULES = {"movies": trakt.movies, "tv": trakt.tv, "sync": trakt.sync, "users": trakt.users}


def _trakt(simulator: RunningSimulator) -> Iterator[Call]:
    settings = simulator.state.settings
    tokens = simulator.state.trakt_connect("ada")
    with (
        requests.Session() as session,
        _configured(
            BASE_URL=simulator.trakt_url + "/", CONFIG_PATH="/nonexistent", session=session,
            CLIENT_ID=settings.trakt_client_id, CLIENT_SECRET=settings.trakt_client_secret,
            OAUTH_TOKEN=tokens["access_token"],
        ) as client,
    ):  # fmt: skip
        assert isinstance(client.auth, TokenAuth)
        yield from _trakt_calls(simulator)
        yield from _trakt_sign_in(simulator, session, client.auth.config)


@contextmanager
def _configured(**settings: Any) -> Iterator[HttpClient]:
    """Configure the client, which keeps its settings in a module, until the block ends."""
    module = trakt.core
    usual = {name: getattr(module, name) for name in settings}
    vars(module).update(settings)
    module.config.cache_clear()
    module.api.cache_clear()
    try:
        yield module.api()
    finally:
        vars(module).update(usual)
        module.config.cache_clear()
        module.api.cache_clear()


def _trakt_calls(simulator: RunningSimulator) -> Iterator[Call]:
    first, show = (simulator.state.titles[key] for key in ("movie:1", "series:1"))
    ids = {"trakt": trakt_id(first.key), "slug": "first-2001", "imdb": first.imdb_id, "tmdb": first.tmdb_id}
    shown = {"trakt": trakt_id(show.key), "slug": "show", "imdb": show.imdb_id, "tmdb": show.tmdb_id}

    def film() -> Any:
        return trakt.movies.Movie("First", 2001, ids=ids)

    def series() -> Any:
        return trakt.tv.TVShow("Show", ids=shown)

    owners = {
        "Movie": film, "TVShow": series, "User": lambda: trakt.users.User("ada"),
        "TVSeason": lambda: trakt.tv.TVSeason("Show", 1, slug="show", ids=shown),
        "TVEpisode": lambda: trakt.tv.TVEpisode("Show", 1, number=1, ids=shown, title="One"),
    }  # fmt: skip
    for module, content in _MODULES.items():
        for name in sorted(content.__all__):
            operation = getattr(content, name)
            if isinstance(operation, FunctionType):
                title = "show-2010" if module == "tv" else "First 2001"
                yield Call(f"{module}.{name}", filled(operation, _TITLE | {"media": film(), "title": title}))
    for name, make in owners.items():
        kind = type(make())
        for method in sorted(method for method in dir(kind) if not method.startswith(("_", "to_json"))):
            member = inspect.getattr_static(kind, method)
            if method in _COMPUTED:
                continue
            if isinstance(member, property):
                yield Call(f"{name}.{method}", lambda make=make, method=method: getattr(make(), method))
            elif callable(member) or isinstance(member, staticmethod):
                yield Call(f"{name}.{method}()", filled(getattr(make(), method), _TITLE | {"start_date": None}))


def _trakt_sign_in(simulator: RunningSimulator, session: requests.Session, config: AuthConfig) -> Iterator[Call]:
    # Some of its paths begin with a slash, others do not.
    device = DeviceAuthAdapter(HttpClient(simulator.trakt_auth_url, session), config)
    client = HttpClient(simulator.trakt_auth_url + "/", session)
    code: dict[str, Any] = {}
    yield Call("DeviceAuthAdapter.get_device_code()", lambda: code.update(device.get_device_code()))
    simulator.state.trakt_approve("ada", code["user_code"])
    yield Call("DeviceAuthAdapter.get_device_token()", lambda: device.get_device_token(code["device_code"]))
    yield Call("TokenAuth.refresh_token()", TokenAuth(client, config).refresh_token)


_NO_SLUG = "a defect of the client: it makes the name in the address from the title, without the year that Trakt adds"
PYTRAKT = Client(
    "pytrakt", "Trakt", "Apache-2.0", "all functions on films, series, users and synchronisation, and the device flow",
    _trakt,
    {
        "Movie.dismiss()": _NO_SLUG, "TVShow.dismiss()": _NO_SLUG,
    },
)  # fmt: skip

# Seerr


class _AtTheRoot:
    """The client expects the service at the root of its host, where the stand-ins have other services, too."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._session = aiohttp.ClientSession()
        self.close = self._session.close

    async def request(self, method: str, url: URL, **options: Any) -> aiohttp.ClientResponse:
        return await self._session.request(method, url.with_path(self._prefix + url.path), **options)


def _seerr(simulator: RunningSimulator) -> Iterator[Call]:
    address = URL(simulator.seerr_url)
    assert address.host is not None and address.port is not None
    with asyncio.Runner() as runner:

        async def connect() -> OverseerrClient:
            key = simulator.state.settings.seerr_key
            session: Any = _AtTheRoot(address.path)
            return OverseerrClient(address.host or "", address.port or 0, key, ssl=False, session=session)

        client = runner.run(connect())
        arguments = {
            "keyword": "First", "media_type": MediaType.MOVIE, "tmdb_id": 103, "issue_id": 1, "identifier": 101,
            "issue_type": IssueType.OTHER, "message": "A message", "media_id": 1, "webhook_url": "http://localhost",
            "json_payload": "{}", "enabled": True, "types": NotificationType.REQUEST_APPROVED,
        }  # fmt: skip
        for name in public_operations(OverseerrClient, without=("close",)):
            operation = getattr(client, name)
            given = {
                parameter.name: arguments[parameter.name]
                for parameter in inspect.signature(operation).parameters.values()
                if parameter.default is parameter.empty
            }
            yield Call(name, partial(_run, runner, partial(operation, **given)))
        assert client.session is not None
        runner.run(client.session.close())


def _run(runner: asyncio.Runner, operation: partial[Coroutine[Any, Any, object]]) -> object:
    return runner.run(operation())


_NO_PLEX = "the client requires each user's name and id on Plex, which are null for users of a media server"
SEERR = Client(
    "python_overseerr", "Seerr", "MIT", "all methods", _seerr,
    {
        "create_request": _NO_PLEX,
        "get_requests": _NO_PLEX,
    },
)  # fmt: skip
