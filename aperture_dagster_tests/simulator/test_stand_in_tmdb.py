"""The TMDb stand-in behaves like the real service."""

from __future__ import annotations

import httpx
import pytest

from aperture_dagster.simulator.counters import RateLimit
from aperture_dagster.simulator.tmdb.titles import named_id
from aperture_dagster.simulator.world import CastMember, World, WorldTitle

KEY = "demo-tmdb-key"
FILM = WorldTitle(
    "movie:1", "movie", "First", year=2001, tmdb_id=101, imdb_id="tt0101", genres=("Drama", "Made Up"),
    keywords=("heist", "rain"), cast=(CastMember("Ann Actor", "Hero"), CastMember("Bo Actor")),
    directors=("Di Rector",), writers=("Wri Ter",), composers=("Com Poser",), cinematographers=("Cam Era",),
    companies=("Stu Dio",), countries=("FR",), language="fr", runtime_minutes=100,
    release_date="2001-02-03", official_rating="R",
    vote_average=7.5, vote_count=10, popularity=5.0, collection=(55, "Firsts"),
    recommended_tmdb_ids=(102, 999, 101_000),
)  # fmt: skip
SECOND = WorldTitle(
    "movie:2", "movie", "Second", tmdb_id=102, collection=(55, "Firsts"), genres=("Drama",), keywords=("rain",),
    copies=0,
)  # fmt: skip
BARE = WorldTitle("movie:3", "movie", "Bare", tmdb_id=103)
SHOW = WorldTitle(
    "series:1", "series", "Show", year=2010, tmdb_id=101, imdb_id="tt0202", tvdb_id=77, genres=("Drama",),
    keywords=("town",), creators=("Cre Ator",), networks=("Net Work",), cast=(CastMember("Ann Actor", "Mayor"),),
    status="Returning Series", runtime_minutes=45, release_date="2010-01-10", episodes_per_season=(2, 3),
    official_rating="TV-14",
)  # fmt: skip
UNKNOWN = WorldTitle("movie:4", "movie", "Without Id")


@pytest.fixture
def client(serve):
    simulator = serve(World("films", [FILM, SECOND, BARE, SHOW, UNKNOWN]))
    with httpx.Client(base_url=simulator.tmdb_url, headers={"Authorization": f"Bearer {KEY}"}) as client:
        yield client


def test_unknown_values_are_empty_in_a_way_that_depends_on_the_field(client: httpx.Client) -> None:
    film = client.get("/movie/103").json()
    for name in ("overview", "tagline", "release_date", "homepage"):
        assert film[name] == ""
    for name in ("runtime", "budget", "revenue", "vote_average", "vote_count"):
        assert film[name] == 0
    for name in ("imdb_id", "belongs_to_collection"):
        assert film[name] is None
    for name in ("genres", "production_companies", "production_countries"):
        assert film[name] == []


def test_recommendations_come_from_the_world_and_are_known_titles(client: httpx.Client) -> None:
    film = client.get("/movie/101?append_to_response=recommendations").json()
    assert [item["id"] for item in film["recommendations"]["results"]] == [102]
    assert film["recommendations"]["total_results"] == 1
    bare = client.get("/movie/103?append_to_response=recommendations").json()
    assert bare["recommendations"]["results"] == []


def test_similar_titles_share_keywords_and_have_no_media_type(client: httpx.Client) -> None:
    similar = client.get("/movie/101?append_to_response=similar").json()["similar"]
    assert [item["id"] for item in similar["results"]] == [102] and similar["total_results"] == 1
    assert "media_type" not in similar["results"][0]
    assert client.get("/tv/101?append_to_response=similar").json()["similar"]["results"] == []


def test_a_series_has_seasons_networks_and_external_ids(client: httpx.Client) -> None:
    show = client.get("/tv/101?append_to_response=external_ids,aggregate_credits,content_ratings").json()
    assert "imdb_id" not in show
    assert (show["external_ids"]["imdb_id"], show["external_ids"]["tvdb_id"]) == ("tt0202", 77)
    assert (show["number_of_seasons"], show["number_of_episodes"]) == (2, 5)
    assert [season["episode_count"] for season in show["seasons"]] == [2, 3]
    assert show["networks"][0]["name"] == "Net Work"
    assert show["created_by"][0]["name"] == "Cre Ator"
    assert show["last_episode_to_air"]["season_number"] == 2
    assert show["next_episode_to_air"]["season_number"] == 3
    assert show["aggregate_credits"]["cast"][0]["roles"][0]["character"] == "Mayor"
    assert {one["iso_3166_1"]: one["rating"] for one in show["content_ratings"]["results"]}["US"] == "TV-14"


def test_a_person_has_one_id_wherever_they_appear(client: httpx.Client) -> None:
    film = client.get("/movie/101?append_to_response=credits").json()["credits"]["cast"][0]
    show = client.get("/tv/101?append_to_response=aggregate_credits").json()["aggregate_credits"]["cast"][0]
    assert film["name"] == show["name"]
    assert film["id"] == show["id"] == named_id("person", "Ann Actor")


def test_titles_can_be_found_by_external_ids(client: httpx.Client) -> None:
    film = client.get("/find/tt0101?external_source=imdb_id").json()
    assert [item["id"] for item in film["movie_results"]] == [101]
    show = client.get("/find/77?external_source=tvdb_id").json()
    assert [item["name"] for item in show["tv_results"]] == ["Show"]
    nothing = client.get("/find/tt9?external_source=imdb_id")
    assert nothing.status_code == 200
    assert all(results == [] for results in nothing.json().values())
    assert client.get("/find/tt0101").status_code == 422


def test_discover_filters_pages_and_refuses_an_impossible_page(client: httpx.Client) -> None:
    found = client.get("/discover/movie", params={"with_genres": "18", "sort_by": "popularity.desc"}).json()
    assert [item["id"] for item in found["results"]] == [101, 102]
    assert (
        client.get("/discover/movie", params={"with_genres": "18", "vote_count.gte": "5"}).json()["total_results"] == 1
    )
    assert client.get("/discover/movie", params={"with_genres": "424242"}).json()["results"] == []
    assert client.get("/discover/movie?page=2").json()["results"] == []
    assert client.get("/discover/movie?page=501").json()["status_code"] == 22


def test_beyond_the_limit_requests_are_429_code_25(serve) -> None:
    simulator = serve(tmdb_limit=(5, 60.0))
    with httpx.Client(base_url=simulator.tmdb_url, params={"api_key": KEY}) as client:
        answers = [client.get("/movie/900000000") for _ in range(8)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 3
        assert (answers[-1].json()["status_code"], "retry-after" in answers[-1].headers) == (25, False)
        assert simulator.state.most_in_window("tmdb") == 8


def test_the_window_slides_and_refused_requests_do_not_fill_it() -> None:
    clock = [0.0]
    limit = RateLimit(2, 10.0, clock=lambda: clock[0])
    admitted = []
    for clock[0] in (0.0, 5.0, 9.9, 10.0, 14.9, 15.0):
        admitted.append(limit.admit())
    assert admitted == [True, True, False, True, False, True]
    assert limit.most_in_window(10.0) == 4
    assert limit.most_in_window(0.5) == 2


def test_a_moved_id_is_404_and_the_title_is_found_under_the_new_one(serve) -> None:
    simulator = serve(World("films", [FILM]), tmdb_moved={101: 909})
    with httpx.Client(base_url=simulator.tmdb_url, headers={"Authorization": f"Bearer {KEY}"}) as client:
        assert client.get("/movie/101").status_code == 404
        found = client.get("/find/tt0101?external_source=imdb_id").json()["movie_results"]
        assert [one["id"] for one in found] == [909]
        assert client.get("/movie/909").json()["id"] == 909


def test_in_other_languages_some_titles_have_no_overview(serve) -> None:
    films = [WorldTitle(f"movie:{one}", "movie", "A", tmdb_id=one, overview="A plot") for one in range(1, 40)]
    simulator = serve(World("films", films))
    with httpx.Client(base_url=simulator.tmdb_url, headers={"Authorization": f"Bearer {KEY}"}) as client:
        overviews = [client.get(f"/movie/{one.tmdb_id}?language=de-DE").json()["overview"] for one in films]
        assert client.get("/movie/1?language=en-US").json()["overview"] == "A plot"
    assert set(overviews) == {"", "(de) A plot"}
    assert 4 < overviews.count("") < 20


def test_lists_have_pages_of_twenty_in_an_order_of_their_own(serve) -> None:
    films = [
        WorldTitle(
            f"movie:{number}", "movie", f"Film {number}", tmdb_id=number, popularity=float(number),
            vote_average=10 - number % 9, vote_count=50 if number == 9 else 500,
        )
        for number in range(1, 46)
    ]  # fmt: skip
    simulator = serve(World("films", [*films, SHOW]))
    with httpx.Client(base_url=simulator.tmdb_url, headers={"Authorization": f"Bearer {KEY}"}) as client:
        first, last = (client.get("/movie/popular", params={"page": page}).json() for page in (1, 3))
        assert [one["id"] for one in first["results"]] == list(range(45, 25, -1))
        assert (len(last["results"]), last["total_pages"], last["total_results"]) == (5, 3, 45)
        assert client.get("/movie/popular", params={"page": 4}).json()["results"] == []
        rated = [one["id"] for one in client.get("/movie/top_rated").json()["results"]]
        assert rated[:4] == [45, 36, 27, 18] and 9 not in rated, "few votes are not enough"
        trending = client.get("/trending/movie/week").json()["results"]
        assert {one["media_type"] for one in trending} == {"movie"} and trending != first["results"]
        assert [one["name"] for one in client.get("/tv/popular").json()["results"]] == ["Show"]
