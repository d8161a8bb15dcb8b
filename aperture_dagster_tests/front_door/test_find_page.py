"""What members find, and what nobody finds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from aperture_dagster.settings import Settings
from aperture_dagster_tests.front_door.browsing import browsers, hidden_fields, members_app, press, token
from aperture_dagster_tests.front_door.home import Home
from aperture_dagster_tests.front_door.test_pages import FORBIDDEN, POLICY, titles

Find = Callable[..., Any]


@pytest.fixture
def find(home: Home, settings: Settings) -> Iterator[Find]:
    """Return a function that returns the page of what somebody finds."""
    with members_app(settings, is_open=True) as pages:
        browser = TestClient(pages, follow_redirects=False)

        def asked(question: str, name: str = "Anna") -> Any:
            answer = browser.get(f"/find?as={name}&q={quote(question)}")
            assert answer.status_code == 200
            return answer

        yield asked


def test_titles_people_and_episodes_are_found_by_their_names(home: Home, find: Find):
    home.shelf.do(
        "UPDATE titles SET original_title = 'Là-haut' WHERE server_item_id = 'film-3'",
    )
    home.shelf.do(
        'INSERT INTO enriched_metadata (work_id, media_type, title, genres, keywords, "cast", directors, creators, '
        "companies, networks, countries, streams, sources) SELECT work_id, media_type, title, '{}', '{}', "
        "'{Natascha McElhone}', '{Steven Søderbergh}', '{}', '{}', '{}', '{}', '{}', '{}' FROM titles "
        "WHERE server_item_id = 'film-4'"
    )
    home.suggest("Anna", "Stalker", "PG")
    assert titles(find("heat").text) == ["Heat 2000"]
    assert titles(find("hezt").text) == ["Heat 2000"], "with a slip of the keys"
    assert titles(find("la haut").text) == ["Up 2000"], "by the original title, without its accent"
    assert titles(find("Alien").text) == ["Alien &amp; &lt;Co&gt; 2000"]
    people = find("soderberg").text
    assert titles(people) == ["Solaris 2000"] and "<p>Steven Søderbergh</p>" in people
    episodes = find("three").text
    assert titles(episodes) == ["Dark"] and "S01E03 · Three" in episodes
    outside = find("stalker").text
    assert titles(outside) == ["Stalker 1999"] and "Not in the library" in outside


def test_nobody_finds_what_they_may_not_see(home: Home, find: Find):
    home.suggest("Ben", "Stalker", "R")
    for columns, seen in FORBIDDEN:
        home.user("Ben", is_hidden=True, **POLICY | columns)
        found = {title for name in ("heat", "up", "dark", "stalker") for title in titles(find(name, "Ben").text)}
        assert found == seen, columns
        assert titles(find("heat").text) == ["Heat 2000"], "others find it still"


def test_what_a_member_hid_they_do_not_find(home: Home, find: Find):
    work = home.shelf.item("film-2")["work_id"]
    home.shelf.do(
        "INSERT INTO dismissals (user_id, work_id, media_type, title, dismissed_at) "
        "VALUES ('Anna', :work, 'movie', 'Heat', now())",
        work=work,
    )
    assert titles(find("heat").text) == [] and "Nothing that you may see" in find("heat").text
    assert titles(find("heat", "Ben").text) == ["Heat 2000"]


def test_a_title_outside_the_library_has_a_page_a_poster_and_the_usual_buttons(home: Home, settings: Settings):
    home.suggest("Ben", "Stalker", "PG")
    home.shelf.do("UPDATE discovery_pool SET poster_path = '/a.jpg'")
    work = home.shelf.value("SELECT work_id FROM discovery_pool")
    with browsers(settings) as browser_of:
        anna, path = browser_of("Anna"), "/find?q=stalker"
        assert titles(anna.get("/suggestions").text) == [] and titles(anna.get(path).text) == ["Stalker 1999"]
        assert f'src="/pictures/suggested/{work}"' in anna.get(path).text
        link = re.search(r'<h3><a href="([^"]+)">Stalker</a>', anna.get(path).text)
        assert link is not None
        page = anna.get(link[1].replace("&amp;", "&")).text
        assert "<h1>Stalker</h1>" in page and f'href="{path}">Back' in page
        for button, table in (("For later", "for_later"), ("More like this", "more_like_this")):
            assert press(anna, path, "Stalker", button).headers["location"] == path
            assert home.shelf.rows(f"SELECT user_id, work_id FROM {table}") == [{"user_id": "Anna", "work_id": work}]
            assert f"No longer {button[0].lower()}{button[1:]}: Stalker" in anna.get(path).text
        press(anna, path, "Stalker", "No longer for later")
        rating = {**hidden_fields(page.partition('action="/rate"')[2].partition("</form>")[0]), "rating": "7"}
        assert anna.post("/rate", data=rating).status_code == 303
        assert "(7 of 10)" in anna.get(f"/titles/{work}").text and titles(anna.get(path).text) == []
        anna.post("/rate", data={**rating, "rating": ""})
        press(anna, path, "Stalker", "Not for me")
        assert titles(anna.get(path).text) == [] and anna.get(f"/titles/{work}").status_code == 404
        press(anna, "/taste", "Stalker", "Show it again")
        assert titles(anna.get(path).text) == ["Stalker 1999"]


@pytest.mark.parametrize(
    "odd", ["is_adult = true", "keywords = '{softcore}'", "release_date = '2050-01-01'", "title = NULL"]
)
def test_what_nobody_is_suggested_nobody_finds_opens_or_changes(home: Home, settings: Settings, odd: str):
    home.suggest("Ben", "Stalker", "PG")
    home.shelf.do("DELETE FROM discovery_candidates")
    home.shelf.do(f"UPDATE discovery_pool SET {odd}")
    work = home.shelf.value("SELECT work_id FROM discovery_pool")
    with browsers(settings) as browser_of:
        ben = browser_of("Ben")
        assert titles(ben.get("/find?q=stalker").text) == [] and ben.get(f"/titles/{work}").status_code == 404
        form = {"csrf": token(ben), "work": str(work), "rating": "9"}
        for path in ("/rate", "/not-for-me", "/more-like-this", "/for-later"):
            assert ben.post(path, data=form).status_code == 404, path


def test_what_has_left_the_library_is_not_found(home: Home, find: Find):
    assert titles(find("heat").text) == ["Heat 2000"]
    home.shelf.do("UPDATE titles SET removed_at = now() WHERE server_item_id = 'film-2'")
    assert titles(find("heat").text) == [], "although the index is older"


@pytest.mark.parametrize(
    "question",
    ["", "   ", "x" * 5000, "\0\x07\x1b[31m", "🎬🍿", "the of and", "%_'\";-- DROP TABLE titles", "<script>",
     "{{ 7*7 }}", "\\", "\ufffd", "\u202eevil", "((((", "0", "null"],
)  # fmt: skip
def test_whatever_is_asked_there_is_a_sentence_and_no_error(find: Find, question: str):
    page = find(question).text
    assert "<h1>" in page and "<script>" not in page and "\u202e" not in page
    assert len(page) < 20_000


def test_the_field_is_on_every_list_and_keeps_what_was_asked(home: Home, settings: Settings):
    home.recommend("Ben", 1)
    with browsers(settings) as browser_of:
        ben = browser_of("Ben")
        for path in ("/", "/taste", "/top-picks", "/find"):
            assert 'role="search"' in ben.get(path).text
        page = ben.get("/find?q=heat+%22").text
        assert 'name="q" value="heat &#34;"' in page
        language = re.search(r'name="next" value="(/find[^"]*)"', page)
        assert language is not None and titles(ben.get(language[1].replace("&amp;", "&")).text) == ["Heat 2000"]
        assert ben.get("/find?q=heat&as=Anna").status_code in (303, 404), "nobody searches as somebody else"


def test_who_has_not_signed_in_finds_nothing(home: Home, settings: Settings):
    with members_app(settings) as pages:
        answer = TestClient(pages, follow_redirects=False).get("/find?q=heat")
        assert answer.status_code == 303 and "/sign-in" in answer.headers["location"]
