"""Trailers: the best one in each language, and addresses of known sites alone."""

from __future__ import annotations

from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest

from aperture_dagster.enrichment.tmdb.client import Tmdb
from aperture_dagster.enrichment.tmdb.titles import parse_title
from aperture_dagster.enrichment.trailers import Trailer, best_trailers, trailer_in
from aperture_dagster_tests.services import Answer, Scripted

KEY = "aqz-KE-bpKQ"


ODD_PLACES: list[dict[str, Any]] = [
    {"key": "javascript:alert(1)"}, {"key": "javascript:"}, {"key": "abc&list=RDx"}, {"key": f"{KEY}\n"},
    {"key": "../../../../"}, {"key": '"><script>x'}, {"key": None}, {"key": 12345678901}, {"key": ""}, {"key": [KEY]},
    {"key": {"a": 1}}, {"site": "javascript"}, {"site": "youtube.evil.example"}, {"site": ["YouTube"]}, {"site": None},
    {"site": "Vimeo"}, {"site": "Vimeo", "key": "1?x=y"}, {"site": "Vimeo", "key": "\u0661\u0662"},
]  # fmt: skip


def video(key: Any = KEY, language: Any = "en", **values: Any) -> dict[str, Any]:
    return {
        "iso_639_1": language, "site": "YouTube", "key": key, "type": "Trailer", "official": True, "size": 1080,
    } | values  # fmt: skip


def test_the_best_trailer_in_each_language_is_kept():
    found = best_trailers(
        [
            video("teaser_____", type="Teaser"),
            video("clip_______", type="Clip"),
            video("somebodys__", official=False, size=2160),
            video("small______", size=360),
            video("first______"),
            video("second_____"),
            video("german_____", "de", type="Teaser", official=False),
            video("76979871", "fr", site="Vimeo"),
        ]
    )
    assert found == {
        "en": {"site": "YouTube", "key": "first______"},
        "de": {"site": "YouTube", "key": "german_____"},
        "fr": {"site": "Vimeo", "key": "76979871"},
    }
    assert best_trailers([]) is None and best_trailers([video(type="Featurette")]) is None


@pytest.mark.parametrize(
    "odd",
    [
        *ODD_PLACES,
        {"language": "../"}, {"language": "EN"}, {"language": 7}, {"language": ["en"]}, {"type": ["Trailer"]},
        {"type": {"Trailer": 1}},
    ],
)  # fmt: skip
def test_a_video_with_an_unexpected_value_is_no_trailer_and_costs_only_itself(odd: dict[str, Any]):
    good = video(key="good-______", size=float("nan"), official="yes", published_at=7)
    given = {"id": 1, "title": "Film", "videos": {"results": [video(**odd), good, None, "text", 7, []]}}
    trailers = parse_title(given, "movie")["trailers"]
    assert trailers == {"en": {"site": "YouTube", "key": "good-______"}}


@pytest.mark.parametrize("odd", ODD_PLACES)
def test_what_is_stored_becomes_a_link_only_if_it_is_a_key_of_a_known_site(odd: dict[str, Any]):
    assert trailer_in({"en": {"site": "YouTube", "key": KEY, **odd}}, "en") is None


@pytest.mark.parametrize("odd", [None, "text", 7, [], {}, {"results": None}, {"results": {}}, {"results": [[]]}])
def test_an_answer_without_videos_has_no_trailers(odd: Any):
    assert parse_title({"id": 1, "title": "Film", "videos": odd}, "movie")["trailers"] is None
    assert trailer_in(odd, "en") is None


def test_a_page_gets_the_trailer_in_its_language_or_the_english_one_or_any():
    trailers = {language: {"site": "Vimeo", "key": str(n)} for n, language in enumerate(("fr", "en", "de"), start=1)}
    assert trailer_in(trailers, "de") == Trailer("https://vimeo.com/3", "Vimeo", "de")
    assert trailer_in(trailers, "es") == Trailer("https://vimeo.com/2", "Vimeo", "en")
    assert trailer_in({"ja": {"site": "YouTube", "key": KEY}}, "de") == Trailer(
        f"https://www.youtube.com/watch?v={KEY}", "YouTube", "ja"
    )
    odd = {"de": {"site": "YouTube", "key": "x"}, "en": None, "ja": {"site": "Vimeo", "key": "9"}}
    assert trailer_in(odd, "de") == Trailer("https://vimeo.com/9", "Vimeo", "ja")


@pytest.mark.parametrize("language", ["en-US", "fr-FR"])
def test_trailers_come_with_the_request_for_a_title_in_all_languages_of_the_pages(scripted: Scripted, language: str):
    scripted.say(Answer({"id": 603, "title": "Film", "overview": "Plot.", "videos": {"results": [video()]}}))
    with closing(Tmdb(scripted.url, "demo-tmdb-key", language=language, attempts=1)) as client:
        film = client.title("movie", 603)
        assert client.requests == 1
    assert film["trailers"] == {"en": {"site": "YouTube", "key": KEY}}
    query = dict(part.split("=") for part in urlsplit(scripted.asked[-1].target).query.split("&"))
    assert "videos" in query["append_to_response"]
    assert {"de", "en", language[:2]} == set(query["include_video_language"].replace("%2C", ",").split(","))
