"""Downloading logos: the requested size and format, what is refused, and that the content decides."""

from __future__ import annotations

import hashlib
from contextlib import closing
from typing import Any

import pytest

from aperture_dagster.enrichment.pictures import PictureFacts
from aperture_dagster.enrichment.tmdb.images import TmdbImages
from aperture_dagster.http.errors import BadAnswer, NotFound, RequestRejected, ServiceRefused
from aperture_dagster.simulator.opinions import jpeg, png
from aperture_dagster_tests.http.troubles import PASSING, QUICK, Trouble, page
from aperture_dagster_tests.services import Answer, Scripted

PNG, JPEG = png("logo", 50, 20), jpeg("logo", 48, 24)


def connected(url: str, **how: Any) -> closing[TmdbImages]:
    return closing(TmdbImages(url, **QUICK | how))


@pytest.mark.parametrize(
    ("path", "requested", "content", "facts"),
    [
        ("/wd.png", "/w500/wd.png", PNG, PictureFacts("png", 50, 20)),
        ("/wd.jpg", "/w500/wd.jpg", JPEG, PictureFacts("jpeg", 48, 24)),
        ("/wd.svg", "/w500/wd.png", PNG, PictureFacts("png", 50, 20)),
        # The file name does not count.
        ("/wd.png", "/w500/wd.png", JPEG, PictureFacts("jpeg", 48, 24)),
    ],
)
def test_a_logo_is_recognised_by_its_content_and_an_svg_is_requested_as_png(
    scripted: Scripted, path: str, requested: str, content: bytes, facts: PictureFacts
):
    scripted.say(Answer(content, headers={"content-type": "text/html"}))
    with connected(scripted.url) as client:
        logo = client.logo(path)
        assert client.requests == 1
    assert (logo.content, logo.facts) == (content, facts)
    assert logo.sha256 == hashlib.sha256(content).hexdigest()
    assert scripted.asked[0].target == requested
    assert "image/png" in scripted.asked[0].headers["accept"]


@pytest.mark.parametrize(
    "path",
    [
        "", "logo.png", "//host/logo.png", "/../logo.png", "/a/logo.png", "https://example.org/logo.png",
        "/logo.png?size=1", "/%2e%2e%2flogo.png", "/logo.png\n", "/..\\logo.png", "/@example.org:80.png",
    ],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_is_refused_without_a_request(scripted: Scripted, path: str):
    with connected(scripted.url) as client, pytest.raises(BadAnswer, match="not the path of a picture"):
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
    "a page": Trouble(page(), BadAnswer, r"/wd\.png was rejected: it is a page \(HTML or XML\)", 1),
    "nothing": Trouble(Answer(b""), BadAnswer, "it is empty", 1),
    "JSON": Trouble(Answer({"success": False}), BadAnswer, "neither PNG nor JPEG", 1),
    "half a picture": Trouble(Answer(PNG[:-10]), BadAnswer, "it is damaged", 1),
    "large": Trouble(Answer(PNG + bytes(200_000)), BadAnswer, "larger than 0.1 MB", 1),
}


@pytest.mark.parametrize("trouble", [pytest.param(one, id=name) for name, one in (PASSING | NO).items()])
def test_each_failure_is_reported_by_its_cause(scripted: Scripted, trouble: Trouble):
    scripted.say(trouble.answer)
    with connected(scripted.url, timeout_seconds=trouble.patience, largest_bytes=100_000) as client:
        with pytest.raises(trouble.error, match=trouble.words):
            client.logo("/wd.png")
        assert client.requests == trouble.requests
