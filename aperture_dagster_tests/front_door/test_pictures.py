"""Posters and backdrops: from the media server or TMDb, for whoever may see the title, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from aperture_dagster.simulator.opinions import jpeg, png
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.state import Picture
from aperture_dagster.simulator.tmdb.titles import picture_path
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


@dataclass
class Suggested:
    """A household in which Stalker, which has pictures on TMDb, is suggested to Ben."""

    door: Door
    work: int

    def asked(self) -> list[Any]:
        return self.door.simulator.state.arrivals("tmdb_images")


def size_of(content: bytes) -> tuple[int, int]:
    with Image.open(BytesIO(content)) as picture:
        return picture.size


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


def test_a_poster_is_asked_for_as_webp_and_a_backdrop_beside_it(posters: Posters):
    pictures = posters.door.simulator.state.pictures
    pictures["item", posters.item, "primary"] = Picture("image/png", png("poster", 80, 120))
    pictures["item", posters.item, "backdrop"] = Picture("image/jpeg", jpeg("backdrop", 160, 90))
    ben = posters.browser("Ben")
    page = ben.get("/").text
    assert f'src="/pictures/{posters.item}"' in page and f'src="/pictures/{posters.item}/backdrop"' in page
    for path, size in (("", (80, 120)), ("/backdrop", (160, 90))):
        answer = ben.get(f"/pictures/{posters.item}{path}")
        assert answer.headers["content-type"] == "image/webp" and size_of(answer.content) == size
    poster, backdrop = posters.door.simulator.state.arrivals("jellyfin", "/Images/")
    assert ("maxWidth=360" in str(poster), "maxWidth=1280" in str(backdrop)) == (True, True)


def test_a_title_without_a_picture_has_its_name_instead(posters: Posters):
    posters.door.home.suggest("Ben", "Stalker", "PG")
    page = posters.browser("Ben").get("/suggestions").text
    assert '<div class="poster"><span aria-hidden="true">Stalker</span><b' in page


@pytest.fixture
def suggested(open_door: Callable[..., Any]) -> Iterator[Suggested]:
    with open_door(http_attempts=1, tmdb_api_key="demo-tmdb-key") as door:
        door.simulator.state.add_title(WorldTitle("movie:1000", "movie", "Stalker", tmdb_id=1000, copies=0))
        door.home.suggest("Ben", "Stalker", "PG")
        paths = {f"{kind}_path": picture_path("movie:1000", kind) for kind in ("poster", "backdrop")}
        door.home.shelf.do(
            "UPDATE discovery_pool SET poster_path = :poster_path, backdrop_path = :backdrop_path", **paths
        )
        yield Suggested(door, door.home.shelf.value("SELECT work_id FROM discovery_pool"))


def test_a_suggestion_has_pictures_from_tmdb_that_browsers_get_from_us(suggested: Suggested):
    ben = suggested.door.signed_in("Ben")
    assert f'src="/pictures/suggested/{suggested.work}"' in ben.get("/suggestions").text
    for path in ("", "/backdrop", ""):
        answer = ben.get(f"/pictures/suggested/{suggested.work}{path}")
        assert answer.headers["content-type"] == "image/webp" and size_of(answer.content)
        assert answer.headers["cache-control"].startswith("private")
    asked = [str(each) for each in suggested.asked()]
    assert len(asked) == 2 and "/w342/" in asked[0] and "/w1280/" in asked[1]
    assert all("Ben" not in each for each in asked)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE users SET max_parental_rating = 5 WHERE name = 'Ben'",
        "INSERT INTO dismissals (user_id, work_id, media_type, title, dismissed_at) "
        "SELECT user_id, work_id, 'movie', 'Stalker', now() FROM discovery_pool CROSS JOIN users WHERE name = 'Ben'",
        "UPDATE discovery_pool SET poster_path = NULL",
        "UPDATE discovery_pool SET poster_path = '/../../3/configuration.jpg'",
        "UPDATE discovery_pool SET poster_path = '//evil.example/a.jpg'",
        "UPDATE discovery_pool SET poster_path = '/a.svg'",
    ],
)
def test_a_picture_that_may_not_be_seen_or_fetched_is_not_asked_for(suggested: Suggested, change: str):
    ben, address = suggested.door.signed_in("Ben"), f"/pictures/suggested/{suggested.work}"
    suggested.door.home.shelf.do(change)
    assert ben.get(address).status_code == 404
    assert suggested.door.browser().get(address).status_code == 404
    assert (
        ben.get("/pictures/suggested/99999").status_code == ben.get(f"/pictures/suggested/{2**70}").status_code == 404
    )
    assert not suggested.asked()


@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"status": 404}, {"kind": "html"}, {"kind": "huge"}, {"kind": "cut_off"}]
)
def test_a_picture_that_tmdb_does_not_send_is_asked_for_once(suggested: Suggested, fault: dict[str, Any]):
    suggested.door.simulator.state.add_fault(FaultRule("tmdb_images", **fault))
    ben = suggested.door.signed_in("Ben")
    for _ in range(3):
        assert ben.get(f"/pictures/suggested/{suggested.work}").status_code == 404
    assert len(suggested.asked()) == 1


def test_without_a_key_of_tmdb_nothing_is_asked_there(suggested: Suggested):
    house = suggested.door.house
    house.settings = house.settings.model_copy(update={"tmdb_api_key": None})
    assert suggested.door.signed_in("Ben").get(f"/pictures/suggested/{suggested.work}").status_code == 404
    assert not suggested.asked()


def test_a_title_leads_to_its_page_on_the_server(posters: Posters):
    work = posters.door.home.shelf.item(posters.item)["work_id"]
    assert f'href="/titles/{work}?from=%2F"' in posters.browser("Ben").get("/").text
    page = posters.browser("Ben").get(f"/titles/{work}").text
    port = posters.door.simulator.jellyfin_url.split(":")[2].split("/")[0]
    # The server is on the machine that the visitor reached by this name.
    assert f'href="http://mediabox:{port}/jellyfin/web/#/details?serverId=' in page
    assert f"id={posters.item}" in page and f'src="/pictures/{posters.item}"' in page
    # In a container, only others in its network know the name in the other setting.
    public = {"media_server_public_url": "https://watch.example/jellyfin"}
    posters.door.house.settings = posters.door.house.settings.model_copy(update=public)
    page = posters.browser("Ben").get(f"/titles/{work}").text
    assert 'href="https://watch.example/jellyfin/web/#/details?serverId=' in page and f":{port}/" not in page
