"""For tonight: what fits of a member's whole list, by an address that can be kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.testclient import TestClient

from aperture_dagster.media_server.records import ServerEpisode
from aperture_dagster.settings import Settings
from aperture_dagster_tests.front_door.browsing import members_app
from aperture_dagster_tests.front_door.home import Home
from aperture_dagster_tests.front_door.test_pages import titles
from aperture_dagster_tests.shelf import film, played

FILMS = 300


@pytest.fixture
def visit(settings: Settings) -> Iterator[Callable[..., Any]]:
    """Return a function that requests a page."""
    with members_app(settings, is_open=True) as pages:
        yield TestClient(pages, follow_redirects=False).get


@pytest.fixture
def whole(home: Home) -> Home:
    """Anna has a list of two films, and hundreds behind it; of these, the last ones are short comedies."""
    late = range(FILMS - 3, FILMS)
    home.shelf.films(
        *(
            film(number, runtime_minutes=80, genres=("Comedy",), year=2026) if number in late
            else film(number, runtime_minutes=150, genres=("Drama",), year=1990)
            for number in range(10, FILMS)
        )
    )  # fmt: skip
    home.recommend("Anna", 10, 11)
    set_whole(home, "Anna", range(10, FILMS))
    return home


def set_whole(home: Home, user: str, numbers: Any) -> None:
    works = [home.shelf.item(f"film-{number}")["work_id"] for number in numbers]
    home.shelf.do(
        "INSERT INTO whole_lists (user_id, media_type, works, scores) VALUES (:user, 'movie', :works, :scores)",
        user=user, works=works, scores=[1 - place / len(works) for place in range(len(works))],
    )  # fmt: skip


def test_what_fits_comes_from_the_whole_list_in_its_order(whole: Home, visit: Callable[..., Any]):
    found = titles(visit("/tonight?as=Anna&minutes=90&genre=Comedy").text)
    assert found == [f"Film {number} 2026" for number in (297, 298, 299)]
    everything = visit("/tonight?as=Anna").text
    assert titles(everything)[:3] == ["Film 10 1990", "Film 11 1990", "Film 12 1990"]
    assert everything.count("Because you liked Solaris") == 2 and "150 min · Drama" in everything
    assert titles(visit("/tonight?as=Anna&age=new").text) == found
    assert titles(visit("/tonight?as=Anna&age=old&minutes=90").text) == []


def test_what_was_seen_or_hidden_since_or_may_not_be_seen_by_now_is_left_out(whole: Home, visit: Callable[..., Any]):
    address = "/tonight?as=Anna&minutes=90"
    whole.shelf.history("Anna", played("film-297"))
    assert titles(visit(address).text) == ["Film 298 2026", "Film 299 2026"]
    work = whole.shelf.item("film-298")["work_id"]
    whole.shelf.do(
        "INSERT INTO dismissals (user_id, work_id, media_type, title, dismissed_at) "
        "VALUES ('Anna', :work, 'movie', 'x', now())",
        work=work,
    )
    assert titles(visit(address).text) == ["Film 299 2026"]
    # However much of the top of the list is forbidden by now, what comes far behind it is found.
    whole.shelf.do("UPDATE titles SET official_rating = CASE WHEN server_item_id = 'film-299' THEN 'G' ELSE 'R' END")
    whole.user("Anna", max_parental_rating=10)
    assert titles(visit("/tonight?as=Anna").text) == ["Film 299 2026"]


def test_for_an_episode_there_are_series_and_no_films(whole: Home, visit: Callable[..., Any]):
    work = whole.shelf.item("series-1")["work_id"]
    whole.shelf.do(
        "INSERT INTO whole_lists (user_id, media_type, works, scores) VALUES ('Anna', 'series', :works, '{1}')",
        works=[work],
    )
    lengths = (90, 50, 50)
    whole.shelf.episodes(
        *(
            ServerEpisode(f"e-{number}", "series-1", title="x", season=1, number=number, runtime_minutes=minutes)
            for number, minutes in enumerate(lengths, start=4)
        )
    )
    assert titles(visit("/tonight?as=Anna&minutes=60").text) == ["Dark"]
    whole.shelf.do("UPDATE episodes SET runtime_minutes = 70")
    assert titles(visit("/tonight?as=Anna&minutes=60").text) == []
    assert "Dark" in titles(visit("/tonight?as=Anna&minutes=90").text)


def test_a_wrong_address_says_so_and_shows_the_rest(whole: Home, visit: Callable[..., Any]):
    page = visit("/tonight?as=Anna&minutes=soon&genre=Comedy&genre=%00%27&age=%F0%9F%8E%AC")
    assert page.status_code == 200 and "it was ignored" in page.text
    assert titles(page.text) == [f"Film {number} 2026" for number in (297, 298, 299)]
    assert "it was ignored" not in visit("/tonight?as=Anna&minutes=&genre=Comedy&utm=x").text


def test_before_the_next_computation_the_list_itself_is_filtered(home: Home, visit: Callable[..., Any]):
    home.recommend("Anna", 2, 1)
    assert titles(visit("/tonight?as=Anna").text) == ["Heat 2000", "Alien &amp; &lt;Co&gt; 2000"]
    page = visit("/?as=Anna").text
    assert 'href="/tonight?as=Anna&amp;minutes=90"' in page


def test_a_kept_address_is_still_one_after_the_sign_in(home: Home, settings: Settings):
    with members_app(settings) as pages:
        stranger = TestClient(pages, follow_redirects=False)
        answer = stranger.get("/tonight?minutes=90&genre=Science+Fiction&other=x")
    assert parse_qs(urlsplit(answer.headers["location"]).query)["next"] == [
        "/tonight?minutes=90&genre=Science%20Fiction"
    ]
