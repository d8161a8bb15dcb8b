"""Third-party clients of the real services work with the stand-ins. They do not share our mistakes.

They are imported by the tests: it takes a second, which only the worker that runs this file has to spend.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pytest

from aperture_dagster.simulator.server import RunningSimulator, running_simulator
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import CastMember, World, WorldTitle

if TYPE_CHECKING:
    from themoviedb import TMDb

FILM = WorldTitle(
    "movie:1", "movie", "First", year=2001, tmdb_id=101, imdb_id="tt0000101", genres=("Drama",), overview="A plot.",
    cast=(CastMember("Ann Actor", "Hero"),), directors=("Di Rector",), companies=("Stu Dio",),
    release_date="2001-02-03", collection=(55, "Firsts"), vote_average=7.5, vote_count=1_000, popularity=5.0,
    recommended_tmdb_ids=(102,), keywords=("heist",), runtime_minutes=100, official_rating="R",
)  # fmt: skip
SECOND = WorldTitle("movie:2", "movie", "Second", year=2005, tmdb_id=102, imdb_id="tt0000102", genres=("Drama",))
SHOW = WorldTitle(
    "series:1", "series", "Show", year=2010, tmdb_id=101, imdb_id="tt0000201", tvdb_id=77, networks=("Net Work",),
    cast=(CastMember("Lead", "Mayor"), CastMember("Second")), episodes_per_season=(2, 3), keywords=("town",),
    release_date="2010-01-10", runtime_minutes=45, official_rating="TV-14",
)  # fmt: skip


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    settings = SimulatorSettings(omdb_unknown_share=0.0, omdb_malformed_share=0.0)
    world = World("a world", [FILM, SECOND, SHOW])
    with running_simulator(world, settings) as running:
        yield running


@pytest.fixture
def tmdb(simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> TMDb:
    from themoviedb import TMDb
    from themoviedb._core.config import ClientConfig

    # The client adds language and regions to every request. TMDb ignores them, the stand-in does not.
    only_the_key = property(lambda config: {"api_key": config.api_key})
    monkeypatch.setattr(ClientConfig, "default_params", only_the_key)
    client = TMDb(api_key=simulator.state.settings.tmdb_key)
    client._config.host, client._config.version = simulator.tmdb_url.removesuffix("/3"), "3"
    return client


def test_themoviedb_reads_a_film_with_everything_related(tmdb: TMDb) -> None:
    film = tmdb.movie(101)
    details = film.details()
    assert (details.title, details.runtime, details.year) == ("First", 100, 2001)
    assert details.release_date == date(2001, 2, 3)
    assert [one.name for one in film.keywords()] == ["heist"]
    assert [(one.name, one.character) for one in film.credits().cast] == [("Ann Actor", "Hero")]
    assert film.external_ids().imdb_id == "tt0000101"
    assert [one.id for one in film.recommendations()] == [102]
    assert [one.id for one in film.similar()] == [102]
    for part in (film.alternative_titles, film.release_dates, film.reviews, film.translations, film.watch_providers):
        part()
    assert [one.id for one in tmdb.collection(55).details().parts] == [101]
    assert details.production_companies is not None
    assert tmdb.company(details.production_companies[0].id or 0).details().name == "Stu Dio"


def test_themoviedb_reads_a_series(tmdb: TMDb) -> None:
    show = tmdb.tv(101)
    details = show.details()
    assert (details.name, details.number_of_episodes) == ("Show", 5)
    assert [one.name for one in show.keywords()] == ["town"]
    assert {one.name for one in show.aggregate_credits().cast} == {"Lead", "Second"}
    assert [one.name for one in show.credits().cast] == ["Second"]
    assert show.external_ids().tvdb_id == 77
    assert len(tmdb.season(101, 2).details().episodes) == 3
    assert details.networks is not None
    assert tmdb.network(details.networks[0].id or 0).details().name == "Net Work"


def test_themoviedb_finds_discovers_and_reports_unknown_ids(tmdb: TMDb) -> None:
    from themoviedb.exceptions import TMDbHTTPError

    assert tmdb.find().by_imdb("tt0000101").movie_results[0].id == 101
    assert tmdb.find().by_tvdb("77").tv_results[0].name == "Show"
    assert [one.id for one in tmdb.discover().movie(with_genres="18", vote_count__gte=5)] == [101]
    assert [one.name for one in tmdb.genres().movie().genres] == ["Drama"]
    with pytest.raises(TMDbHTTPError, match="404"):
        tmdb.movie(7).details()


def test_themoviedb_discovers_what_suits_somebody(tmdb: TMDb) -> None:
    heist, person = tmdb.movie(101).keywords()[0].id, tmdb.movie(101).credits().cast[0].id
    films = tmdb.discover().movie(
        with_keywords=f"{heist}|1", with_people=str(person), vote_count__gte=100, vote_average__lte=9,
        primary_release_date__lte="2010-01-01", with_original_language="en", without_genres="27",
        certification_country="US", certification__lte="R", include_adult=False, sort_by="vote_count.desc",
        watch_region="US", with_watch_monetization_types="flatrate|rent|buy",
    )  # fmt: skip
    assert [one.id for one in films] == [101]
    assert films[0].vote_count == 1_000 and films[0].genre_ids == [18]
    series = tmdb.discover().tv(with_keywords="1", first_air_date__gte="2000-01-01")
    assert list(series) == []


def test_themoviedb_reads_certifications_releases_and_offers(tmdb: TMDb) -> None:
    by_country = {one.iso_3166_1: one.release_dates or [] for one in tmdb.movie(101).release_dates()}
    assert {one.certification for one in by_country["US"]} == {"", "R"}
    assert {one.type for one in by_country["US"]} >= {3, 4, 5}
    assert {one.iso_3166_1: one.rating for one in tmdb.tv(101).content_ratings()}["US"] == "TV-14"
    offers = tmdb.movie(101).watch_providers().results["US"]
    assert "Apple TV" in [one.provider_name for one in offers.buy or []]


def test_omdb_reads_titles_by_id_and_by_name(simulator: RunningSimulator) -> None:
    import omdb
    import requests

    client = omdb.OMDBClient(apikey=simulator.state.settings.omdb_key)
    client.url = simulator.omdb_url
    film = client.imdbid("tt0000101", fullplot=True)
    assert (film["title"], film["year"], film["director"], film["plot"]) == ("First", "2001", "Di Rector", "A plot.")
    assert {one["source"] for one in film["ratings"]} <= {"Internet Movie Database", "Rotten Tomatoes", "Metacritic"}
    assert client.title("Show", media_type="series", year=2010)["total_seasons"] == "2"
    assert client.title("Show", media_type="movie") == {}
    assert client.imdbid("tt0000999") == {}
    with pytest.raises(requests.HTTPError, match="401"):
        wrong = omdb.OMDBClient(apikey="wrong")
        wrong.url = simulator.omdb_url
        wrong.imdbid("tt0000101")


def test_openai_embeds_and_reports_refusals(simulator: RunningSimulator) -> None:
    import openai

    with openai.OpenAI(base_url=simulator.openai_url, api_key="demo-openai-key", max_retries=0) as client:
        # It asks for base64 by itself.
        answer = client.embeddings.create(model="text-embedding-3-small", input=["a film", "a series"], dimensions=64)
        assert [(one.index, len(one.embedding)) for one in answer.data] == [(0, 64), (1, 64)]
        assert answer.usage.total_tokens > 0
        assert "demo-embedding" in [model.id for model in client.models.list()]
        with pytest.raises(openai.BadRequestError):
            client.embeddings.create(model="text-embedding-3-small", input="x" * 4 * 8193)
        with pytest.raises(openai.NotFoundError):
            client.embeddings.create(model="none", input="a")
    with (
        openai.OpenAI(base_url=simulator.openai_url, api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()


def test_openai_distinguishes_missing_credit_from_a_rate_limit() -> None:
    import openai

    with (
        running_simulator(World("empty"), SimulatorSettings(embedding_credit=0, today=datetime.now(UTC))) as simulator,
        openai.OpenAI(base_url=simulator.openai_url, api_key="demo-openai-key", max_retries=0) as client,
        pytest.raises(openai.RateLimitError) as refused,
    ):
        client.embeddings.create(model="demo-embedding", input="a")
    assert refused.value.code == "insufficient_quota"
