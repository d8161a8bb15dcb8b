"""*Not for me*: what a member hides leaves their lists at once, and comes back when they say so, and they alone can."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest
from starlette.testclient import TestClient

from aperture_dagster.front_door.gate import Gate
from aperture_dagster.front_door.pages import Pages
from aperture_dagster.front_door.sessions import COOKIE, Sessions
from aperture_dagster.model.clock import Clock
from aperture_dagster.postgres.database import ReadOnlyDatabase
from aperture_dagster.publishing.publishable import listed_works
from aperture_dagster.settings import Settings
from aperture_dagster_tests.front_door.home import Home
from aperture_dagster_tests.front_door.test_pages import titles
from aperture_dagster_tests.shelf import NOW

Browsers = Callable[[str], TestClient]


@pytest.fixture
def signed_in(settings: Settings) -> Iterator[Browsers]:
    """Return a function that returns the browser of a member who has signed in."""
    database = ReadOnlyDatabase(settings)
    pages = Pages(settings, database, Gate(settings, database), clock=Clock(lambda: NOW)).application()

    def browser(name: str) -> TestClient:
        cookie = Sessions(settings).begin(name, is_administrator=False)
        return TestClient(pages, cookies={COOKIE: cookie}, follow_redirects=False)

    yield browser
    database.close()


def token(browser: TestClient) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', browser.get("/").text)
    assert found is not None
    return found[1]


def press(browser: TestClient, path: str, name: str, button: str = "Not for me") -> Any:
    """Press the button of a title on a page, as a browser without scripts does."""
    page = browser.get(path).text
    form = next(one for one in re.findall(r"<form.*?</form>", page, re.DOTALL) if f"{button}: {name}" in one)
    work = re.search(rf'name="work" value="(\d+)"[^>]*aria-label="{button}: {name}"', form)
    action = re.search(r'action="([^"]+)"', form)
    fields = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form)
    assert work is not None and action is not None
    return browser.post(action[1], data={**dict(fields), "work": work[1]})


def test_what_somebody_hides_leaves_all_of_their_lists_at_once_and_can_be_shown_again(home: Home, signed_in: Browsers):
    home.recommend("Anna", 2, 1)
    home.recommend("Ben", 2, 1)
    home.pick(3, 2)
    home.suggest("Anna", "Stalker", "PG")
    anna, ben = signed_in("Anna"), signed_in("Ben")
    assert titles(anna.get("/").text) == titles(ben.get("/").text) == ["Heat 2000", "Alien &amp; &lt;Co&gt; 2000"]
    answer = press(anna, "/", "Heat")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert press(anna, "/suggestions", "Stalker").headers["location"] == "/suggestions"
    assert titles(anna.get("/").text) == ["Alien &amp; &lt;Co&gt; 2000"]
    assert titles(anna.get("/top-picks").text) == ["Up 2000"] and titles(anna.get("/suggestions").text) == []
    assert set(titles(anna.get("/taste").text)) == {"Heat", "Stalker"}
    assert titles(ben.get("/").text) == ["Heat 2000", "Alien &amp; &lt;Co&gt; 2000"]
    assert titles(ben.get("/top-picks").text) == ["Up 2000", "Heat 2000"] and titles(ben.get("/taste").text) == []
    press(anna, "/taste", "Heat", "Show it again")
    assert titles(anna.get("/taste").text) == ["Stalker"]
    assert titles(anna.get("/").text) == ["Heat 2000", "Alien &amp; &lt;Co&gt; 2000"]


def test_what_is_hidden_is_published_for_nobody_who_hid_it(home: Home, signed_in: Browsers):
    home.recommend("Anna", 2, 1)
    home.recommend("Ben", 2, 1)
    home.watch("Anna")
    press(signed_in("Anna"), "/", "Heat")
    press(signed_in("Anna"), "/shows", "Dark")
    with home.shelf.open() as connection:
        lists = {
            key: [rank for rank, _ in listed_works(connection, key, today=date.max)]
            for key in ("recommendations/Anna/movie", "recommendations/Ben/movie", "shows_you_watch/Anna")
        }
    assert list(lists.values()) == [[2], [1, 2], []]


def test_nobody_hides_a_title_for_somebody_else(home: Home, signed_in: Browsers):
    home.recommend("Anna", 2)
    home.recommend("Ben", 2)
    anna, ben = signed_in("Anna"), signed_in("Ben")
    work = home.shelf.item("film-2")["work_id"]
    for browser, csrf, status in ((ben, token(anna), 403), (ben, "", 403), (ben, "é", 403)):
        assert browser.post("/not-for-me", data={"csrf": csrf, "work": work}).status_code == status, csrf
    # An administrator sees the lists of others, and no buttons there.
    assert "Not for me" not in anna.get("/?as=Ben").text and "Not for me" in anna.get("/").text
    assert anna.post("/not-for-me?as=Ben", data={"csrf": token(anna), "work": work}).status_code == 303
    assert titles(ben.get("/").text) == ["Heat 2000"]
    stranger = TestClient(anna.app, follow_redirects=False)
    assert stranger.post("/not-for-me", data={"csrf": token(anna), "work": work}).status_code == 403
    assert anna.get("/not-for-me").status_code == 405
    assert home.shelf.value("SELECT count(*) FROM dismissals WHERE user_id = 'Ben'") == 0


def test_only_what_a_member_may_see_can_be_hidden(home: Home, signed_in: Browsers):
    home.recommend("Ben", 3)
    home.suggest("Anna", "Stalker", "PG")
    home.user("Ben", max_parental_rating=13)
    ben, outside = signed_in("Ben"), home.shelf.value("SELECT work_id FROM discovery_candidates")
    for work in (home.shelf.item("film-2")["work_id"], outside, 10**6, "", "x", "²", 10**19, -1):
        answer = ben.post("/not-for-me", data={"csrf": token(ben), "work": work})
        assert answer.status_code == 404, work
    assert home.shelf.rows("SELECT * FROM dismissals") == []
    home.user("Ben", is_disabled=True)
    up = {"csrf": "", "work": home.shelf.item("film-3")["work_id"], "next": "//elsewhere"}
    assert ben.post("/not-for-me", data=up).status_code == 403


def test_after_hiding_a_browser_stays_here(home: Home, signed_in: Browsers):
    home.recommend("Ben", 3)
    ben, up = signed_in("Ben"), home.shelf.item("film-3")["work_id"]
    answer = ben.post("/not-for-me", data={"csrf": token(ben), "work": up, "next": "https://elsewhere.example/"})
    assert answer.headers["location"] == "/"
