"""The stand-in's home screen, as the sources of both versions of Jellyfin have it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from aperture_dagster.simulator.server import RunningSimulator, running_simulator
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import World, WorldLibrary, WorldTitle, WorldUser

VERSIONS = ("10.11.11", "12.0.0")
LIBRARIES = (
    WorldLibrary("Movies", "movies", ("/media/movies",)),
    WorldLibrary("TV Shows", "tvshows", ("/media/tv",)),
)


class Home:
    """The home screen of Ann."""

    def __init__(self, served: RunningSimulator, client: httpx.Client) -> None:
        self.state, self._client = served.state, client
        self.user = served.state.user_named("ann")

    def get(self, path: str, **query: Any) -> Any:
        answer = self._client.get(path, params=query)
        assert answer.is_success, answer.text
        return answer.json()

    def resume(self, **query: Any) -> list[str]:
        return [item["Name"] for item in self.get("/UserItems/Resume", userId=self.user.id, **query)["Items"]]

    def next_up(self, **query: Any) -> list[tuple[str, int]]:
        items = self.get("/Shows/NextUp", userId=self.user.id, **query)["Items"]
        return [(item["SeriesName"], item["IndexNumber"]) for item in items]

    def latest(self, **query: Any) -> list[str]:
        return [item["Name"] for item in self.get("/Items/Latest", userId=self.user.id, **query)]

    def library(self, name: str) -> str:
        return self.state.catalogue.library_named(name).item_id

    def exclude(self, *names: str) -> None:
        configuration = self.user.configuration
        body = {**configuration, "LatestItemsExcludes": [self.library(name) for name in names]}
        self._client.post("/Users/Configuration", params={"userId": self.user.id}, json=body).raise_for_status()

    def film(self, number: int) -> Any:
        return self.state.catalogue.top_items(f"movie:{number}")[0]

    def episode(self, series: int, number: int) -> Any:
        return self.state.catalogue.top_items(f"series:{series}")[0].numbered(1).episodes[number - 1]

    def play(self, item: Any, completion: float, *, hours_ago: float = 1.0) -> None:
        self.state.play_item("ann", item.id, completion, datetime.now(UTC) - timedelta(hours=hours_ago))


@pytest.fixture(params=VERSIONS)
def home(request: pytest.FixtureRequest) -> Iterator[Home]:
    titles = [
        *(WorldTitle(f"movie:{n}", "movie", f"Film {n}", 2000, tmdb_id=n, runtime_minutes=100) for n in range(1, 4)),
        *(
            WorldTitle(
                f"series:{n}", "series", f"Series {n}", 2000, tmdb_id=n, episodes_per_season=(4,), runtime_minutes=50
            )
            for n in range(1, 4)
        ),
    ]
    settings = SimulatorSettings(jellyfin_version=request.param)
    headers = {"Authorization": 'MediaBrowser Token="demo-jellyfin-key"'}
    with (
        running_simulator(World("home", titles, [WorldUser("ann")], libraries=LIBRARIES), settings) as served,
        httpx.Client(base_url=served.jellyfin_url, headers=headers) as client,
    ):
        yield Home(served, client)


def test_a_library_that_its_user_excludes_is_in_none_of_the_three(home: Home) -> None:
    home.play(home.film(1), 0.5)
    home.play(home.episode(1, 1), 1.0)
    home.play(home.episode(2, 1), 0.5)
    assert sorted(home.resume()) == ["Episode 1", "Film 1"]
    assert sorted(home.next_up()) == [("Series 1", 2), ("Series 2", 1)]
    home.exclude("TV Shows")
    assert home.resume() == ["Film 1"] and home.next_up() == []
    assert sorted(home.latest()) == ["Film 1", "Film 2", "Film 3"]
    home.exclude("Movies")
    assert home.resume() == ["Episode 1"] and len(home.next_up()) == 2
    assert not [name for name in home.latest() if name.startswith("Film")]
    # Of one library, a client asks nevertheless.
    assert home.resume(parentId=home.library("Movies")) == ["Film 1"]
    assert len(home.latest(parentId=home.library("Movies"))) == 3


def test_next_up_has_every_series_with_a_date_of_a_play_until_it_is_taken_back(home: Home) -> None:
    home.play(home.episode(1, 2), 1.0, hours_ago=3)
    home.play(home.episode(2, 3), 0.01, hours_ago=2)
    assert home.user.of(home.episode(2, 3)).position == 0
    assert set(home.next_up()) == {("Series 1", 3), ("Series 2", 1)}, "one was hardly begun"
    home.play(home.episode(1, 3), 0.5)
    assert ("Series 1", 3) in home.next_up()
    assert ("Series 1", 3) not in home.next_up(enableResumable=False)
    home.state.mark_unplayed("ann", "series:2", season=1, episode=3)
    assert home.next_up() == [("Series 1", 3)]


def test_a_row_is_in_the_order_of_the_dates_without_what_is_played(home: Home) -> None:
    for place, number in enumerate((2, 3, 1)):
        home.film(number).created = 1_000_000.0 - place
    movies = home.library("Movies")
    assert home.latest(parentId=movies) == ["Film 2", "Film 3", "Film 1"]
    assert home.latest(parentId=movies, limit=2) == ["Film 2", "Film 3"]
    home.play(home.film(3), 1.0)
    assert home.latest(parentId=movies) == ["Film 2", "Film 1"]
    # A series is where its newest unplayed episode is.
    shows = home.library("TV Shows")
    for number, (first, others) in {1: (1_000.0, 10.0), 2: (1_003.0, 1_003.0), 3: (1_002.0, 1_002.0)}.items():
        for episode in range(1, 5):
            home.episode(number, episode).created = first if episode == 1 else others
    row = home.latest(parentId=shows)
    assert row[:2] == ["Series 2", "Series 3"]
    # The episodes of a day stand for the series in 12; in 10.11, only those that are as new as the last of the row do.
    is_12 = home.state.settings.jellyfin_release >= (12, 0)
    assert row[2] == ("Series 1" if is_12 else "Episode 1")


def test_sessions_show_what_is_being_played_and_only_then(home: Home) -> None:
    film = home.film(1)
    home.state.begin_play("ann", film.id, 0.3)
    (session,) = home.get("/Sessions")
    assert (session["UserId"], session["NowPlayingItem"]["Id"]) == (home.user.id, film.id)
    assert session["PlayState"]["PositionTicks"] == int(film.runtime_ticks * 0.3)
    assert home.resume(excludeActiveSessions=True) == [] and home.resume() == ["Film 1"]
    home.state.end_play("ann", 0.6)
    (session,) = home.get("/Sessions")
    assert "NowPlayingItem" not in session
    assert home.user.of(film).position == int(film.runtime_ticks * 0.6) and home.user.of(film).play_count == 1
