"""Real traffic with TMDb over HTTP: every method of the client, and every operation of the stand-in."""

from __future__ import annotations

import inspect
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from aperture_dagster.enrichment.queries import DiscoverFilters
from aperture_dagster.enrichment.tmdb import Tmdb
from aperture_dagster.http.errors import BadAnswer, NotFound
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster.simulator.tmdb.titles import named_id
from aperture_dagster_tests.contracts.recorder import Exchange

NOW = datetime(2026, 5, 17, 15, 30, tzinfo=UTC)


@dataclass
class Traffic:
    """Recorded exchanges, and the methods of the clients that were called."""

    clients: list[Exchange] = field(default_factory=list)
    routes: list[Exchange] = field(default_factory=list)
    errors: list[Exchange] = field(default_factory=list)
    called: set[str] = field(default_factory=set)


class Watched:
    """A client that records which of its methods are used."""

    def __init__(self, client: Any, called: set[str]) -> None:
        self._client, self._called = client, called

    def __getattr__(self, name: str) -> Any:
        self._called.add(f"{type(self._client).__name__}.{name}")
        return getattr(self._client, name)


def public_methods(*clients: type) -> set[str]:
    """Return the public methods of clients."""
    return {
        f"{client.__name__}.{name}"
        for client in clients
        for name, member in inspect.getmembers_static(client, inspect.isfunction)
        # What ends requests sends none.
        if not name.startswith("_") and name not in ("cancel", "close")
    }


# The clients


def read_all_of_tmdb(served: RunningSimulator, called: set[str], *, every: int = 1) -> None:
    """Read every n-th title with everything about it, and unknown ids."""
    client = Tmdb(served.tmdb_url, served.state.settings.tmdb_key)
    tmdb = Watched(client, called)
    try:
        tmdb.check()
        titles = [title for title in served.state.titles.values() if title.tmdb_id is not None]
        for title in titles[::every]:
            # A blank title is refused by the client: its answer is recorded all the same.
            with nullcontext() if title.title.strip() else pytest.raises(BadAnswer):
                tmdb.title(title.media_type, title.tmdb_id)
                tmdb.pool_title(title.media_type, title.tmdb_id)
            tmdb.find(title.media_type, imdb_id=title.imdb_id, tvdb_id=title.tvdb_id)
        for number in sorted({title.collection[0] for title in titles if title.collection})[::every]:
            tmdb.collection(number)
        for media_type in ("movie", "series"):
            for name in ("popular", "top_rated", "trending"):
                tmdb.listed(media_type, name, 1)
                tmdb.listed(media_type, name, 2)
            for filters in (
                DiscoverFilters(genre_ids=(18, 35), keyword_ids=(1,), person_ids=(2,), language="en"),
                DiscoverFilters(within_days=90),
            ):
                tmdb.discover(media_type, filters, 2, today=served.state.today.date())
        assert tmdb.find("movie", imdb_id="tt0") is None
        with pytest.raises(NotFound):
            tmdb.title("movie", 1)
    finally:
        tmdb.close()


# The routes


@dataclass(frozen=True)
class Ask:
    """A request to a route: ``where`` fills its placeholders, beside what the world gives for them."""

    query: dict[str, Any] = field(default_factory=dict)
    where: dict[str, str] = field(default_factory=dict)
    status: int = 200


def ask_tmdb(served: RunningSimulator, asks: dict[str, list[Ask]], names: dict[str, str]) -> None:
    """Send requests to operations of TMDb."""
    headers = {"Authorization": f"Bearer {served.state.settings.tmdb_key}"}
    with httpx.Client(base_url=served.tmdb_url, headers=headers) as client:
        for endpoint, wanted in asks.items():
            method, pattern = endpoint.split(" ", 1)
            for ask in wanted:
                path = pattern.format(**names | {name: value.format(**names) for name, value in ask.where.items()})
                params = {
                    name: value.format(**names) if isinstance(value, str) else value
                    for name, value in ask.query.items()
                }
                answer = client.request(method, path, params=params or None)
                assert answer.status_code == ask.status, f"{method} {path}: {answer.status_code}, not {ask.status}"


def tmdb_names(served: RunningSimulator) -> dict[str, str]:
    """Return ids for the placeholders of TMDb's paths: titles with many facts, the film in a collection."""
    titles = [title for title in served.state.titles.values() if title.tmdb_id is not None]
    film = next(title for title in titles if title.collection and title.companies and title.recommended_tmdb_ids)
    assert film.keywords and film.cast and film.collection
    show = next(title for title in titles if title.networks and title.creators and title.episodes_per_season)
    return {
        "film": str(film.tmdb_id), "show": str(show.tmdb_id), "collection": str(film.collection[0]),
        "external_id": str(film.imdb_id), "tvdb_id": str(show.tvdb_id),
        "keyword": str(named_id("keyword", film.keywords[0])), "person": str(named_id("person", film.cast[0].name)),
    }  # fmt: skip


# Errors

TMDB_ERRORS: dict[str, list[Ask]] = {
    "GET /movie/{tmdb_id}": [
        Ask(where={"tmdb_id": "1"}, status=404),
    ],
    "GET /discover/movie": [Ask({"page": 501}, status=400)],
    "GET /movie/popular": [Ask({"page": 501}, status=400)],
    "GET /find/{external_id}": [Ask(status=422)],
}
"""Requests that TMDb refuses."""


def meet_errors(served: RunningSimulator) -> None:
    """Provoke every kind of error: unknown ids, invalid values, missing keys, and a service that is down or busy."""
    ask_tmdb(served, TMDB_ERRORS, tmdb_names(served))
    wrong = {"Authorization": "Bearer wrong"}
    assert httpx.get(served.tmdb_url + "/configuration", headers=wrong).status_code == 401
    for status in (429, 500, 502, 503, 504):
        served.state.clear_faults()
        served.state.add_fault(FaultRule("tmdb", status=status))
        ask_tmdb(served, {"GET /configuration": [Ask(status=status)]}, {})
    served.state.clear_faults()
