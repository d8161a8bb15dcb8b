"""In which language somebody reads the pages, and that all of it is in that one."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from babel.support import NullTranslations
from starlette.testclient import TestClient

from aperture_dagster import texts
from aperture_dagster.discovery.suggestions import dismiss_title
from aperture_dagster.front_door.pages import LISTS
from aperture_dagster.settings import Settings
from aperture_dagster_tests.front_door.browsing import browser_of, members_app
from aperture_dagster_tests.front_door.home import Home
from aperture_dagster_tests.shelf import NOW

TASTE = """
    INSERT INTO taste_profiles (user_id, media_type, titles, liked, disliked, summary)
    VALUES ('Anna', 'movie', 3, 2, 1, '{"sentence": "Made for the operator.",
    "genres": [{"name": "Drama"}, {"name": "Horror"}], "keywords": [{"name": "space"}]}')"""
Browser = Callable[..., TestClient]


@pytest.fixture
def browser(make_settings: Callable[..., Settings], tmp_path: Path) -> Iterator[Browser]:
    """Return a function that returns a browser of Anna's, by its ``Accept-Language``, where everything is offered."""
    settings = make_settings(
        publish=True, publish_root=tmp_path, alert_urls="mailto://mail.example", alert_ui_url="https://home.example"
    )
    with members_app(settings) as pages:
        yield lambda accepted="", name="Anna": browser_of(pages, settings, name, **{"accept-language": accepted})


@pytest.fixture
def full(home: Home) -> Home:
    """Fill every page."""
    home.recommend("Anna", 1, because=(4, 3))
    home.watch("Anna")
    home.pick(3)
    home.suggest("Anna", "Stalker", "PG", flatrate=["Mubi"])
    home.shelf.do(TASTE)
    with home.shelf.open() as connection:
        dismiss_title(connection, "Anna", home.shelf.item("film-2")["work_id"], "Heat", now=NOW)
    return home


def shown(page: str) -> str:
    """Return what somebody sees of a page or has read out to them."""
    labels = re.findall(r'(?:aria-label|alt|title)="([^"]*)"', page)
    return html.unescape(" ".join([re.sub(r"<[^>]*>", " ", page), *labels]))


class Brackets(NullTranslations):
    """Puts each text into brackets."""

    def gettext(self, message: str) -> str:
        return f"⟦{message}⟧"

    def ngettext(self, msgid1: str, msgid2: str, num: int) -> str:
        return f"⟦{msgid2}⟧"


def test_everything_on_every_page_can_be_translated_but_names(
    full: Home, browser: Browser, monkeypatch: pytest.MonkeyPatch
):
    texts.texts_of.cache_clear()
    monkeypatch.setattr(texts, "_translations", lambda _: Brackets())
    anna, stranger = browser("de"), browser("de", name=None)
    pages = [anna.get(path).text for path in (*LISTS, "/nowhere", "/not-for-me", "/unsubscribe/x")]
    pages += [stranger.get("/sign-in").text, stranger.post("/sign-in", data={"name": "x", "password": "y"}).text]
    pages.append(anna.post("/unsubscribe/x").text)
    assert "/choices" in pages[list(LISTS).index("/taste")]
    full.shelf.do("DELETE FROM recommendations")
    pages += [anna.get("/").text, anna.get("/?as=Ben").text, anna.post("/not-for-me", data={}).text]
    texts.texts_of.cache_clear()
    names = {"Aperture", "English", "Deutsch", "Anna", "Ben", "Alien", "Co", "Heat", "Up", "Dark", "Stalker"}
    for page in pages:
        text, left = shown(page), ""
        while left != text:
            left, text = text, re.sub(r"⟦[^⟦⟧]*⟧", "", text)
        assert set(re.findall(r"[^\W\d_]+", text)) <= names, page


def test_a_german_browser_gets_german_pages_and_an_english_one_english_pages(full: Home, browser: Browser):
    german, english = browser("de-AT,de;q=0.9,en;q=0.5"), browser("en-GB")
    page = german.get("/").text
    assert '<html lang="de">' in page and "Für Anna" in page
    assert "Weil dir Solaris und Up gefallen haben" in page and "Nichts für mich: Alien" in page
    shows = german.get("/shows").text
    assert "Als Nächstes: S01E03 · Three" in shows and "2 ungesehene Folgen" in shows
    assert "Neue Folge in 2 Tagen" in shows
    assert "Zu streamen bei Mubi" in german.get("/suggestions").text
    taste = german.get("/taste").text
    assert "Dir gefallen 2 Filme. Verglichen mit der Bibliothek häufiger Drama und Horror." in taste
    assert f"{NOW:%d.%m.%Y}" in taste and "Wieder anzeigen" in taste and "Made for" not in taste
    page = english.get("/").text
    assert '<html lang="en">' in page and "For Anna" in page and "Because you liked Solaris and Up" in page
    assert f"{NOW.day} {NOW:%b %Y}" in english.get("/taste").text


def test_somebody_chooses_a_language_that_their_browser_does_not_prefer(full: Home, browser: Browser):
    anna = browser("en-GB,de-AT;q=0.5")
    # A page that was kept for the other language is not shown.
    assert "My taste" in anna.get("/taste").text
    answer = anna.post("/language", data={"language": "de", "next": "/taste"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/taste")
    assert "HttpOnly" in answer.headers["set-cookie"] and "samesite=lax" in answer.headers["set-cookie"].lower()
    page = anna.get("/taste").text
    assert '<html lang="de">' in page and "Mein Geschmack" in page
    assert re.search(r'lang="de" class="quiet" aria-current="true">Deutsch', page)
    anna.post("/language", data={"language": "en"})
    assert '<html lang="en">' in anna.get("/").text


def test_the_switch_takes_nothing_else_and_leads_nowhere_else(full: Home, browser: Browser):
    stranger = browser("de", name=None)
    for language in ("fr", "", "de\r\nset-cookie: x=y", "../de"):
        answer = stranger.post("/language", data={"language": language, "next": "//elsewhere.example"})
        assert answer.headers["location"] == "/" and "set-cookie" not in answer.headers, language
    page = stranger.get("/sign-in?next=%2Ftaste").text
    assert '<html lang="de">' in page and 'name="next" value="/sign-in?next=%2Ftaste"' in page
    broken = browser("de", name=None)
    broken.cookies.set("aperture_language", "../../x")
    assert '<html lang="de">' in broken.get("/sign-in").text


def test_errors_are_in_the_language_of_whoever_made_them(full: Home, browser: Browser):
    anna = browser("de")
    assert "Diese Seite gibt es nicht." in anna.get("/nowhere").text
    assert "Lade die Seite neu" in anna.post("/not-for-me", data={"csrf": "x"}).text
    full.user("Ben", is_disabled=False)
    wrong = browser("de", name=None).post("/sign-in", data={"name": "x", "password": "y"})
    assert "Medienserver antwortet im Moment nicht" in wrong.text
