"""Posters: from the media server, for whoever may see the title, and nothing else from anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from starlette.testclient import TestClient

from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.state import Picture
from aperture_dagster.simulator.world import WorldTitle
from aperture_dagster_tests.front_door.door import Door


@dataclass
class Posters:
    """A household whose film Heat is on the media server, with its id there."""

    door: Door
    item: str

    def browser(self, name: str) -> TestClient:
        return self.door.signed_in(name, address="http://mediabox:3000")

    def fetched(self) -> int:
        return len(self.door.simulator.state.arrivals("jellyfin", "/Images/"))


@pytest.fixture
def posters(open_door: Callable[..., Any]) -> Iterator[Posters]:
    with open_door(http_attempts=1) as door:
        door.home.recommend("Ben", 2)
        yield Posters(door, door.place("film-2", WorldTitle("movie:2", "movie", "Heat", tmdb_id=2)))


def test_a_poster_is_fetched_once_and_the_browser_keeps_it(posters: Posters):
    posters.door.simulator.state.pictures["item", posters.item, "primary"] = Picture("image/jpeg", b"poster")
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
    stranger = posters.door.browser()
    posters.door.home.user("Ben", max_parental_rating=13)
    assert posters.browser("Ben").get(address).status_code == stranger.get(address).status_code == 404
    posters.door.home.user("Ben", max_parental_rating=None, all_libraries=False, library_ids=["shows"])
    assert posters.browser("Ben").get(address).status_code == 404
    posters.door.home.shelf.do("UPDATE titles SET removed_at = now()")
    assert posters.browser("Anna").get(address).status_code == 404
    assert posters.fetched() == 0


def test_nothing_but_ids_of_titles_reaches_the_server(posters: Posters):
    anna = posters.browser("Anna")
    before = len(posters.door.simulator.state.arrivals("jellyfin"))
    for path in (
        "..%2fUsers", "%2e%2e", "../Users", "x%2f..%2f..%2fUsers%3fa", "http:%2f%2f127.0.0.1%2f", "film-99", "@evil",
        "%00a",
    ):  # fmt: skip
        assert anna.get(f"/pictures/{path}").status_code == 404, path
    assert len(posters.door.simulator.state.arrivals("jellyfin")) == before


def test_what_is_no_picture_is_not_passed_on(posters: Posters):
    anna, pictures = posters.browser("Anna"), posters.door.simulator.state.pictures
    for found in (
        Picture("image/svg+xml", b"<svg/>"),
        Picture("text/html", b"<p>"),
        Picture("image/png", b"x" * 2**21),
    ):
        pictures["item", posters.item, "primary"] = found
        assert anna.get(f"/pictures/{posters.item}").status_code == 404
    posters.door.simulator.state.add_fault(FaultRule("jellyfin", path_contains="/Images/", status=500))
    assert anna.get(f"/pictures/{posters.item}").status_code == 404


def test_a_title_leads_to_its_page_on_the_server(posters: Posters):
    page = posters.browser("Ben").get("/").text
    port = posters.door.simulator.jellyfin_url.split(":")[2].split("/")[0]
    # The server is on the machine that the visitor reached by this name.
    assert f'href="http://mediabox:{port}/jellyfin/web/#/details?serverId=' in page
    assert f"id={posters.item}" in page and f'src="/pictures/{posters.item}"' in page
    # In a container, only others in its network know the name in the other setting.
    public = {"media_server_public_url": "https://watch.example/jellyfin"}
    posters.door.house.settings = posters.door.house.settings.model_copy(update=public)
    page = posters.browser("Ben").get("/").text
    assert 'href="https://watch.example/jellyfin/web/#/details?serverId=' in page and f":{port}/" not in page
