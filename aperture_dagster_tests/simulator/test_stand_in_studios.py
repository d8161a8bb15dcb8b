"""Both media servers list studios and accept pictures for them, as the real ones do."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import httpx
import pytest

from aperture_dagster.simulator.opinions import jpeg, png
from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster.simulator.world import World, WorldTitle

TITLES = [
    WorldTitle("movie:1", "movie", "One", companies=("Zeta", "alpha/Beta, Ltd.")),
    WorldTitle("movie:2", "movie", "Two", companies=("Zeta", "Middle")),
    WorldTitle("movie:3", "movie", "Elsewhere", companies=("Not Here",), copies=0),
    WorldTitle("series:1", "series", "Show", companies=("Maker",), networks=("Network",), episodes_per_season=(1,)),
]
NAMES = ["alpha/Beta, Ltd.", "Middle", "Network", "Zeta"]
HEADERS = {
    "jellyfin": {"Authorization": 'MediaBrowser Token="demo-jellyfin-key"'},
    "emby": {"X-Emby-Token": "demo-emby-key"},
}


@pytest.fixture
def simulator(serve) -> RunningSimulator:
    return serve(World("studios", TITLES))


@pytest.fixture(params=["jellyfin", "emby"])
def server(request: pytest.FixtureRequest, simulator: RunningSimulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{simulator.url}/{request.param}", headers=HEADERS[request.param]) as client:
        yield client


def studios(server: httpx.Client, **parameters: object) -> dict[str, dict]:
    """Return studios by name, in the order of the listing."""
    return {studio["Name"]: studio for studio in server.get("/Studios", params=parameters).json()["Items"]}


def set_picture(server: httpx.Client, number: str, content: bytes, content_type: str) -> httpx.Response:
    return server.post(f"/Items/{number}/Images/Primary", content=content, headers={"Content-Type": content_type})


def test_studios_of_items_on_the_server_are_listed_in_pages(simulator: RunningSimulator, server: httpx.Client) -> None:
    assert list(studios(server)) == NAMES
    page = server.get("/Studios", params={"StartIndex": 1, "Limit": 2}).json()
    assert ([studio["Name"] for studio in page["Items"]], page["TotalRecordCount"]) == (NAMES[1:3], 4)
    listed = server.get("/Items", params={"Recursive": "true", "IncludeItemTypes": "Movie", "Fields": "Studios"}).json()
    ids = {studio["Name"]: str(studio["Id"]) for film in listed["Items"] for studio in film["Studios"]}
    assert {name: studio["Id"] for name, studio in studios(server).items() if name != "Network"} == ids
    simulator.state.remove_title("movie:2")
    assert "Middle" not in studios(server)


def test_a_picture_can_be_uploaded_as_base64_and_read_back(simulator: RunningSimulator, server: httpx.Client) -> None:
    number = studios(server)["Zeta"]["Id"]
    assert studios(server)["Zeta"]["ImageTags"] == {}
    assert server.get(f"/Items/{number}/Images/Primary").status_code == 404
    tags = []
    for content, content_type in ((png("logo"), "image/png"), (jpeg("logo"), "image/jpeg")):
        answer = set_picture(server, number, base64.b64encode(content), content_type)
        assert (answer.status_code, answer.content) == (204, b"")
        picture = simulator.state.studio_pictures()["Zeta"]
        assert (picture.content, picture.media_type) == (content, content_type)
        shown = server.get(f"/Items/{number}/Images/Primary")
        assert (shown.content, shown.headers["content-type"]) == (content, content_type)
        tags.append(studios(server)["Zeta"]["ImageTags"]["Primary"])
    assert tags[0] != tags[1]
    assert set(simulator.state.studio_pictures()) == {"Zeta"}
    # A film's picture is the film's.
    (film,) = server.get("/Items", params={"Recursive": "true", "SearchTerm": "Two"}).json()["Items"]
    assert set_picture(server, film["Id"], base64.b64encode(png("film")), "image/png").status_code == 204
    assert server.get(f"/Items/{film['Id']}/Images/Primary").content == png("film")
    assert set(simulator.state.studio_pictures()) == {"Zeta"}


def test_an_invalid_upload_is_refused(simulator: RunningSimulator, server: httpx.Client) -> None:
    number, encoded = studios(server)["Zeta"]["Id"], base64.b64encode(png("logo"))
    assert set_picture(server, number, png("logo"), "image/png").status_code == 500
    for content_type in ("image/jpg", "image/svg+xml"):
        wrong = set_picture(server, number, encoded, content_type)
        kind = "application/json" if "jellyfin" in str(server.base_url) else "text/plain"
        assert (wrong.status_code, wrong.headers["content-type"].partition(";")[0]) == (400, kind)
    assert set_picture(server, number, encoded, "application/octet-stream").status_code == 415
    nobody = "0" * 32 if "jellyfin" in str(server.base_url) else "9"
    assert set_picture(server, nobody, encoded, "image/png").status_code == 404
    # Seeing a picture needs no key, setting one does.
    del server.headers["Authorization" if "jellyfin" in str(server.base_url) else "X-Emby-Token"]
    assert set_picture(server, number, encoded, "image/png").status_code == 401
    assert simulator.state.studio_pictures() == {}
