"""Together: members count each other in, see what suits all, and say what they watched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from aperture_dagster.settings import Settings
from aperture_dagster.taste.histories import read_histories
from aperture_dagster_tests.front_door.browsing import Browsers, browsers, members_app, token
from aperture_dagster_tests.front_door.home import Home
from aperture_dagster_tests.front_door.test_pages import titles
from aperture_dagster_tests.shelf import film, played


@pytest.fixture
def sign_in(settings: Settings, home: Home) -> Iterator[Browsers]:
    """Return a function that returns the browser of a member; both have the same films on their lists."""
    home.shelf.films(*(film(number, official_rating="PG") for number in range(10, 16)))
    for user, numbers in (("Anna", (10, 11, 12, 13, 14)), ("Ben", (11, 12, 10, 14, 15))):
        home.recommend(user, *numbers)
        home.shelf.do("UPDATE recommendations SET score = 1.0 / rank WHERE user_id = :user", user=user)
    with browsers(settings) as browser:
        yield browser


def join(browser: Any, **fields: str) -> Any:
    return browser.post("/together/join", data={"csrf": token(browser), "next": "/taste", **fields})


def films(page: str) -> list[str]:
    return [name.removesuffix(" 2000") for name in titles(page)]


def test_only_who_said_so_is_counted_in_and_can_stop_it(sign_in: Browsers):
    anna, ben = sign_in("Anna"), sign_in("Ben")
    page = anna.get("/together?with=Ben").text
    assert 'value="Ben"' not in page and "was ignored" in page and titles(page) == []
    assert join(ben, together="1").status_code == 303
    page = anna.get("/together?with=Ben").text
    assert re.search(r'name="with" value="Ben" checked', page)
    assert films(page) == ["Film 11", "Film 10", "Film 12", "Film 14"]
    assert "Because you liked" not in page and "Suits Ben" in page and "Solaris" not in page
    join(ben)
    assert titles(anna.get("/together?with=Ben").text) == []
    # Nobody else can say so for them.
    assert ben.post("/together/join", data={"csrf": "x", "together": "1"}).status_code == 403


def test_limits_libraries_and_what_one_hid_count_for_all_from_the_moment_they_do(sign_in: Browsers, home: Home):
    anna, ben = sign_in("Anna"), sign_in("Ben")
    join(ben, together="1")
    address = "/together?with=Ben"
    work = home.shelf.item("film-11")["work_id"]
    ben.post("/not-for-me", data={"csrf": token(ben), "work": work})
    assert "Film 11" not in films(anna.get(address).text)
    home.shelf.do("UPDATE titles SET official_rating = 'R' WHERE server_item_id = 'film-10'")
    assert "Film 10" in films(anna.get(address).text) and "Film 10" not in films(anna.get(f"{address}&guest=12").text)
    home.user("Ben", max_parental_rating=13)
    assert films(anna.get(address).text) == ["Film 12", "Film 14"]
    home.shelf.do("UPDATE titles SET tags = '{adult}' WHERE server_item_id = 'film-12'")
    home.user("Ben", blocked_tags=["adult"])
    assert films(anna.get(address).text) == ["Film 14"]
    # A reader of their own list alone is not limited by any of this.
    assert "Film 10" in films(anna.get("/").text)


def test_what_they_watched_is_seen_for_those_who_joined_once_and_can_be_taken_back(sign_in: Browsers, home: Home):
    anna, ben = sign_in("Anna"), sign_in("Ben")
    work = home.shelf.item("film-11")["work_id"]
    said = {"csrf": token(anna), "work": work, "with": "Ben nobody", "next": "/together?with=Ben"}
    assert anna.post("/together/watched", data=said).headers["location"] == "/together?with=Ben"
    assert home.shelf.rows("SELECT user_id FROM watched_together") == [{"user_id": "Anna"}], "Ben does not join"
    join(ben, together="1")
    for _ in range(2):
        anna.post("/together/watched", data=said)
    assert home.shelf.value("SELECT count(*) FROM watched_together") == 2
    assert "Film 11" not in films(anna.get("/together?with=Ben").text) + films(ben.get("/").text)
    with home.shelf.open() as connection:
        histories = read_histories(connection)
    assert list(histories.query("work_id == @work")["plays"]) == [1.0, 1.0], "the ranking learns it"
    page = ben.get("/taste").text
    assert "Watched together" in page and "Undo: Film 11" in page
    ben.post("/together/watched/undo", data={"csrf": token(ben), "work": work})
    assert "Film 11" in films(ben.get("/").text) and "Film 11" not in films(anna.get("/").text)


def test_what_the_server_counts_as_played_is_not_counted_twice(sign_in: Browsers, home: Home):
    anna, work = sign_in("Anna"), home.shelf.item("film-11")["work_id"]
    anna.post("/together/watched", data={"csrf": token(anna), "work": work})
    home.shelf.history("Anna", played("film-11"))
    with home.shelf.open() as connection:
        histories = read_histories(connection)
    assert list(histories.query("work_id == @work")["plays"]) == [1.0]


def test_nothing_that_one_may_not_see_is_noted_for_them(sign_in: Browsers, home: Home):
    anna, ben = sign_in("Anna"), sign_in("Ben")
    join(ben, together="1")
    home.user("Ben", max_parental_rating=0)
    work = home.shelf.item("film-11")["work_id"]
    anna.post("/together/watched", data={"csrf": token(anna), "work": work, "with": "Ben"})
    assert home.shelf.rows("SELECT user_id FROM watched_together") == [{"user_id": "Anna"}]


def test_in_a_demo_everybody_can_be_counted_in_and_nothing_be_changed(settings: Settings, home: Home):
    for user in ("Anna", "Ben"):
        home.recommend(user, 1, 2)
    with members_app(settings, is_open=True) as pages:
        page = TestClient(pages, follow_redirects=False).get("/together?as=Anna&with=Ben").text
    assert films(page) == ["Alien &amp; &lt;Co&gt;", "Heat"] and "Suits Anna" in page
    assert "We watched this" not in page and "Vote on" not in page
