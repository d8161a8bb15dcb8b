"""Calls of tmdbsimple and themoviedb."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import requests
import tmdbsimple
from themoviedb import TMDb
from tmdbsimple.base import TMDB

from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster.simulator.tmdb.ids import named_id
from aperture_dagster_tests.contracts.clients.calls import Call, Client, filled, public_operations

_COMPANY, _NETWORK = named_id("company", "Stu Dio"), named_id("network", "Net Work")
_KEYWORD, _PERSON = named_id("keyword", "heist"), named_id("person", "Ann Actor")

# tmdbsimple

_IDS: dict[str, tuple[object, ...]] = {
    "Movies": (101,), "TV": (101,), "TV_Seasons": (101, 1), "TV_Episodes": (101, 1, 1), "TV_Changes": (101,),
    "Collections": (55,), "Companies": (_COMPANY,), "Networks": (_NETWORK,), "Keywords": (_KEYWORD,),
    "People": (_PERSON,), "Reviews": ("1",), "Credits": ("1",), "Find": ("tt0000101",), "Trending": ("movie", "week"),
    "Account": ("1",), "GuestSessions": ("1",), "Lists": (1, 1), "TV_Episode_Groups": ("1",), "Genres": (18,),
}  # fmt: skip
_ARGUMENTS: dict[str, dict[str, object]] = {
    "Find.info": {"external_source": "imdb_id"},
    "Discover.movie": {"with_genres": 18, "sort_by": "popularity.desc", "vote_count_gte": 5},
    "Discover.tv": {"with_genres": 18, "first_air_date_gte": "2000-01-01"},
    "Movies.info": {"append_to_response": "credits,keywords,release_dates"},
    "TV.info": {"append_to_response": "aggregate_credits,content_ratings", "language": "en-US"},
}


def _tmdbsimple(simulator: RunningSimulator) -> Iterator[Call]:
    tmdbsimple.API_KEY = simulator.state.settings.tmdb_key
    for name in sorted(tmdbsimple.__all__):
        kind = getattr(tmdbsimple, name)
        if not issubclass(kind, TMDB):
            continue
        for method in public_operations(kind):
            operation = f"{name}.{method}"
            # Each call has its own object, which keeps what it has read.
            instance = kind(*_IDS.get(name, ()))
            instance.base_uri = simulator.tmdb_url
            yield Call(operation, partial(getattr(instance, method), **_ARGUMENTS.get(operation, {})))
    tmdbsimple.API_KEY = None


_NO_ACCOUNT = "needs the account's id, which only `Account.info` reads"
TMDBSIMPLE = Client(
    "tmdbsimple", "TMDb", "GPL-3.0", "all methods of all classes", _tmdbsimple,
    dict.fromkeys(
        (f"Account.{name}" for name in (
            "favorite", "favorite_movies", "favorite_tv", "lists", "rated_movies", "rated_tv", "rated_tv_episodes",
            "watchlist", "watchlist_movies", "watchlist_tv",
        )),
        _NO_ACCOUNT,
    ),
)  # fmt: skip

# themoviedb

_RESOURCE_IDS: dict[str, object] = {
    "collection_id": 55, "company_id": _COMPANY, "credit_id": 1, "tv_id": 101, "season_id": 1, "episode_id": 1,
    "episode_group_id": 1, "guest_session_id": "1", "keyword_id": _KEYWORD, "movie_id": 101, "network_id": _NETWORK,
    "person_id": _PERSON, "review_id": 1, "external_id": "tt0000101", "imdb_id": "tt0000101", "tvdb_id": "77",
    "query": "First", "media_type": "movie", "time_window": "week", "request_token": "1", "session_id": "1",
    "username": "ada", "password": "ada", "rating": 8.0, "value": 8.0, "list_id": 1, "account_id": 1,
    "tvrage_id": "1", "wikidata_id": "Q1", "facebook_id": "1", "instagram_id": "1", "twitter_id": "1",
    "youtube_id": "1", "tiktok_id": "1", "freebase_id": "1", "freebase_mid": "1", "id": "tt0000101",
}  # fmt: skip
_HELPERS = ("append_to_response", "close", "iter_pages", "request", "params", "get")


class _Session(requests.Session):
    """The client adds a language and regions to every request. TMDb ignores them where they mean nothing."""

    def request(self, method: Any, url: Any, *args: Any, **options: Any) -> requests.Response:
        added = ("language", "region", "watch_region")
        params = {name: value for name, value in options.pop("params", {}).items() if name not in added}
        return super().request(method, url, *args, params=params, **options)


def _themoviedb(simulator: RunningSimulator) -> Iterator[Call]:
    with _Session() as session:
        client = TMDb(api_key=simulator.state.settings.tmdb_key, session=session)
        client._config.host = simulator.tmdb_url.removesuffix("/3")
        for name in public_operations(TMDb, without=_HELPERS):
            resource = filled(getattr(client, name), _RESOURCE_IDS)()
            for method in public_operations(type(resource), without=_HELPERS):
                yield Call(f"{name}().{method}", filled(getattr(resource, method), _RESOURCE_IDS))


THEMOVIEDB = Client("themoviedb", "TMDb", "MIT", "all methods of all resources", _themoviedb)
