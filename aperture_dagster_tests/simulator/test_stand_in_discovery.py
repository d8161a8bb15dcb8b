"""The TMDb stand-in answers what discovery asks, with the habits that mislead it on the real service."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest

from aperture_dagster.simulator.server import running_simulator
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.tmdb.titles import named_id
from aperture_dagster.simulator.world import CastMember, Offer, Release, World, WorldTitle

TODAY = datetime(2026, 5, 17, 12, tzinfo=UTC)
HEIST = WorldTitle(
    "movie:1", "movie", "Heist", tmdb_id=1, genres=("Crime", "Drama"), keywords=("heist", "rain"), language="fr",
    cast=(CastMember("Ann Actor"),), directors=("Di Rector",), companies=("Stu Dio",), countries=("France",),
    release_date="2001-02-03", official_rating="R", vote_average=7.5, vote_count=900, popularity=9.0,
    runtime_minutes=100, recommended_tmdb_ids=tuple(range(1_001, 1_060)),
)  # fmt: skip
RAIN = WorldTitle(
    "movie:2", "movie", "Rain", tmdb_id=2, genres=("Drama", "Comedy"), keywords=("rain",), language="en",
    cast=(CastMember("Bo Actor"),), directors=("Ann Actor",), companies=("Stu Dio",), countries=("US",),
    release_date="2010-05-06", official_rating="PG", vote_average=8.5, vote_count=90, popularity=8.0,
    offers=(Offer("DE", "flatrate", "Netflix"), Offer("DE", "buy", "Apple TV")), runtime_minutes=150,
)  # fmt: skip
CINEMA = WorldTitle(
    "movie:3", "movie", "Cinema", tmdb_id=3, genres=("Comedy",), language="en", countries=("US",),
    release_date="2026-05-01", vote_average=6.0, vote_count=5, popularity=70.0,
    releases=(
        Release("US", 3, "2026-05-01", "PG-13"),
        Release("US", 1, "2026-04-01"),
        Release("DE", 3, "2026-05-08", "16", "Director's Cut"),
        Release("DE", 3, "2026-05-08", "12"),
    ),
)  # fmt: skip
EROTIC = WorldTitle("movie:4", "movie", "Marked", tmdb_id=4, genres=("Drama",), adult=True, popularity=1.0)
UNMARKED = WorldTitle(
    "movie:5", "movie", "Unmarked", tmdb_id=5, genres=("Drama",), keywords=("softcore",), popularity=0.5
)
MANY = [
    WorldTitle(f"movie:{number}", "movie", f"Film {number}", tmdb_id=number, genres=("Western",), popularity=0.1)
    for number in range(1_001, 1_060)
]
OTHER = WorldTitle("movie:6", "movie", "Other", tmdb_id=6, recommended_tmdb_ids=(4, *range(1_001, 1_060)))
SHOW = WorldTitle(
    "series:1", "series", "Show", tmdb_id=1, genres=("Drama",), keywords=("rain",), networks=("Net Work",),
    countries=("GB",), language="en", release_date="2020-01-10", episodes_per_season=(2, 3), specials=4,
    official_rating="TV-14", vote_count=300, vote_average=7.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def tmdb() -> Iterator[httpx.Client]:
    world = World("discovery", [HEIST, RAIN, CINEMA, EROTIC, UNMARKED, OTHER, *MANY, SHOW])
    settings = SimulatorSettings(today=TODAY)
    with (
        running_simulator(world, settings) as simulator,
        httpx.Client(base_url=simulator.tmdb_url, headers={"Authorization": f"Bearer {settings.tmdb_key}"}) as client,
    ):
        yield client


def found(tmdb: httpx.Client, media_type: str = "movie", **filters: str | float) -> list[int]:
    """Return the ids that a search finds. Parameters with a dot have two underscores here."""
    named = {name.replace("__", "."): value for name, value in filters.items()}
    answer = tmdb.get(f"/discover/{media_type}", params=named)
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["results"]]


KEYWORDS = {name: named_id("keyword", name) for name in ("heist", "rain")}
ANN, BO = named_id("person", "Ann Actor"), named_id("person", "Bo Actor")


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({"with_genres": "18,35"}, [2]),
        ({"with_keywords": f"{KEYWORDS['heist']},{KEYWORDS['rain']}"}, [1]),
        ({"with_people": ANN}, [1, 2]),
        ({"with_people": f"{ANN},{BO}"}, [2]),
        ({"with_original_language": "fr"}, [1]),
        ({"vote_count__gte": 90}, [1, 2]),
        ({"primary_release_date__gte": "2001-02-03", "primary_release_date__lte": "2010-05-05"}, [1]),
        ({"vote_count__gte": 5, "sort_by": "vote_count.desc"}, [1, 2, 3]),
    ],
)
def test_films_are_discovered_by(tmdb: httpx.Client, filters: dict[str, str | float], wanted: list[int]) -> None:
    assert found(tmdb, **filters) == wanted


def test_series_are_discovered_by_their_own_parameters(tmdb: httpx.Client) -> None:
    assert found(tmdb, "tv", first_air_date__gte="2020-01-10", with_genres=18) == [1]
    assert found(tmdb, "tv", first_air_date__lte="2020-01-09") == []
    assert found(tmdb, "tv", with_keywords=KEYWORDS["heist"]) == []


@pytest.mark.parametrize("name", ["with_genres", "with_keywords", "with_people"])
def test_an_unknown_id_finds_nothing_and_is_no_error(tmdb: httpx.Client, name: str) -> None:
    answer = tmdb.get("/discover/movie", params={name: "424242"})
    assert (answer.status_code, answer.json()["results"], answer.json()["total_pages"]) == (200, [], 0)


def test_ids_of_traits_are_the_same_in_details_and_in_searches(tmdb: httpx.Client) -> None:
    film = tmdb.get("/movie/1?append_to_response=keywords,credits").json()
    people = [*film["credits"]["cast"], *film["credits"]["crew"]]
    for name, entries in (("keywords", film["keywords"]["keywords"]), ("genres", film["genres"]), ("people", people)):
        for entry in entries:
            assert 1 in found(tmdb, **{f"with_{name}": entry["id"]}), entry
    assert film["origin_country"] == ["FR"]
    assert film["production_countries"] == [{"iso_3166_1": "FR", "name": "France"}]


def test_adult_titles_are_left_out_but_only_those_that_are_marked(tmdb: httpx.Client) -> None:
    assert not {4} & set(found(tmdb, with_genres=18))
    assert {4, 5} <= set(found(tmdb, with_genres=18, include_adult="true"))
    assert 5 in found(tmdb, with_genres=18, include_adult="false")
    assert tmdb.get("/movie/4").json()["adult"] and not tmdb.get("/movie/5").json()["adult"]
    recommended = tmdb.get("/movie/6?append_to_response=recommendations").json()["recommendations"]["results"]
    assert [one["id"] for one in recommended if one["adult"]] == [4], "other lists are not filtered"


def test_offers_are_listed_by_country(tmdb: httpx.Client) -> None:
    offers = offers_of(tmdb, "/movie/2")
    assert list(offers) == ["DE"]
    assert offers["DE"]["flatrate"][0] | {"provider_id": 8, "provider_name": "Netflix"} == offers["DE"]["flatrate"][0]
    assert {name for name in offers["DE"]} == {"link", "flatrate", "buy"}
    assert offers_of(tmdb, "/tv/1")
    assert offers_of(tmdb, "/movie/3") == {}, "only in cinemas"


def offers_of(tmdb: httpx.Client, path: str) -> dict[str, dict]:
    return tmdb.get(path, params={"append_to_response": "watch/providers"}).json()["watch/providers"]["results"]


def test_a_film_has_several_certifications_per_country_and_many_blank_ones(tmdb: httpx.Client) -> None:
    cinema, heist = (
        tmdb.get(f"/movie/{number}?append_to_response=release_dates").json()["release_dates"]["results"]
        for number in (3, 1)
    )
    by_country = {one["iso_3166_1"]: [each["certification"] for each in one["release_dates"]] for one in cinema}
    assert by_country == {"US": ["PG-13", ""], "DE": ["16", "12"]}
    entries = {one["iso_3166_1"]: one["release_dates"] for one in heist}
    assert {each["certification"] for each in entries["US"]} == {"", "R"}
    days = {each["type"]: each["release_date"] for each in entries["FR"]}
    assert days[3] == "2001-02-03T00:00:00.000Z" < days[5] < days[4], "home releases follow, digital ones since 2009"


def test_recommendations_say_that_there_are_more_than_there_are(tmdb: httpx.Client) -> None:
    page = tmdb.get("/movie/1?append_to_response=recommendations").json()["recommendations"]
    assert (len(page["results"]), page["total_pages"], page["total_results"]) == (20, 3, 60)


def test_lists_repeat_a_title_across_pages(tmdb: httpx.Client) -> None:
    first, second, third = (found(tmdb, with_genres=37, page=page) for page in (1, 2, 3))
    assert (len(first), len(second), len(third)) == (20, 20, 19)
    assert first[-1] == second[0]
    assert len({*first, *second, *third}) == 58, "one title is never seen"


def test_specials_are_a_season_that_is_not_counted(tmdb: httpx.Client) -> None:
    show = tmdb.get("/tv/1").json()
    assert [season["season_number"] for season in show["seasons"]] == [0, 1, 2]
    assert (show["number_of_seasons"], show["number_of_episodes"]) == (2, 5)


def test_a_series_is_rated_in_most_countries(tmdb: httpx.Client) -> None:
    rated = tmdb.get("/tv/1?append_to_response=content_ratings").json()["content_ratings"]["results"]
    by_country = {one["iso_3166_1"]: one["rating"] for one in rated}
    assert by_country["US"] == "TV-14"
    assert set(by_country) <= {"US", "DE", "GB", "FR"} and len(by_country) >= 3


def test_most_rated_films_have_a_certification_in_another_country_and_some_do_not() -> None:
    from aperture_dagster.simulator.tmdb.titles import certifications, releases

    films = [
        WorldTitle(f"movie:{number}", "movie", "A", official_rating="PG-13", release_date="2012-01-01")
        for number in range(300)
    ]
    in_germany = [certifications(film).get("DE") for film in films]
    assert 0.05 < in_germany.count(None) / len(films) < 0.25
    assert set(in_germany) == {None, "12", "16"}
    cinema = [one for film in films for one in releases(film) if one.type == 3 and one.country == "US"]
    assert 0.1 < sum(not one.certification for one in cinema) / len(cinema) < 0.4
    assert all({one.certification for one in releases(film)} >= {"PG-13"} for film in films)
    unrated = WorldTitle("movie:x", "movie", "X", release_date="2012-01-01")
    assert {one.certification for one in releases(unrated)} == {""}
