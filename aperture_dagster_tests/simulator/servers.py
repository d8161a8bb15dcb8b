"""Media servers of every version over a small world, for tests of what clients write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from aperture_dagster.simulator.server import RunningSimulator, running_simulator
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import World, WorldLibrary, WorldTitle, WorldUser

JELLYFINS = ("10.9.11", "10.10.7", "10.11.11", "12.0.0")


def since(version: str, *numbers: int) -> bool:
    """Return whether a version is at least a release."""
    return tuple(map(int, version.split("."))) >= numbers


def lists_world() -> World:
    """Films of three ages in two libraries, a series, and an administrator, a child and a guest; no box sets."""
    return World(
        "lists",
        [
            WorldTitle(
                "movie:1", "movie", "Charlie", 2001, release_date="2001-03-01", official_rating="PG", tmdb_id=1,
                genres=("Drama",), tags=("one", "two"), overview="A plot.", companies=("Studio",), vote_average=7.25,
            ),
            WorldTitle("movie:2", "movie", "Alpha", 2003, release_date="2003-03-01", official_rating="R", tmdb_id=2),
            WorldTitle("movie:3", "movie", "Bravo", 2002, release_date="2002-03-01", official_rating="G", tmdb_id=3),
            WorldTitle("movie:4", "movie", "Private", 2004, library="Private", collection=(77, "Famous Collection")),
            WorldTitle("series:1", "series", "Show", 2000, episodes_per_season=(2, 1), specials=1),
        ],
        [
            WorldUser("ada", is_administrator=True),
            WorldUser("kid", max_parental_rating=10),
            WorldUser("guest"),
        ],
        libraries=(
            WorldLibrary("Movies", "movies", ("/media/movies",)),
            WorldLibrary("TV Shows", "tvshows", ("/media/tv",)),
            WorldLibrary("Private", "movies", ("/media/private",)),
        ),
    )  # fmt: skip


class Server:
    """A media server and its client."""

    def __init__(self, running: RunningSimulator, client: httpx.Client) -> None:
        self.state = running.state
        self.client = client

    def user(self, name: str) -> str:
        """Return a user's id."""
        return self.state.user_named(name).id

    def item(self, key: str) -> str:
        """Return the id on Jellyfin of a title's first copy."""
        return self.state.item_ids(key)[0]

    def ids(self, *keys: str) -> str:
        """Return ids as a list in a query."""
        return ",".join(self.item(key) for key in keys)

    def get(self, path: str, **parameters: object) -> Any:
        """Return the content of a response, which must be 200."""
        answer = self.client.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def send(self, method: str, path: str, body: object = None, **parameters: object) -> int:
        """Return the status of a response."""
        return self.client.request(method, path, json=body, params=parameters).status_code

    def names(self, path: str, **parameters: object) -> list[str]:
        """Return the names of listed items, in order."""
        return [item["Name"] for item in self.get(path, **parameters)["Items"]]


@contextmanager
def jellyfin(version: str = "12.0.0", world: World | None = None, **settings: Any) -> Iterator[Server]:
    """Serve Jellyfin in some version."""
    headers = {"Authorization": 'MediaBrowser Token="demo-jellyfin-key"'}
    chosen = SimulatorSettings(jellyfin_version=version, **settings)
    with (
        running_simulator(world or lists_world(), chosen) as running,
        httpx.Client(base_url=running.jellyfin_url, headers=headers) as client,
    ):
        yield Server(running, client)


class Emby(Server):
    """An Emby server, where items have numbers."""

    def item(self, key: str) -> str:
        """Return the number of a title."""
        name = self.state.titles[key].title
        found = self.get("/Items", Recursive="true", SearchTerm=name, GroupItemsIntoCollections="false")["Items"]
        return next(item["Id"] for item in found if item["Name"] == name)


@contextmanager
def emby(world: World | None = None, **settings: Any) -> Iterator[Emby]:
    """Serve Emby."""
    chosen = SimulatorSettings(**settings)
    with (
        running_simulator(world or lists_world(), chosen) as running,
        httpx.Client(base_url=running.emby_url, headers={"X-Emby-Token": "demo-emby-key"}) as client,
    ):
        yield Emby(running, client)
