"""Fetching logos: the size that is asked for, what is refused before and after, and that content decides."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from aperture_dagster.resources.errors import BadAnswer, NotFound, RequestRejected, ServiceRefused
from aperture_dagster.resources.tmdb_images import TmdbImages
from aperture_dagster.simulator.images import jpeg, png
from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster_tests.resources.conftest import Answer, Scripted
from aperture_dagster_tests.resources.troubles import PASSING, QUICK, Trouble, page

PNG, JPEG = png("logo", 50, 20), jpeg("logo", 48, 24)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 50 20"><path d="M0 0h50v20z"/></svg>'


@contextmanager
def connected(url: str, **how: Any) -> Iterator[TmdbImages]:
    client = TmdbImages.connect(url, **QUICK | how)
    try:
        yield client
    finally:
        client.close()


@pytest.mark.parametrize(
    ("path", "asked", "content", "kind", "media_type", "size"),
    [
        ("/wd.png", "/w500/wd.png", PNG, "png", "image/png", (50, 20)),
        ("/wd.jpg", "/w500/wd.jpg", JPEG, "jpeg", "image/jpeg", (48, 24)),
        ("/wd.svg", "/original/wd.svg", SVG, "svg", "image/svg+xml", (50, 20)),
        ("/WD.SVG", "/original/WD.SVG", SVG, "svg", "image/svg+xml", (50, 20)),
        # What the name, or the content type below, says does not count.
        ("/wd.png", "/w500/wd.png", SVG, "svg", "image/svg+xml", (50, 20)),
        ("/wd.svg", "/original/wd.svg", PNG, "png", "image/png", (50, 20)),
    ],
)
def test_a_logo_is_what_its_content_is(
    scripted: Scripted, path: str, asked: str, content: bytes, kind: str, media_type: str, size: tuple[int, int]
):
    scripted.say(Answer(content, headers={"content-type": "text/html"}))
    with connected(scripted.url) as client:
        logo = client.logo(path)
        assert client.requests == 1
    assert (logo.content, logo.kind, logo.media_type, (logo.width, logo.height)) == (content, kind, media_type, size)
    assert logo.sha256 == hashlib.sha256(content).hexdigest()
    assert scripted.asked[0].target == asked
    assert "image/png" in scripted.asked[0].headers["accept"]


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "logo.png", "//host/logo.png", "/../logo.png", "/a/../logo.png", "/..png/..", "/a/logo.png", "/..",
        "https://example.org/logo.png", "/logo.png?size=1", "/logo.png#a", "/%2e%2e%2flogo.png", "/lo go.png",
        "/logo.png\n", "\\logo.png", "/..\\logo.png", "/logo", "/.png", "/logo..png", "/@example.org:80.png",
        "/l\u043ego.png", "/" + "a" * 200 + ".png",
    ],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_is_refused_before_anything_is_asked(scripted: Scripted, path: str):
    with connected(scripted.url) as client, pytest.raises(BadAnswer, match="no path of a picture"):
        client.logo(path)
    assert scripted.asked == []


NO: dict[str, Trouble] = {
    "gone": Trouble(Answer("", 404), NotFound, "not found", 1),
    "forbidden": Trouble(page(403), ServiceRefused, "refused", 1),
    "elsewhere": Trouble(
        Answer("", 302, {"location": "http://elsewhere.example/"}),
        RequestRejected,
        "redirects.*APERTURE_TMDB_IMAGE_URL",
        1,
    ),
    "a page": Trouble(page(), BadAnswer, r"/wd\.png was not taken: it is a page \(HTML\)", 1),
    "nothing": Trouble(Answer(b""), BadAnswer, "it is empty", 1),
    "JSON": Trouble(Answer({"success": False}), BadAnswer, "neither PNG, JPEG nor SVG", 1),
    "half a picture": Trouble(Answer(PNG[:-10]), BadAnswer, "it is cut off", 1),
    "a program": Trouble(Answer(SVG.replace(b"path", b"script")), BadAnswer, "<script>, which is more", 1),
    "large": Trouble(Answer(PNG + bytes(200_000)), BadAnswer, "larger than 0.1 MB", 1),
}


@pytest.mark.parametrize("trouble", [pytest.param(one, id=name) for name, one in (PASSING | NO).items()])
def test_each_trouble_is_told_by_what_it_means(scripted: Scripted, trouble: Trouble):
    scripted.say(trouble.answer)
    with connected(scripted.url, timeout_seconds=trouble.patience, largest_bytes=100_000) as client:
        with pytest.raises(trouble.error, match=trouble.words):
            client.logo("/wd.png")
        assert client.requests == trouble.requests


def test_a_picture_that_failed_on_its_way_is_fetched_again(scripted: Scripted):
    scripted.say(Answer(PNG, missing=30), Answer("", 503), Answer(PNG))
    with connected(scripted.url, attempts=3) as client:
        assert client.logo("/wd.png").content == PNG
    assert len(scripted.asked) == 3


def test_the_stand_ins_logos_are_pictures(steady: RunningSimulator):
    # As TMDb's answers name them.
    from aperture_dagster.resources.tmdb import Tmdb

    tmdb = Tmdb.connect(steady.tmdb_url, "demo-tmdb-key", attempts=1)
    titles = [title for title in steady.state.titles.values() if title.companies and title.tmdb_id]
    paths: set[str] = set()
    for title in titles[:10]:
        assert title.tmdb_id is not None
        companies = tmdb.title(title.media_type, title.tmdb_id).companies
        paths |= {company["logo_path"] for company in companies if company["logo_path"]}
    tmdb.close()
    assert paths
    with connected(steady.tmdb_images_url) as client:
        for path in paths:
            assert client.logo(path).width
        with pytest.raises(NotFound):
            client.logo("/nosuchlogo.png")
