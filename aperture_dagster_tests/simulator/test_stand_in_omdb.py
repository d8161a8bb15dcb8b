"""The OMDb stand-in behaves like the real service."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import httpx
import pytest

from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster.simulator.world import CastMember, World, WorldTitle

FILM = WorldTitle(
    "movie:1", "movie", "First", year=2001, imdb_id="tt0000101", genres=("Drama", "Crime"), overview="Long. " * 100,
    cast=(CastMember("Ann Actor", "Hero"), CastMember("Bo Actor")), directors=("Di Rector",), language="fr",
    countries=("US", "FR"), runtime_minutes=100, release_date="2001-02-03", vote_average=7.5, vote_count=1_000,
)  # fmt: skip
BARE = WorldTitle("movie:2", "movie", "Bare", imdb_id="tt0000102")
RUNNING = WorldTitle(
    "series:1", "series", "Running", year=2010, imdb_id="tt0000201", status="Returning Series",
    episodes_per_season=(2, 3),
)  # fmt: skip
ENDED = WorldTitle(
    "series:2", "series", "Ended", year=2010, imdb_id="tt0000202", status="Ended", episodes_per_season=(2, 3)
)
# Enough for everything that happens to some titles only to happen to one.
MANY = [
    WorldTitle(
        f"{kind}:{number}", kind, f"Title {number}", imdb_id=f"tt{number:07d}", runtime_minutes=90 + number % 60,
        vote_average=2.0 + number % 8, vote_count=number * 10,
    )
    for kind, numbers in (("movie", range(1_000, 1_150)), ("series", range(2_000, 2_150)))
    for number in numbers
]  # fmt: skip


@pytest.fixture
def simulator(serve) -> RunningSimulator:
    return serve(World("films", [FILM, BARE, RUNNING, ENDED]), omdb_unknown_share=0.0)


@pytest.fixture
def omdb(simulator: RunningSimulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=simulator.omdb_url, params={"apikey": "demo-omdb-key"}) as client:
        yield client


@pytest.fixture(scope="module")
def many() -> list[dict]:
    """Responses for many titles."""
    from aperture_dagster.simulator.server import running_simulator

    key = {"apikey": "demo-omdb-key"}
    with running_simulator(World("many", MANY)) as served, httpx.Client(base_url=served.omdb_url, params=key) as client:
        return [client.get("/", params={"i": title.imdb_id}).json() for title in MANY]


def title(omdb: httpx.Client, imdb_id: str, **parameters: str) -> dict:
    return omdb.get("/", params={"i": imdb_id, "r": "json", **parameters}).json()


def test_all_values_are_strings(omdb: httpx.Client) -> None:
    film = title(omdb, "tt0000101")
    assert film | {
        "Title": "First", "Year": "2001", "Released": "03 Feb 2001", "Runtime": "100 min", "Genre": "Drama, Crime",
        "Director": "Di Rector", "Actors": "Ann Actor, Bo Actor", "Language": "French",
        "Country": "United States, France", "imdbID": "tt0000101", "Type": "movie", "Response": "True",
    } == film  # fmt: skip
    assert all(isinstance(value, str) for name, value in film.items() if name != "Ratings")
    assert re.fullmatch(r"\d{1,3}(,\d{3})+", film["imdbVotes"])
    assert {one["Source"]: re.sub(r"\d+", "0", one["Value"]) for one in film["Ratings"]} == {
        "Internet Movie Database": "0.0/0", "Rotten Tomatoes": "0%", "Metacritic": "0/0",
    }  # fmt: skip
    assert [one["Value"].partition("/")[2] for one in film["Ratings"]] == ["10", "", "100"]


def test_unknown_values_are_not_available_rather_than_missing(omdb: httpx.Client) -> None:
    bare = title(omdb, "tt0000102")
    assert set(bare) == set(title(omdb, "tt0000101"))
    for name in ("Year", "Rated", "Released", "Runtime", "Genre", "Director", "Writer", "Actors", "Plot", "Language"):
        assert bare[name] == "N/A", name


def test_the_plot_is_short(omdb: httpx.Client) -> None:
    assert len(title(omdb, "tt0000101")["Plot"]) <= 200


def test_a_series_has_seasons_a_span_of_years_and_no_box_office(omdb: httpx.Client) -> None:
    running, ended = title(omdb, "tt0000201"), title(omdb, "tt0000202")
    assert (running["Year"], ended["Year"], ended["totalSeasons"]) == ("2010\u2013", "2010\u20132011", "2")
    assert not {"DVD", "BoxOffice", "Production", "Website"} & set(running)


def test_values_have_all_the_forms_of_the_real_service(many: list[dict]) -> None:
    known = [one for one in many if one["Response"] == "True"]
    awards = {re.sub(r"\d+", "0", one["Awards"]).replace("0 win ", "0 wins ") for one in known}
    for form in (
        "N/A", "0 wins total", "0 nominations", "0 wins & 0 nominations total",
        "Won 0 Oscars. 0 wins & 0 nominations total", "Won 0 Oscar. 0 wins & 0 nominations total",
        "Nominated for 0 Oscars. 0 wins & 0 nominations total", "Won 0 Golden Globes. 0 wins & 0 nominations total",
        "Won 0 Primetime Emmys. 0 wins & 0 nominations total", "Nominated for 0 Emmys. 0 wins & 0 nominations total",
        "Won 0 Golden Globes. Another 0 wins & 0 nominations.",
    ):  # fmt: skip
        assert form in awards
    assert {re.sub(r"\d+", "0", one["Runtime"]) for one in known} >= {"0 min", "0 h 0 min"}
    with_tomatoes = {
        kind: sum("Rotten" in str(one["Ratings"]) for one in known if one["Type"] == kind)
        for kind in ("movie", "series")
    }
    assert with_tomatoes["series"] < with_tomatoes["movie"] * 0.7
    assert any(one["Ratings"] == [] for one in known)


def test_ratings_of_different_sites_are_similar(many: list[dict]) -> None:
    ratings = [
        (2.0 + number % 8, float(one["imdbRating"]))
        for number, one in enumerate(many[:150])
        if one["Response"] == "True" and one["imdbRating"] != "N/A"
    ]
    # 1,000 is a multiple of eight: the place in the list tells the world's mark.
    assert len(ratings) > 100
    assert all(abs(rating - other) <= 0.5 for rating, other in ratings)


def test_an_unknown_title_is_an_error_with_status_200(many: list[dict], omdb: httpx.Client) -> None:
    refused = [one["Error"] for one in many if one["Response"] == "False"]
    assert 3 <= len(refused) <= 40
    assert set(refused) == {"Error getting data.", "Incorrect IMDb ID."}
    for parameters in ({"i": "603"}, {}):
        answer = omdb.get("/", params=parameters)
        assert (answer.status_code, answer.json()) == (200, {"Response": "False", "Error": "Incorrect IMDb ID."})


def test_the_key_is_only_accepted_in_the_query(simulator: RunningSimulator) -> None:
    headers = {"Authorization": "Bearer demo-omdb-key", "X-Api-Key": "demo-omdb-key"}
    for parameters, error in (({}, "No API key provided."), ({"apikey": "wrong"}, "Invalid API key!")):
        answer = httpx.get(simulator.omdb_url + "/", params={"i": "tt0000101", **parameters}, headers=headers)
        assert (answer.status_code, answer.json()["Error"]) == (401, error)
    assert simulator.state.quotas["omdb"].used == 0


def test_a_spent_quota_is_401_until_the_next_day(serve) -> None:
    simulator = serve(World("films", [FILM]), omdb_daily_limit=3)
    ask = {"apikey": "demo-omdb-key", "i": "tt0000101"}
    with httpx.Client(base_url=simulator.omdb_url, params=ask) as client:
        # What is unknown counts, too, and no header tells how much is left.
        assert client.get("/", params={"i": "tt9"}).json()["Response"] == "False"
        answers = [client.get("/") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 401]
        assert answers[2].json() == {"Response": "False", "Error": "Request limit reached!"}
        assert not any("limit" in name or name == "retry-after" for answer in answers for name in answer.headers)
        httpx.post(simulator.control_url + "/start_day").raise_for_status()
        assert client.get("/").status_code == 200
        simulator.state.use_quota("omdb", 2)
        assert client.get("/").status_code == 401


def test_internal_errors_are_a_proxys_page_or_have_status_200(simulator: RunningSimulator, omdb: httpx.Client) -> None:
    for status in (500, 503, 520, 522):
        simulator.state.add_fault(FaultRule("omdb", status=status, times=1))
        answer = omdb.get("/", params={"i": "tt0000101"})
        assert (answer.status_code, answer.text[:15]) == (status, "<!DOCTYPE html>")
    simulator.state.add_fault(FaultRule("omdb", status=200, times=1))
    assert title(omdb, "tt0000101") == {"Response": "False", "Error": "Something went wrong."}
    assert title(omdb, "tt0000101")["Response"] == "True"
    # Asked six times, answered once; and only that counts against the day.
    assert simulator.state.asked("omdb") == {"tt0000101": 6}
    assert simulator.state.answered("omdb") == {"tt0000101": 1}
    assert simulator.state.quotas["omdb"].used == 1
    assert simulator.state.most_in_window("omdb", 60) == 6
    simulator.state.reset_counters()
    assert (simulator.state.asked("omdb"), simulator.state.most_in_window("omdb", 60)) == ({}, 0)


def test_some_plots_make_the_json_invalid(serve) -> None:
    plots = [WorldTitle(f"movie:{one}", "movie", "A", imdb_id=f"tt{one:07d}", overview="a b c") for one in range(30)]
    simulator = serve(World("films", plots), omdb_unknown_share=0.0, omdb_malformed_share=1.0)
    spoilt = set()
    with httpx.Client(base_url=simulator.omdb_url, params={"apikey": "demo-omdb-key"}) as client:
        for one in plots:
            answer = client.get("/", params={"i": one.imdb_id})
            assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json; charset=utf-8")
            with pytest.raises(json.JSONDecodeError):
                answer.json()
            spoilt.add(re.search(rb'"a (.+?)b c"', answer.content)[1])  # type: ignore[index]
    assert spoilt == {b"\x1f", b"\t", b"\\s", b"\\'"}


def test_the_error_about_an_id_that_is_not_a_number_is_invalid_json(omdb: httpx.Client) -> None:
    answer = omdb.get("/", params={"i": "tt011f8539"})
    assert answer.status_code == 200
    assert 'from string "011f8539" to type' in answer.text
