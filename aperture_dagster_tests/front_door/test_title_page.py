"""The page of a title: what is known of it, for whoever may see it, whatever sources have sent."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from aperture_dagster.enrichment.answers import write_answers
from aperture_dagster.enrichment.tmdb.titles import parse_title
from aperture_dagster.front_door.app import members_pages
from aperture_dagster.front_door.gate import Gate
from aperture_dagster.front_door.house import House
from aperture_dagster.postgres.database import ReadOnlyDatabase
from aperture_dagster.settings import Settings
from aperture_dagster.taste.alike import LOOK_SECONDS, Alike
from aperture_dagster.taste.vectors import activate_model, register_model, write_vectors
from aperture_dagster.texts import ENGLISH, texts_of
from aperture_dagster.title_page import (
    facts_of,
    scores_of,
    seasons_in,
    seasons_of,
    streams_of,
    summary_of,
    trailer_of,
)
from aperture_dagster_tests.front_door.home import Home

MERGED = """
    INSERT INTO enriched_metadata (work_id, media_type, title, year, overview, tagline, genres, keywords, "cast",
    directors, creators, companies, networks, countries, streams, sources, runtime_minutes, official_rating,
    vote_average, vote_count, imdb_rating, rotten_tomatoes, awards, award_wins, oscars_won)
    VALUES (:work, 'movie', :title, 1995, :overview, 'A tagline', '{Crime,Drama}', '{}', :cast, :directors, '{}', '{}',
    '{}', '{US}', '{Mubi}', '{}', 170, 'R', 7.9, 7000, 8.3, :tomatoes, 'Won 2', 2, 1)"""


@pytest.fixture
def visit(home: Home, make_settings: Callable[..., Settings], shelf: Any) -> Callable[..., Any]:
    settings = make_settings(media_server_url="http://127.0.0.1:9", media_server_api_key="key")
    database = ReadOnlyDatabase(settings)
    house = House(settings, database, Gate(settings, database, is_open=True))
    return TestClient(members_pages(house), follow_redirects=False).get


def merge(home: Home, number: int, title: str, cast: str = "{}", directors: str = "{}", **odd: Any) -> int:
    work = home.shelf.item(f"film-{number}")["work_id"]
    values = {"overview": "A thief and a policeman.", "tomatoes": 83.0, **odd}
    home.shelf.do(MERGED, work=work, title=title, cast=cast, directors=directors, **values)
    return work


def vectors(home: Home, **of_films: list[float]) -> None:
    with home.shelf.open() as connection:
        register_model(connection, "model", 2)
        works = [home.shelf.item(name.replace("_", "-"))["work_id"] for name in of_films]
        write_vectors(connection, "model", works, ["h"] * len(works), np.array([*of_films.values()], dtype=np.float32))
        activate_model(connection, "model")


def test_the_page_says_what_is_known_of_a_title_and_why_it_is_on_the_list(home: Home, visit: Callable[..., Any]):
    heat = merge(home, 2, "Heat", "{Al Pacino,Robert De Niro}", "{Michael Mann}")
    up = merge(home, 3, "Up", "{Robert De Niro}")
    home.recommend("Ben", 2)
    page = visit(f"/titles/{heat}?as=Ben").text
    for said in (
        "A thief and a policeman.", "A tagline", "1995 · 2 h 50 min · R · Crime, Drama", "Because you liked Solaris",
        "<dt>Directed by</dt><dd>Michael Mann</dd>", "<dt>Cast</dt><dd>Al Pacino, Robert De Niro</dd>",
        "1 Oscar, 2 awards",
        "<dt>TMDb</dt><dd>7.9 of 10 (7,000 votes)</dd>", "<dt>IMDb</dt><dd>8.3 of 10</dd>",
        "<dt>Rotten Tomatoes, critics</dt><dd>83 %</dd>", "<dt>Streams on</dt><dd>Mubi</dd>",
        "More with Robert De Niro", f'href="/titles/{up}?as=Ben&amp;from=%2F"', "You liked",
        "/pictures/film-2/backdrop",
    ):  # fmt: skip
        assert said in page, said
    assert "More with Al Pacino" not in page
    assert visit(f"/titles/{heat}?as=Ben", headers={"accept-language": "de"}).text.count("7,9 von 10") == 1


def test_the_rest_of_a_collection_is_on_the_page_in_order_of_release(home: Home, visit: Callable[..., Any]):
    for number, year in ((1, 2001), (2, 1995), (3, 1999), (4, 1990)):
        work = merge(home, number, f"Part {number}")
        home.shelf.do("UPDATE enriched_metadata SET collection_name = 'Saga & Co' WHERE work_id = :work", work=work)
        saga = {"id": 9 if number < 4 else None}
        answer = {"id": work, "title": "x", "release_date": f"{year}-01-01", "belongs_to_collection": saga}
        film = parse_title(answer, "movie")
        with home.shelf.open() as connection:
            write_answers(connection, "tmdb", [{"work_id": work, **film}])
    first, second, third, alone = (home.shelf.item(f"film-{number}")["work_id"] for number in (2, 3, 1, 4))

    def rest(work: int) -> list[int]:
        strip = visit(f"/titles/{work}?as=Ben").text.partition("More of the collection “Saga &amp; Co”</h2>")[2]
        links = re.findall(r'<h3><a href="/titles/(\d+)', strip.partition("</section>")[0])
        return [int(link) for link in links]

    assert rest(first) == [second, third] and rest(third) == [first, second] and rest(alone) == []
    home.shelf.do("UPDATE titles SET removed_at = now() WHERE work_id = :work", work=second)
    assert rest(first) == [third]


def test_others_on_the_page_are_only_what_the_member_may_see(home: Home, visit: Callable[..., Any]):
    up = merge(home, 3, "Up", "{Robert De Niro}")
    heat = merge(home, 2, "Heat", "{Robert De Niro}")
    alien = merge(home, 1, "Alien & <Co>", "{Robert De Niro}")
    vectors(home, film_3=[1, 0], film_2=[1, 0.1], film_1=[0.9, 0.1], film_4=[-1, 0])
    address = f"/titles/{up}?as=Ben"
    page = visit(address).text
    assert all(page.count(f'"/titles/{work}?') == 2 for work in (heat, alien))
    home.user("Ben", max_parental_rating=8)
    home.shelf.do("UPDATE enriched_metadata SET official_rating = 'G' WHERE work_id = :work", work=up)
    assert f'"/titles/{heat}?' not in visit(address).text
    assert visit(f"/titles/{heat}?as=Ben").status_code == visit("/titles/999999?as=Ben").status_code == 404
    home.user("Ben", max_parental_rating=None)
    home.shelf.do(
        "INSERT INTO dismissals (user_id, work_id, media_type, title, dismissed_at) "
        "VALUES ('Ben', :work, 'movie', 'Heat', now())",
        work=heat,
    )
    page = visit(address).text
    assert f'"/titles/{heat}?' not in page and f'"/titles/{alien}?' in page
    assert visit(f"/titles/{heat}?as=Ben").status_code == 404


def test_a_title_outside_the_library_has_a_page_with_what_the_pool_knows(home: Home, visit: Callable[..., Any]):
    home.suggest("Ben", "Stalker", "PG", flatrate=["Mubi"], rent=["Apple TV"])
    heat = merge(home, 2, "Heat", "{Alisa Freindlich}")
    home.shelf.do(
        "UPDATE discovery_pool SET overview = 'A zone.', runtime_minutes = 162, vote_average = 8.1, vote_count = 9, "
        "\"cast\" = '{Alisa Freindlich}', poster_path = '/a.jpg'"
    )
    work = home.shelf.value("SELECT work_id FROM discovery_pool")
    page = visit(f"/titles/{work}?as=Ben").text
    for said in (
        "A zone.", "1999 · 2 h 42 min · PG · Drama", "8.1 of 10 (9 votes)", "With a subscription", "Apple TV",
        "More with Alisa Freindlich", f'"/titles/{heat}?', f"/pictures/suggested/{work}/backdrop",
    ):  # fmt: skip
        assert said in page, said
    # Others can find it, unless it must not be suggested to anybody.
    assert "A zone." in visit(f"/titles/{work}?as=Anna").text
    home.shelf.do("UPDATE discovery_pool SET keywords = '{softcore}'")
    assert visit(f"/titles/{work}?as=Anna").status_code == 404


def test_a_series_has_its_seasons(home: Home, visit: Callable[..., Any]):
    work = home.shelf.item("series-1")["work_id"]
    page = visit(f"/titles/{work}?as=Ben").text
    assert "<dt>Season 1</dt><dd>1 episode</dd>" in page
    rows = [{"season": 0, "episodes": 2, "year": None}, {"season": None, "episodes": 1, "year": 2001}]
    assert seasons_of(rows, ENGLISH) == [("Specials", "2 episodes"), ("Other episodes", "1 episode · 2001")]


def test_a_series_outside_the_library_has_its_seasons(home: Home, visit: Callable[..., Any]):
    home.suggest("Ben", "Stalker", "PG")
    home.shelf.do(
        "UPDATE discovery_pool SET seasons = :seasons",
        seasons=json.dumps(
            [
                {"season": 0, "episodes": 1, "year": None}, {"season": 1, "episodes": 8, "year": 2019}, None,
                {"season": True, "episodes": 3}, {"season": False, "episodes": 3}, {"season": 3, "episodes": "8"},
            ]
        ),
    )  # fmt: skip
    work = home.shelf.value("SELECT work_id FROM discovery_pool")
    page = visit(f"/titles/{work}?as=Ben").text
    assert "<dt>Specials</dt><dd>1 episode</dd>\n<dt>Season 1</dt><dd>8 episodes · 2019</dd>\n</dl>" in page


def test_a_trailer_is_a_link_in_the_language_of_the_page_for_titles_in_the_library_and_outside(
    home: Home, visit: Callable[..., Any]
):
    trailers = json.dumps({"en": {"site": "YouTube", "key": "aqz-KE-bpKQ"}, "de": {"site": "Vimeo", "key": "1084537"}})
    home.suggest("Ben", "Stalker", "PG")
    home.shelf.do("UPDATE discovery_pool SET trailers = :trailers", trailers=trailers)
    heat = merge(home, 2, "Heat")
    home.shelf.do(
        "UPDATE enriched_metadata SET trailers = :trailers WHERE work_id = :work", trailers=trailers, work=heat
    )
    up = merge(home, 3, "Up")
    for work in (heat, home.shelf.value("SELECT work_id FROM discovery_pool")):
        english = visit(f"/titles/{work}?as=Ben")
        link = '<a href="https://www.youtube.com/watch?v=aqz-KE-bpKQ" hreflang="en" rel="noopener noreferrer">'
        assert f"{link}Trailer on YouTube</a>" in english.text
        # It is a link only: the browser asks that site for nothing before somebody follows it.
        assert english.text.count("youtube") == 1 and "<iframe" not in english.text
        assert "youtube" not in english.headers["content-security-policy"].lower()
        german = visit(f"/titles/{work}?as=Ben", headers={"accept-language": "de"}).text
        assert '<a href="https://vimeo.com/1084537" hreflang="de" ' in german and "Trailer auf Vimeo</a>" in german
    assert "railer" not in visit(f"/titles/{up}?as=Ben").text
    english = {"trailers": {"en": {"site": "Vimeo", "key": "7"}}}
    link = trailer_of(english, texts_of("de"))
    assert link is not None and link.text == "Trailer auf Vimeo (Englisch)"


def test_odd_data_costs_only_itself(home: Home, visit: Callable[..., Any]):
    home.suggest("Ben", "Stalker", "PG")
    work = home.shelf.value("SELECT work_id FROM discovery_pool")
    home.shelf.do(
        "UPDATE discovery_pool SET release_date = NULL, vote_average = 'NaN', vote_count = -3, runtime_minutes = 0, "
        "\"cast\" = ARRAY[NULL, '', 'Somebody'], genres = NULL, providers = :odd, "
        "recommended_tmdb_ids = ARRAY[NULL, 0]",
        odd=json.dumps({"US": ["Mubi"]}),
    )
    page = visit(f"/titles/{work}?as=Ben")
    assert page.status_code == 200 and "<dd>Somebody</dd>" in page.text and "nan" not in page.text
    heat = merge(home, 2, "Heat", overview=None, tomatoes=float("inf"))
    page = visit(f"/titles/{heat}?as=Ben")
    assert page.status_code == 200 and "Rotten" not in page.text and "8.3 of 10" in page.text
    # Before anything is merged, there is what the media server says.
    alien = home.shelf.item("film-1")["work_id"]
    assert "Alien &amp; &lt;Co&gt;" in visit(f"/titles/{alien}?as=Ben").text


@pytest.mark.parametrize("odd", [None, "text", -1, True, [], {}, float("nan"), float("inf"), 1e300, object()])
def test_no_value_of_a_source_breaks_a_page(odd: Any):
    columns = (
        "vote_average", "vote_count", "imdb_rating", "metacritic", "letterboxd", "awards", "oscars_won", "award_wins",
        "runtime_minutes", "genres", "official_rating", "cast", "directors", "release_date", "original_title",
        "collection_name", "streams", "offers", "sources",
    )  # fmt: skip
    for column in columns:
        row = {"imdb_rating": 8.3, column: odd}
        assert ("IMDb", "8.3 of 10") in scores_of(row, ENGLISH) or column == "imdb_rating"
        summary_of(row, None, "movie", texts_of("de"))
        facts_of(row, "Heat", ENGLISH)
        streams_of(row, ENGLISH)
        assert trailer_of({"trailers": odd}, ENGLISH) is None and trailer_of({"trailers": {"en": odd}}, ENGLISH) is None
        assert seasons_in(odd) == seasons_in([odd]) == seasons_in([{"season": 1, "episodes": odd}]) == []


def test_what_is_like_a_title_follows_the_vectors_once_they_change(home: Home):
    now = [0.0]
    alike = Alike(lambda: now[0])
    films = [home.shelf.item(f"film-{number}")["work_id"] for number in range(1, 5)]
    with home.shelf.open() as connection:
        assert alike.nearest(connection, films[0], 3) == []
    vectors(home, film_1=[1, 0], film_2=[1, 0.2], film_3=[1, 0.6], film_4=[-1, 0])
    with home.shelf.open() as connection:
        assert alike.nearest(connection, films[0], 3)[:2] == [films[1], films[2]]
        assert alike.nearest(connection, 999_999, 3) == []
    vectors(home, film_1=[1, 0], film_2=[-1, 0.2], film_3=[1, 0.6], film_4=[float("nan"), 0])
    now[0] += LOOK_SECONDS
    with home.shelf.open() as connection:
        assert alike.nearest(connection, films[0], 3)[0] == films[2]
        assert alike.nearest(connection, films[3], 3) == []
