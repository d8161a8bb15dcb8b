"""Posters: from the media server, for whoever may see the title, and nothing else from anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from aperture_dagster.catalogue.people import remember_server
from aperture_dagster.front_door import gate as gates
from aperture_dagster.front_door.app import members_pages
from aperture_dagster.front_door.gate import Gate
from aperture_dagster.front_door.house import House
from aperture_dagster.front_door.sessions import COOKIE
from aperture_dagster.postgres.database import ReadOnlyDatabase
from aperture_dagster.settings import Settings
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.server import RunningSimulator, running_simulator
from aperture_dagster.simulator.state import Picture
from aperture_dagster.simulator.world import World, WorldTitle, WorldUser
from aperture_dagster_tests.front_door.home import Home
from aperture_dagster_tests.shelf import Shelf


@dataclass
class Posters:
    """A household whose film Heat is on the media server, with its id there."""

    home: Home
    simulator: RunningSimulator
    gate: Gate
    house: House
    item: str

    @property
    def app(self) -> Any:
        return members_pages(self.house)

    def browser(self, name: str) -> TestClient:
        user = self.simulator.state.user_named(name)
        cookie = self.gate.sessions.begin(user.id, is_administrator=False)
        return TestClient(self.app, "http://mediabox:3000", cookies={COOKIE: cookie}, follow_redirects=False)

    def fetched(self) -> int:
        return len(self.simulator.state.arrivals("jellyfin", "/Images/"))


@pytest.fixture
def posters(shelf: Shelf, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> Iterator[Posters]:
    monkeypatch.setattr(gates, "REMEMBERED_SECONDS", -1.0)
    world = World("posters", users=[WorldUser("Anna", is_administrator=True), WorldUser("Ben")])
    world.titles.append(WorldTitle("movie:2", "movie", "Heat", tmdb_id=2))
    with running_simulator(world) as simulator:
        home = Home(shelf, {name: simulator.state.user_named(name).id for name in ("Anna", "Ben")})
        (item,) = simulator.state.add_title(world.titles[0])
        shelf.do("UPDATE titles SET server_item_id = :item WHERE server_item_id = 'film-2'", item=item)
        settings = make_settings(
            media_server_url=simulator.jellyfin_url, media_server_api_key="demo-jellyfin-key", http_attempts=1
        )
        identity = httpx.get(f"{simulator.jellyfin_url}/System/Info/Public").json()
        with shelf.open() as connection:
            known = {"server_id": identity["Id"], "name": "Stand-in", "product": identity["ProductName"]}
            remember_server(connection, known)
        database = ReadOnlyDatabase(settings)
        gate = Gate(settings, database)
        yield Posters(home, simulator, gate, House(settings, database, gate), item)
        database.close()


def test_a_poster_is_fetched_once_and_the_browser_keeps_it(posters: Posters):
    posters.simulator.state.pictures["item", posters.item, "primary"] = Picture("image/jpeg", b"poster")
    ben = posters.browser("Ben")
    first = ben.get(f"/pictures/{posters.item}")
    assert (first.status_code, first.content, first.headers["content-type"]) == (200, b"poster", "image/jpeg")
    assert first.headers["cache-control"].startswith("private") and first.headers["x-content-type-options"] == "nosniff"
    again = ben.get(f"/pictures/{posters.item}", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert posters.browser("Anna").get(f"/pictures/{posters.item}").content == b"poster"
    assert posters.fetched() == 1


def test_who_may_not_see_a_title_does_not_see_its_poster(posters: Posters):
    address = f"/pictures/{posters.item}"
    stranger = TestClient(posters.app, "http://mediabox:3000")
    posters.home.user("Ben", max_parental_rating=13)
    assert posters.browser("Ben").get(address).status_code == stranger.get(address).status_code == 404
    posters.home.user("Ben", max_parental_rating=None, all_libraries=False, library_ids=["shows"])
    assert posters.browser("Ben").get(address).status_code == 404
    posters.home.shelf.do("UPDATE titles SET removed_at = now()")
    assert posters.browser("Anna").get(address).status_code == 404
    assert posters.fetched() == 0


def test_nothing_but_ids_of_titles_reaches_the_server(posters: Posters):
    before, anna = len(posters.simulator.state.arrivals("jellyfin")), posters.browser("Anna")
    for path in (
        "..%2fUsers", "%2e%2e", "../Users", "x%2f..%2f..%2fUsers%3fa", "http:%2f%2f127.0.0.1%2f", "film-99", "@evil",
        "%00a",
    ):  # fmt: skip
        assert anna.get(f"/pictures/{path}").status_code == 404, path
    assert len(posters.simulator.state.arrivals("jellyfin")) == before


def test_what_is_no_picture_is_not_passed_on(posters: Posters):
    anna, pictures = posters.browser("Anna"), posters.simulator.state.pictures
    for found in (
        Picture("image/svg+xml", b"<svg/>"),
        Picture("text/html", b"<p>"),
        Picture("image/png", b"x" * 2**21),
    ):
        pictures["item", posters.item, "primary"] = found
        assert anna.get(f"/pictures/{posters.item}").status_code == 404
    posters.simulator.state.add_fault(FaultRule("jellyfin", path_contains="/Images/", status=500))
    assert anna.get(f"/pictures/{posters.item}").status_code == 404


def test_a_title_leads_to_its_page_on_the_server(posters: Posters):
    work = posters.home.shelf.rows("SELECT work_id, item_id FROM titles WHERE server_item_id = :i", i=posters.item)[0]
    posters.home.shelf.do(
        "INSERT INTO recommendations (user_id, media_type, rank, work_id, item_id, score, components, because, "
        "is_cold, listed_since) SELECT user_id, 'movie', 1, :work_id, :item_id, 0.5, '{}', '{}', false, now() "
        "FROM users",
        **work,
    )  # fmt: skip
    page = posters.browser("Ben").get("/").text
    port = posters.simulator.jellyfin_url.split(":")[2].split("/")[0]
    # The server is on the machine that the visitor reached by this name.
    assert f'href="http://mediabox:{port}/jellyfin/web/#/details?serverId=' in page
    assert f"id={posters.item}" in page and f'src="/pictures/{posters.item}"' in page
    # In a container, only others in its network know the name in the other setting.
    public = {"media_server_public_url": "https://watch.example/jellyfin"}
    posters.house.settings = posters.house.settings.model_copy(update=public)
    posters.home.recommend("Anna", 1)
    page = posters.browser("Ben").get("/").text
    assert 'href="https://watch.example/jellyfin/web/#/details?serverId=' in page and f":{port}/" not in page
