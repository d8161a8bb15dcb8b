"""Reading titles outside the library from TMDb: lists, and details in one request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import date
from typing import Any

import pytest

from aperture_dagster.discovery.pool import DETAILS
from aperture_dagster.enrichment.listed import DiscoverFilters, SuggestedTitle
from aperture_dagster.enrichment.tmdb.client import Tmdb
from aperture_dagster.enrichment.tmdb.suggestions import discover_params, parse_entries, parse_pool_title
from aperture_dagster.http.errors import BadAnswer
from aperture_dagster.simulator.server import RunningSimulator, running_simulator
from aperture_dagster.simulator.tmdb.titles import genre_id, named_id
from aperture_dagster.simulator.world import CastMember, Offer, Release, World, WorldTitle
from aperture_dagster_tests.services import Answer, Scripted

TODAY = date(2026, 5, 17)
FILMS = [
    WorldTitle(
        f"movie:{number}", "movie", f"Film {number}", release_date="2001-01-01", vote_count=number, tmdb_id=number,
        genres=("Drama",), keywords=("rain",), directors=("Ann Director",), language="en", popularity=1.0,
        recommended_tmdb_ids=tuple(range(1, 61)),
    )
    for number in range(1, 61)
]  # fmt: skip
FILMS[0] = WorldTitle(
    "movie:1", "movie", "The First", release_date="2026-01-10", vote_count=1, tmdb_id=1, imdb_id="tt0000001",
    cast=tuple(CastMember(f"Actor {number}") for number in range(9)), companies=("Studio",), adult=True,
    recommended_tmdb_ids=tuple(range(2, 61)),
    releases=(
        Release("DE", 3, "2026-02-01", "16"), Release("DE", 2, "2026-01-15"), Release("DE", 4, "2026-04-01", "12"),
        Release("DE", 5, "2026-05-01", "16"), Release("US", 1, "2026-01-01", "NR"), Release("FR", 3, "2026-03-01"),
    ),
    offers=(Offer("DE", "flatrate", "Netflix"), Offer("DE", "rent", "Apple TV"), Offer("US", "buy", "Amazon Video")),
)  # fmt: skip
SHOW = WorldTitle(
    "series:5", "series", "The Show", release_date="2001-01-01", tmdb_id=5, tvdb_id=55, networks=("Channel",),
    episodes_per_season=(3, 4), specials=1, certifications=(("US", "TV-14"), ("DE", "12")), creators=("Eve",),
)  # fmt: skip


@pytest.fixture(scope="module")
def served() -> Iterator[RunningSimulator]:
    with running_simulator(World("lists", [*FILMS, SHOW])) as simulator:
        yield simulator


def connected(url: str) -> closing[Tmdb]:
    return closing(Tmdb(url, "demo-tmdb-key", attempts=1))


def test_details_of_a_film_take_one_request_and_fill_the_columns_of_the_pool(served: RunningSimulator) -> None:
    with connected(served.tmdb_url) as client:
        film = client.pool_title("movie", 1)
        assert client.requests == 1
    assert set(film) == {*DETAILS, "tmdb_id"}
    assert set(film["certifications"]["DE"]) == {"12", "16"}
    assert film["certifications"]["US"] == ["NR"] and "FR" not in film["certifications"]
    assert film["releases"] == {
        "DE": {"theatrical": "2026-01-15", "digital": "2026-04-01", "physical": "2026-05-01"},
        "FR": {"theatrical": "2026-03-01"},
    }, "a premiere is no release"
    assert film["providers"]["DE"] == {"flatrate": ["Netflix"], "rent": ["Apple TV"]}
    assert film["is_adult"] is True
    assert film["cast"] == [f"Actor {number}" for number in range(5)] and film["companies"] == ["Studio"]
    assert len(film["recommended_tmdb_ids"]) == 20
    assert film["trailers"]["en"] == {"site": "YouTube", "key": "aqz-KE-bpKQ"} and film["seasons"] is None


def test_details_of_a_series_have_ratings(served: RunningSimulator) -> None:
    with connected(served.tmdb_url) as client:
        series = client.pool_title("series", 5)
    assert set(series) == {*DETAILS, "tmdb_id"}
    assert series["certifications"] == {"US": ["TV-14"], "DE": ["12"]}
    assert (series["releases"], series["tvdb_id"]) == (None, 55)
    assert series["networks"] == ["Channel"] and series["creators"] == ["Eve"]
    assert [(season["season"], season["episodes"]) for season in series["seasons"]] == [(0, 1), (1, 3), (2, 4)]
    assert series["seasons"][1]["year"] == 2001


def test_seasons_that_are_repeated_empty_or_odd_are_left_out() -> None:
    seasons = [
        {"season_number": 2, "episode_count": 8, "air_date": "soon"}, {"season_number": 1, "episode_count": 6.0},
        {"season_number": 1, "episode_count": 9}, {"season_number": 3, "episode_count": 0}, {"season_number": -1},
        {"season_number": "4", "episode_count": 4}, {"season_number": 10**400, "episode_count": 1}, None, "5",
        {"season_number": True, "episode_count": 4}, {"season_number": 6, "episode_count": {}},
    ]  # fmt: skip
    found = parse_pool_title({"id": 1, "name": "Show", "seasons": seasons}, "series")["seasons"]
    assert found == [{"season": 1, "episodes": 6, "year": None}, {"season": 2, "episodes": 8, "year": None}]
    for odd in (None, {}, "2", 7):
        assert parse_pool_title({"id": 1, "name": "Show", "seasons": odd}, "series")["seasons"] == []


def test_discover_finds_by_all_traits_and_orders_by_votes(served: RunningSimulator) -> None:
    filters = DiscoverFilters(
        genre_ids=(genre_id("Drama"),),
        keyword_ids=(named_id("keyword", "rain"),),
        person_ids=(named_id("person", "Ann Director"),),
        language="en",
        minimum_votes=10,
    )
    with connected(served.tmdb_url) as client:
        page = client.discover("movie", filters, today=TODAY)
        assert [one.tmdb_id for one in page.entries] == list(range(60, 40, -1)) and page.has_more
        assert page.entries[0] == SuggestedTitle(60, votes=60, language="en", released=date(2001, 1, 1), is_adult=False)
        last = client.discover("movie", filters, 3, today=TODAY)
        assert [one.tmdb_id for one in last.entries] == list(range(20, 9, -1)) and not last.has_more
        nothing = client.discover("movie", DiscoverFilters(genre_ids=(1,)), today=TODAY)
        assert nothing.entries == () and not nothing.has_more
        assert client.discover("movie", DiscoverFilters(), today=date(2000, 1, 1)).entries == ()


def test_people_are_never_asked_for_of_series() -> None:
    filters = DiscoverFilters(person_ids=(7,), within_days=10, minimum_votes=5)
    series = discover_params("series", filters, today=TODAY)
    assert "with_people" not in series
    assert (series["first_air_date.gte"], series["first_air_date.lte"]) == ("2026-05-07", "2026-05-17")
    assert series["sort_by"] == "popularity.desc" and series["vote_count.gte"] == 5
    assert discover_params("movie", filters, today=TODAY)["with_people"] == "7"


def test_entries_of_another_media_type_repeated_and_unreadable_ones_are_left_out() -> None:
    results = [
        {"id": 1, "media_type": "movie", "vote_count": 3.0, "original_language": ""},
        {"id": 2, "media_type": "tv"}, {"id": 1}, {"id": True}, {"id": "4"}, None, {"id": 5, "adult": True},
        {"id": 6, "release_date": "soon", "vote_count": "many"},
    ]  # fmt: skip
    assert parse_entries(results, "movie") == [
        SuggestedTitle(1, votes=3),
        SuggestedTitle(5, is_adult=True),
        SuggestedTitle(6),
    ]


@pytest.mark.parametrize("body", [{}, {"release_dates": None}, {"release_dates": {"results": [None, {}]}}])
def test_what_is_missing_or_odd_in_details_is_unknown(body: dict[str, Any]) -> None:
    odd = {"watch/providers": {"results": {"DE": None, "US": {"flatrate": "Netflix", "rent": [{}]}}}}
    film = parse_pool_title({"id": 1, "title": "Film", **odd, **body}, "movie")
    assert (film["certifications"], film["releases"], film["providers"]) == ({}, {}, {})
    assert film["is_adult"] is False
    blank = {"iso_3166_1": "DE", "release_dates": [{"certification": "", "type": 9, "release_date": "2026-01-01"}]}
    film = parse_pool_title({"id": 1, "title": "Film", "release_dates": {"results": [blank]}}, "movie")
    assert (film["certifications"], film["releases"]) == ({}, {})


def test_an_answer_without_results_is_an_empty_page_and_one_with_odd_results_is_refused(scripted: Scripted) -> None:
    with connected(scripted.url) as client:
        scripted.say(Answer({}))
        assert client.discover("movie", DiscoverFilters(), today=TODAY).entries == ()
        scripted.say(Answer({"results": "none"}))
        with pytest.raises(BadAnswer):
            client.discover("movie", DiscoverFilters(), today=TODAY)
