"""Reading TMDb: films and series, unknown values, and finding by other ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import date
from typing import Any

import pytest

from aperture_dagster.enrichment.tables import tmdb_metadata
from aperture_dagster.enrichment.tmdb.client import Tmdb
from aperture_dagster.enrichment.tmdb.titles import CAST_KEPT, parse_title
from aperture_dagster.http.errors import BadAnswer, NotFound
from aperture_dagster.simulator.server import RunningSimulator, running_simulator
from aperture_dagster.simulator.world import World, WorldTitle
from aperture_dagster_tests.services import Answer, Scripted

FILM: dict[str, Any] = {"id": 603, "title": "The Film"}
SERIES: dict[str, Any] = {"id": 1396, "name": "The Series"}


def connected(url: str, key: str = "demo-tmdb-key", **how: Any) -> closing[Tmdb]:
    return closing(Tmdb(url, key, **{"attempts": 2, "first_wait_seconds": 0.01} | how))


@pytest.fixture
def client(steady: RunningSimulator) -> Iterator[Tmdb]:
    with connected(steady.tmdb_url) as made:
        yield made


@pytest.fixture
def said(scripted: Scripted) -> Iterator[Callable[[Any], Tmdb]]:
    with ExitStack() as opened:

        def answers(body: Any) -> Tmdb:
            scripted.say(Answer(body))
            return opened.enter_context(connected(scripted.url, attempts=1))

        yield answers


def test_a_film_takes_one_request_and_fills_exactly_the_columns_of_its_table(client: Tmdb):
    before = client.requests
    film = client.title("movie", 900_000_001)
    assert client.requests == before + 1
    assert set(film) == {*tmdb_metadata.columns.keys()} - {"work_id", "updated_at"}
    assert film["title"] == "It's \"Quoted\" 'n' `Ticked`"
    assert film["keywords"] == ["odd", "50% off"]
    assert [member["name"] for member in film["cast"]] == ["Zoë O'Hara", "李小龍"]
    assert film["directors"] == ['Åsa "Q" Öberg']
    assert film["companies"][0]["name"] == "Smith & Sons / Films"


def test_keywords_are_found_under_both_of_their_names():
    names = [{"id": 1, "name": "one"}, {"id": 2, "name": ""}, {"id": 3}, {"id": 1, "name": "one"}]
    assert parse_title(FILM | {"keywords": {"keywords": names}}, "movie")["keywords"] == ["one"]
    assert parse_title(SERIES | {"keywords": {"results": names}}, "series")["keywords"] == ["one"]


@pytest.mark.parametrize("unknown", [None, "", 0, [], {}, "absent"])
def test_every_form_of_unknown_is_none(unknown: Any):
    optional = (
        "imdb_id", "original_title", "overview", "tagline", "status", "release_date", "runtime", "genres", "keywords",
        "credits", "external_ids", "recommendations", "similar", "production_companies", "production_countries",
        "spoken_languages", "belongs_to_collection", "poster_path", "backdrop_path", "vote_count", "original_language",
    )  # fmt: skip
    bare = parse_title(FILM, "movie")
    assert parse_title(FILM | (dict.fromkeys(optional, unknown) if unknown != "absent" else {}), "movie") == bare
    unset = ("release_date", "runtime_minutes", "vote_average", "collection_id")
    assert [bare[name] for name in unset] == [None] * 4 and bare["genres"] == []


def test_an_average_without_votes_is_none():
    assert parse_title(FILM | {"vote_average": 0.0, "vote_count": 0}, "movie")["vote_average"] is None
    assert parse_title(FILM | {"vote_average": 7.5, "vote_count": 2}, "movie")["vote_average"] == 7.5


@pytest.mark.parametrize("number", [10**400, float("nan"), True, "7"])
def test_a_malformed_number_is_none(number: Any):
    film = parse_title(FILM | {"popularity": number, "vote_count": number, "runtime": number}, "movie")
    assert (film["popularity"], film["vote_count"], film["runtime_minutes"]) == (None, None, None)


@pytest.mark.parametrize("day", ["", "2024-13-01", 2024])
def test_a_malformed_date_is_none(day: Any):
    assert parse_title(FILM | {"release_date": day}, "movie")["release_date"] is None


def test_a_series_is_parsed_from_its_own_fields():
    answer = SERIES | {
        "title": "not this", "original_name": "Original", "first_air_date": "2008-01-20",
        "episode_run_time": [47, 49], "created_by": [{"name": "Creator"}],
        "networks": [{"id": 1, "name": "AMC", "logo_path": "/a.png"}],
        "external_ids": {"imdb_id": "tt0903747", "tvdb_id": 81189}, "last_episode_to_air": None,
        "next_episode_to_air": {"season_number": 5, "episode_number": 16, "name": "End", "air_date": "2013-09-29"},
    }  # fmt: skip
    series = parse_title(answer, "series")
    expected = {
        "title": "The Series", "original_title": "Original", "release_date": date(2008, 1, 20), "runtime_minutes": 47,
        "creators": ["Creator"], "networks": [{"id": 1, "name": "AMC", "logo_path": "/a.png"}],
        "imdb_id": "tt0903747", "tvdb_id": 81189,
        "next_episode": {"season": 5, "number": 16, "title": "End", "air_date": "2013-09-29"},
    }  # fmt: skip
    assert expected.items() <= series.items()


def test_the_top_of_the_cast_is_kept_in_billing_order():
    cast = [{"name": f"Actor {n}", "order": n, "character": None} for n in reversed(range(40))]
    kept = parse_title(FILM | {"credits": {"cast": cast, "crew": "none"}}, "movie")["cast"]
    assert [member["name"] for member in kept] == [f"Actor {n}" for n in range(CAST_KEPT)]


def test_crew_is_grouped_by_job_without_duplicates():
    crew = [
        {"name": "A", "job": "Director"},
        {"name": "A", "job": "Screenplay"},
        {"name": "A", "job": "Writer"},
        {"name": "B", "job": "Original Music Composer"},
        {"name": "C", "job": "Director of Photography"},
        {"name": "D", "job": "Caterer"},
        "nobody",
    ]
    film = parse_title(FILM | {"credits": {"crew": crew}}, "movie")
    assert [film[name] for name in ("directors", "writers")] == [["A"], ["A"]]


def test_a_film_is_found_by_its_imdb_id_and_a_series_by_its_tvdb_id(client: Tmdb):
    assert client.find("movie", imdb_id="tt900000001") == 900_000_001
    assert client.find("series", tvdb_id=900_000_000) == 900_000_000


def test_nothing_is_found_for_an_unknown_id_or_a_deleted_title(client: Tmdb):
    with pytest.raises(NotFound):
        client.title("movie", 1)
    before = client.requests
    assert client.find("movie", imdb_id="tt1") is None
    assert client.find("series", imdb_id="tt1", tvdb_id=5) is None
    assert client.requests == before + 3
    assert client.find("movie") is client.find("movie", tvdb_id=900_000_000) is None
    assert client.requests == before + 3, "TVDb ids are for series only"


def test_a_token_is_sent_in_a_header_and_a_short_key_in_the_query(scripted: Scripted):
    scripted.say(Answer(FILM))
    short, token = "0123456789abcdef0123456789abcdef", "eyJhbGciOiJIUzI1NiJ9." + "x" * 150
    for key in (short, token):
        with connected(scripted.url, key) as client:
            client.title("movie", 603)
    with_short, with_token = scripted.asked
    assert f"api_key={short}" in with_short.target
    assert "authorization" not in with_short.headers
    assert with_token.headers["authorization"] == f"Bearer {token}"
    assert token not in with_token.target


def test_a_series_without_a_runtime_has_that_of_its_last_episode():
    """Most series have no ``episode_run_time``."""
    last = {"last_episode_to_air": {"season_number": 1, "episode_number": 9, "runtime": 52}}
    assert parse_title(SERIES | last | {"episode_run_time": []}, "series")["runtime_minutes"] == 52
    assert parse_title(SERIES | last | {"episode_run_time": [45]}, "series")["runtime_minutes"] == 45
    assert parse_title(SERIES | {"last_episode_to_air": {"runtime": None}}, "series")["runtime_minutes"] is None


def test_people_of_a_series_are_ranked_by_their_number_of_episodes():
    def job(name: str, **episodes: int) -> dict[str, Any]:
        jobs = [{"job": job.replace("_", " "), "episode_count": count} for job, count in episodes.items()]
        return {"name": name, "jobs": jobs, "department": "Any"}

    crew = [job("Once", Director=1), job("Often", Director=9, Writer=1), job("Writes", Writer=30, Producer=30)]
    crew += [job(f"Guest {number}", Director=2) for number in range(8)]
    roles = [{"character": "Cameo", "episode_count": 1}, {"character": "Mayor", "episode_count": 40}]
    cast = [{"name": "Ann", "order": 1, "roles": roles}, {"name": "Bo", "order": 0, "roles": [{"character": None}]}]
    series = parse_title(SERIES | {"aggregate_credits": {"cast": cast, "crew": crew}}, "series")
    assert series["cast"] == [{"name": "Bo", "character": ""}, {"name": "Ann", "character": "Mayor"}]
    assert series["directors"] == ["Often", "Guest 0", "Guest 1", "Guest 2", "Guest 3"]
    assert series["writers"] == ["Writes", "Often"]


def test_an_untranslated_overview_falls_back_to_english():
    films = [WorldTitle(f"movie:{one}", "movie", "A", tmdb_id=one, overview="A plot") for one in range(1, 12)]
    with running_simulator(World("films", films)) as simulator:
        with connected(simulator.tmdb_url, language="de-DE") as client:
            overviews = [client.title("movie", film.tmdb_id or 0)["overview"] for film in films]
            asked_again = overviews.count("A plot")
            assert set(overviews) == {"A plot", "(de) A plot"}
            assert client.requests == len(films) + asked_again
        bare = WorldTitle("movie:bare", "movie", "Bare", tmdb_id=99)
        simulator.state.add_title(bare)
        with connected(simulator.tmdb_url) as client:
            assert client.title("movie", 99)["overview"] is None
            # English is not asked for again.
            assert client.requests == 1


def test_an_answer_about_another_title_is_rejected(said: Callable[[Any], Tmdb]):
    with pytest.raises(BadAnswer, match=r"asked for .*604 and answered with 603"):
        said(FILM).title("movie", 604)


# Lists


@pytest.mark.parametrize(("media_type", "name"), [("movie", "popular"), ("series", "trending")])
def test_a_list_ends_with_its_last_page(said: Callable[[Any], Tmdb], media_type: Any, name: Any):
    answer = {"page": 1, "results": [{"id": 7}, {"id": None}, "odd", {"id": 3}], "total_pages": 2, "total_results": 22}
    client = said(answer)
    first = client.listed(media_type, name)
    assert [title.tmdb_id for title in first.titles] == [7, 3] and first.has_more
    assert not client.listed(media_type, name, 2).has_more


def test_pages_beyond_the_last_that_tmdb_gives_are_not_requested(said: Callable[[Any], Tmdb]):
    client = said({"page": 500, "results": [{"id": 7}], "total_pages": 38_029, "total_results": 760_569})
    assert client.listed("movie", "popular", 499).has_more and not client.listed("movie", "popular", 500).has_more


@pytest.mark.parametrize("answer", [[], {}, {"results": None, "total_pages": 1}, {"results": [], "total_pages": "1"}])
def test_what_is_no_page_of_a_list_is_a_bad_answer(said: Callable[[Any], Tmdb], answer: Any):
    with pytest.raises(BadAnswer):
        said(answer).listed("movie", "popular")
