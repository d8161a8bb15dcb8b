"""TMDb's pictures: those that its API names, as real files of their kind, and what can go wrong with them."""

from __future__ import annotations

import io
from collections.abc import Iterator

import httpx
import pytest
from PIL import Image

from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster.simulator.world import World, WorldTitle
from aperture_dagster_tests.simulator.conftest import Control

FILM = WorldTitle(
    "movie:1", "movie", "Film", tmdb_id=1, imdb_id="tt0000001", collection=(55, "Films"),
    companies=tuple(f"Company {number}" for number in range(40)),
)  # fmt: skip
SHOW = WorldTitle("series:1", "series", "Show", tmdb_id=1, networks=("Network",), episodes_per_season=(2,))


@pytest.fixture
def simulator(serve) -> RunningSimulator:
    return serve(World("pictures", [FILM, SHOW]))


@pytest.fixture
def tmdb(simulator: RunningSimulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=simulator.tmdb_url, params={"api_key": "demo-tmdb-key"}) as client:
        yield client


@pytest.fixture
def logos(tmdb: httpx.Client) -> list[str | None]:
    return [company["logo_path"] for company in tmdb.get("/movie/1").json()["production_companies"]]


def logo(logos: list[str | None], ending: str) -> str:
    return next(path for path in logos if path is not None and path.endswith(ending))


def is_plain_picture(content: bytes, kind: str) -> bool:
    """Whether it is decoded as one colour that is not black: the whole picture was read."""
    with Image.open(io.BytesIO(content)) as picture:
        colours = picture.convert("RGB").getcolors()
        return picture.format == kind and colours is not None and len(colours) == 1 and min(colours[0][1]) > 20


def test_every_picture_in_a_response_exists(simulator: RunningSimulator, tmdb: httpx.Client) -> None:
    def named(content: object) -> Iterator[str]:
        for value in content.values() if isinstance(content, dict) else content:
            if isinstance(value, dict | list):
                yield from named(value)
            elif isinstance(value, str) and value.startswith("/") and value.endswith((".jpg", ".png", ".svg")):
                yield value

    parts = "append_to_response=recommendations"
    answers = [tmdb.get(path).json() for path in (f"/movie/1?{parts}", f"/tv/1?{parts}")]
    paths = set(named(answers))
    assert {path[-4:] for path in paths} == {".jpg", ".png", ".svg"}
    kinds = {".jpg": "image/jpeg", ".png": "image/png", ".svg": "image/svg+xml"}
    with httpx.Client(base_url=simulator.tmdb_images_url) as images:
        for path in paths:
            answer = images.get(f"/w300{path}")
            assert (answer.status_code, answer.headers["content-type"]) == (200, kinds[path[-4:]]), path
        assert is_plain_picture(images.get(f"/w342{answers[0]['poster_path']}").content, "JPEG")


def test_logos_are_svg_or_png_and_some_companies_have_none(
    simulator: RunningSimulator, tmdb: httpx.Client, logos: list[str | None]
) -> None:
    assert 0 < logos.count(None) < len(logos) / 2
    base = tmdb.get("/configuration").json()["images"]["secure_base_url"]
    assert is_plain_picture(httpx.get(f"{base}original{logo(logos, '.png')}").content, "PNG")
    drawing = httpx.get(f"{base}w92{logo(logos, '.svg')}")
    assert (drawing.headers["content-type"], drawing.text[:4]) == ("image/svg+xml", "<svg")


@pytest.mark.parametrize("path", ["/w92/abc.png", "/w92/../etc/passwd", "/w92", "/"])
def test_other_pictures_are_404(simulator: RunningSimulator, path: str) -> None:
    assert httpx.get(simulator.tmdb_images_url + path).status_code == 404


def test_a_picture_can_be_empty_missing_or_a_page_of_either_media_type(
    simulator: RunningSimulator, logos: list[str | None]
) -> None:
    path = f"/w300{logo(logos, '.png')}"
    for kind in ("empty_body", "html", "wrong_content", "malformed_json", "status"):
        simulator.state.add_fault(FaultRule("tmdb_images", ".png", kind, times=1, status=503))  # type: ignore[arg-type]
    answers = [httpx.get(simulator.tmdb_images_url + path) for _ in range(6)]
    right = answers.pop().content
    assert is_plain_picture(right, "PNG")
    assert [(answer.status_code, answer.headers["content-type"].partition(";")[0]) for answer in answers] == [
        (200, "image/png"), (200, "text/html"), (200, "image/png"), (200, "image/png"), (503, "text/html"),
    ]  # fmt: skip
    empty, page, disguised, truncated, _ = (answer.content for answer in answers)
    assert (empty, page) == (b"", disguised)
    assert page.startswith(b"<!DOCTYPE html>")
    assert 0 < len(truncated) < len(right) and right.startswith(truncated)
    assert simulator.state.asked("tmdb_images") == {path: 6}
    assert simulator.state.answered("tmdb_images") == {path: 1}
    assert simulator.state.most_in_window("tmdb_images", 60) == 6


def test_a_picture_can_be_huge_without_delaying_others(simulator: RunningSimulator, logos: list[str | None]) -> None:
    url = f"{simulator.tmdb_images_url}/w300{logo(logos, '.png')}"
    right = httpx.get(url).content
    simulator.state.add_fault(FaultRule("tmdb_images", kind="huge", times=1))
    with httpx.stream("GET", url) as answer:
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        assert "content-length" not in answer.headers
        chunks = answer.iter_bytes()
        begun = next(chunks)
        # It is far from sent, and others are answered.
        assert httpx.get(url).content == right
        sent = len(begun) + sum(map(len, chunks))
    assert begun.startswith(right)
    assert sent == len(right) + 50_000_000


def test_impossible_faults_of_pictures_are_refused(control: Control) -> None:
    control("add_fault", 400, service="tmdb_images", kind="empty_list")
    control("add_fault", 400, service="tmdb_images", kind="huge", megabytes=0)
