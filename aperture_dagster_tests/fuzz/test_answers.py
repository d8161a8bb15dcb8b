"""No answer of a service, however broken, stops more than the reading of it, or is stored as what it cannot be."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from aperture_dagster.discovery.seerr import parse_request
from aperture_dagster.discovery.seerr import parse_title as parse_seerr_title
from aperture_dagster.enrichment.mdblist import answers as mdblist
from aperture_dagster.enrichment.omdb import client as omdb
from aperture_dagster.enrichment.tmdb import suggestions, titles
from aperture_dagster.http.errors import ServiceError
from aperture_dagster.http.messages import parse_json
from aperture_dagster.media_server import items, published_items
from aperture_dagster.media_server.activity_log import parse_activity
from aperture_dagster.media_server.listing import only_types, parse_page
from aperture_dagster.prices.price_list import PriceListRejected, parse_price_list
from aperture_dagster_tests.fuzz import ANYTHING, FEW, broken, why_not_storable
from aperture_dagster_tests.recordings.recording import load

Parser = Callable[[Any], Any]


def _of_user(item: dict[str, Any]) -> str:
    return " of a user" if "UserData" in item else ""


@cache
def seeds(kind: str) -> list[Any]:
    """Return recorded objects of a kind: the type of an item, ``user``, ``library``, ``play``, or a kind of Seerr's."""
    if kind in ("title", "request"):
        asked = ("/movie/", "/tv/") if kind == "title" else ("/request/",)
        return [one.answer for one in load("seerr-3.1.0") if one.status == 200 and one.route.startswith(asked)][:12]
    found: list[Any] = []
    for one in load("jellyfin-12.0.0"):
        routes = {"user": "/Users", "library": "/Library/VirtualFolders", "play": "/System/ActivityLog/Entries"}
        if isinstance(one.answer, list) and one.route == routes.get(kind):
            found += one.answer
        elif isinstance(one.answer, dict) and one.route == routes.get(kind, "/Items"):
            found += [
                item for item in one.answer["Items"] if kind in ("play", item["Type"], item["Type"] + _of_user(item))
            ]
    return found[:12]


def _one_of(data: st.DataObject, whole: list[Any]) -> Any:
    return whole[data.draw(st.integers(0, len(whole) - 1))]


MEDIA_SERVER: dict[str, tuple[Parser, str]] = {
    "a user": (items.parse_user, "user"),
    "a library": (items.parse_library, "library"),
    "a film": (items.parse_title, "Movie"),
    "a series": (items.parse_title, "Series"),
    "an episode": (items.parse_episode, "Episode"),
    "somebody's film": (items.parse_state, "Movie of a user"),
    "somebody's episode": (items.parse_state, "Episode of a user"),
    "the versions of a film": (items.parse_versions, "Movie"),
    "the tags of an item": (items.parse_tags, "Movie"),
    "a studio": (items.parse_studio, "Movie"),
    "an entry of the log": (parse_activity, "play"),
    "a published film": (published_items.parse_published_item, "Movie"),
    "a list": (only_types("BoxSet", published_items.parse_list), "BoxSet"),
    "pictures": (published_items.artwork_tags, "Movie"),
}


@pytest.mark.parametrize("name", MEDIA_SERVER)
@FEW
@given(data=st.data())
def test_a_broken_item_of_the_media_server_costs_that_item_alone(name: str, data: st.DataObject) -> None:
    parse, kind = MEDIA_SERVER[name]
    whole = seeds(kind)
    good = whole[0]
    page = parse_page([data.draw(broken(_one_of(data, whole))), good], parse)
    assert parse(good) in page.records
    assert why_not_storable(page.records) is None


@pytest.mark.parametrize("position", [2**63 - 512, 1e18, 10**400, -5])
def test_a_position_that_no_film_has_costs_that_item_alone(position: float) -> None:
    """Found by the test above."""
    item = seeds("Movie of a user")[0]
    item = item | {"UserData": item["UserData"] | {"PlaybackPositionTicks": position}}
    assert why_not_storable(parse_page([item], items.parse_state).records) is None


@FEW
@given(data=st.data())
def test_broken_files_of_a_film_are_read_or_refused(data: st.DataObject) -> None:
    sources = [source for film in seeds("Movie") for source in film.get("MediaSources", ())]
    source = data.draw(broken(_one_of(data, sources)))
    assume(isinstance(source, dict))
    try:
        found = published_items.parse_media_source(source)
    except ServiceError:
        return
    assert why_not_storable((found.size, found.bitrate, found.width)) is None


OMDB = {
    "Title": "Alien", "Response": "True", "imdbID": "tt0078748", "Rated": "R", "Released": "22 Jun 1979",
    "Runtime": "117 min", "Awards": "Won 1 Oscar. 19 wins & 22 nominations total", "Metascore": "89",
    "imdbRating": "8.5", "imdbVotes": "990,000",
    "Ratings": [{"Source": "Rotten Tomatoes", "Value": "93%"}, {"Source": "Metacritic", "Value": "89/100"}],
}  # fmt: skip
MDBLIST = {
    "ids": {"imdb": "tt0078748", "tmdb": 348}, "score": 88, "certification": "R",
    "ratings": [{"source": "imdb", "value": 8.5, "votes": 990000}, {"source": "letterboxd", "value": 8.8, "score": 88}],
    "keywords": [{"name": "space"}], "streams": [{"name": "Some"}],
}  # fmt: skip
MDBLIST_PAGE = {"movies": [{"id": 348, "imdb_id": "tt0078748", "ids": {"tmdb": 348}}], "pagination": {"total": 1}}
TMDB = {
    "id": 348, "title": "Alien", "name": "Alien", "original_title": "Alien", "overview": "A plot.",
    "status": "Released", "adult": False,
    "release_date": "1979-05-25", "first_air_date": "1979-05-25", "last_air_date": "1980-01-01",
    "genres": [{"id": 27, "name": "Horror"}], "vote_average": 8.1, "vote_count": 13000, "popularity": 50.5,
    "runtime": 117, "episode_run_time": [50], "seasons": [{"season_number": 1, "episode_count": 3}],
    "keywords": {"keywords": [{"id": 1, "name": "space"}], "results": [{"id": 1, "name": "space"}]},
    "belongs_to_collection": {"id": 8091, "name": "Alien Collection"}, "number_of_seasons": 1,
    "production_companies": [{"id": 19747, "name": "Brandywine", "logo_path": "/a.png"}],
    "networks": [{"id": 1, "name": "Network", "logo_path": None}], "created_by": [{"id": 5, "name": "Somebody"}],
    "production_countries": [{"iso_3166_1": "US"}], "origin_country": ["US"], "original_language": "en",
    "credits": {"cast": [{"id": 10205, "name": "Sigourney Weaver", "character": "Ripley", "order": 0}],
                "crew": [{"id": 578, "name": "Ridley Scott", "job": "Director"}]},
    "aggregate_credits": {"cast": [{"id": 1, "name": "Some", "roles": [{"character": "One", "episode_count": 2}]}]},
    "external_ids": {"imdb_id": "tt0078748", "tvdb_id": 77}, "recommendations": {"results": [{"id": 679}]},
    "similar": {"results": [{"id": 680}]}, "next_episode_to_air": {"air_date": "2030-01-01", "season_number": 1},
    "release_dates": {"results": [{"iso_3166_1": "US", "release_dates": [{"certification": "R", "type": 3,
                                  "release_date": "1979-05-25T00:00:00.000Z"}]}]},
    "content_ratings": {"results": [{"iso_3166_1": "US", "rating": "TV-MA"}]},
    "watch/providers": {"results": {"US": {"link": "x", "flatrate": [{"provider_name": "Some", "provider_id": 1}]}}},
}  # fmt: skip

SERVICES: dict[str, tuple[Parser, Any]] = {
    "a title of OMDb": (lambda one: omdb.parse_title(one, "tt0078748"), OMDB),
    "scores of MDBList": (mdblist.parse_title, MDBLIST),
    "a batch of MDBList": (lambda one: mdblist.parse_titles(one, "imdb", {"tt0078748": 1}), [MDBLIST]),
    "a list of MDBList": (lambda one: mdblist.parse_list(one, "movie", end=10), MDBLIST_PAGE),
    "a film of TMDb": (lambda one: titles.parse_title(one, "movie"), TMDB),
    "a series of TMDb": (lambda one: titles.parse_title(one, "series"), TMDB),
    "a suggested film": (lambda one: suggestions.parse_pool_title(one, "movie"), TMDB),
    "a suggested series": (lambda one: suggestions.parse_pool_title(one, "series"), TMDB),
    "a list of TMDb": (
        lambda one: suggestions.parse_entries(one if isinstance(one, list) else [], "movie"),
        [TMDB, TMDB],
    ),
}


@pytest.mark.parametrize("name", SERVICES)
@FEW
@given(data=st.data())
def test_a_broken_answer_of_a_service_is_read_or_refused(name: str, data: st.DataObject) -> None:
    parse, whole = SERVICES[name]
    assert parse(whole)
    try:
        found = parse(data.draw(broken(whole)))
    except ServiceError:
        return
    assert why_not_storable(found) is None


@pytest.mark.parametrize("odd", [[], {}, "1", 2**63, True, None])
def test_an_odd_number_of_seerr_is_no_number(odd: Any) -> None:
    """Found by the test below."""
    title = {"mediaInfo": {"status": odd, "seasons": [{"seasonNumber": odd, "status": 5}], "requests": [{"id": odd}]}}
    assert parse_seerr_title(title).status == "unknown" and not parse_seerr_title(title).requests
    assert parse_request({"id": 1, "status": odd}) is None
    assert parse_request({"id": odd, "status": 1}) is None


@pytest.mark.parametrize("odd", [[None], {}, 2**63, -1, True])
def test_odd_numbers_and_jobs_of_tmdb_are_none(odd: Any) -> None:
    """Found by the test above."""
    dates = {"results": [{"iso_3166_1": "US", "release_dates": [{"type": odd, "release_date": "1979-05-25"}]}]}
    ids = {"release_dates": dates, "recommendations": {"results": [{"id": odd}]}, "genres": [{"id": odd, "name": "x"}]}
    ids |= {"credits": {"crew": [{"name": "x", "job": odd, "jobs": [{"job": odd}]}]}}
    ids |= {"production_companies": [{"id": odd, "name": "x"}]}
    assert why_not_storable(suggestions.parse_pool_title(TMDB | ids, "movie")) is None
    assert why_not_storable(titles.parse_title(TMDB | ids, "movie")) is None
    assert suggestions.parse_entries([TMDB | {"id": odd}], "movie") == []
    with pytest.raises(ServiceError, match="an impossible one"):
        titles.parse_title(TMDB | {"id": odd}, "movie")


@FEW
@given(data=st.data())
def test_a_broken_answer_of_seerr_is_read_or_refused(data: st.DataObject) -> None:
    title = data.draw(broken(_one_of(data, seeds("title"))))
    found = parse_seerr_title(title if isinstance(title, dict) else {})
    assert why_not_storable((found.status, found.seasons, found.open_seasons)) is None
    request = parse_request(data.draw(broken(_one_of(data, seeds("request")))))
    assert request is None or why_not_storable(request) is None


@FEW
@given(content=st.binary(max_size=60) | ANYTHING.map(lambda one: json.dumps(one).encode()))
@example(b"[" * 100_000)
@example(b'{"a": 1e999999999}')
def test_any_bytes_are_json_or_refused(content: bytes) -> None:
    for lenient in (False, True):
        with contextlib.suppress(ValueError):
            parse_json(content, lenient=lenient)


@FEW
@given(data=st.data())
def test_a_broken_list_of_prices_is_read_or_refused(data: st.DataObject) -> None:
    entry = {"litellm_provider": "openai", "mode": "embedding", "input_cost_per_token": 2e-08, "max_input_tokens": 8191}
    whole = {"text-embedding-3-small": entry, "other": entry | {"output_cost_per_token": 1e-07}}
    content = json.dumps(data.draw(broken(whole))).encode()
    cut = data.draw(st.integers(0, len(content)))
    for one in (content, content[:cut]):
        try:
            prices = parse_price_list(one)
        except PriceListRejected:
            continue
        assert prices and why_not_storable(list(prices.values())) is None
