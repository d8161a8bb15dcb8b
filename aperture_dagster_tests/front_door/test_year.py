"""The page of a year is its member's alone but for the household's favourites; its picture names no title."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from aperture_dagster.catalogue.stored_users import write_users
from aperture_dagster.front_door.year import SIZE
from aperture_dagster.ratings.in_force import OWN, give_rating
from aperture_dagster.settings import Settings
from aperture_dagster_tests.front_door.browsing import Browsers, browsers, token
from aperture_dagster_tests.front_door.home import Home
from aperture_dagster_tests.shelf import NOW, played, user_row


@pytest.fixture
def signed_in(settings: Settings) -> Iterator[Browsers]:
    with browsers(settings) as found:
        yield found


def test_a_year_is_shown_to_its_member_without_what_they_may_not_see(home: Home, signed_in: Browsers):
    days = [NOW - timedelta(days=1), NOW]
    home.shelf.history("Anna", *(played(f"film-{n}", last_played_at=day) for n, day in zip((2, 3), days, strict=True)))
    anna, ben = signed_in("Anna"), signed_in("Ben")
    here = f"/year/{NOW.year}"
    page = anna.get(here).text
    assert "Heat" in page and "Up" in page and "2 days in a row" in page
    assert "Nothing that you watched" in ben.get(f"{here}?as=Anna").text
    home.user("Anna", max_parental_rating=13)
    page = anna.get(here).text
    assert "Heat" not in page and "Up" in page and "2 days in a row" in page
    answer = anna.get(f"{here}/picture")
    assert Image.open(BytesIO(answer.content)).size == (SIZE, SIZE) and "no-store" in answer.headers["cache-control"]
    assert ben.get(f"{here}/picture").status_code == 404
    for path in ("/year/0", "/year/99999999999999999999", "/year/3000", "/year/x", "/year/1850/picture"):
        assert anna.get(path).status_code == 404, path


def test_a_stranger_has_to_sign_in_first(home: Home, signed_in: Browsers):
    anna = signed_in("Anna")
    anna.cookies.clear()
    answer = anna.get(f"/year/{NOW.year}")
    assert answer.status_code == 303 and answer.headers["location"].startswith("/sign-in")
    assert anna.get(f"/year/{NOW.year}/picture").status_code == 404


def agree(browser: Any, **fields: str) -> Any:
    return browser.post("/year/favourites", data={"csrf": token(browser), "next": "/taste", **fields})


def favourites(browser: Any) -> list[tuple[str, str]]:
    """Return the titles below the heading of the household's favourites, each with what is said of it."""
    part = browser.get(f"/year/{NOW.year}").text.partition('<h2 id="favourites">')[2]
    return re.findall(r"<h3><a[^>]*>([^<]+)</a>.*?<p>([^<]+)</p>", part, re.DOTALL)


def watch(home: Home, *numbers: int) -> None:
    """Let Anna and Ben watch films to the end."""
    for user in ("Anna", "Ben"):
        home.shelf.history(user, *(played(f"film-{number}") for number in numbers))


def test_nobody_is_counted_among_the_favourites_before_they_agree_nor_after_they_stop(home: Home, signed_in: Browsers):
    watch(home, 2, 3)
    anna, ben = signed_in("Anna"), signed_in("Ben")
    assert favourites(anna) == []
    assert agree(anna, favourites="1").status_code == 303
    assert favourites(anna) == favourites(ben) == [], "one person is no household"
    assert ben.post("/year/favourites", data={"csrf": "x", "favourites": "1"}).status_code == 403
    agree(ben, favourites="1")
    assert re.search(r'name="favourites" value="1" checked', ben.get("/taste").text)
    assert favourites(anna) == favourites(ben) == [("Heat", "2 of you liked it"), ("Up", "2 of you liked it")]
    page = anna.get(f"/year/{NOW.year}").text
    assert "Ben" not in page and "only those who agreed" in page
    agree(ben)
    assert favourites(anna) == favourites(ben) == []
    assert home.shelf.value("SELECT favourites FROM member_choices WHERE user_id = 'Anna'"), "the other's choice stays"


def test_who_did_not_agree_counts_for_nothing_and_sees_the_favourites_of_those_who_did(home: Home, signed_in: Browsers):
    with home.shelf.open() as connection:
        write_users(connection, [user_row("Cleo")], still_there=None, key_for=lambda name, *_: name)
    watch(home, 3)
    home.shelf.history("Cleo", played("film-2"), played("film-3"))
    home.shelf.history("Anna", played("film-2"))
    cleo = signed_in("Cleo")
    for user in ("Anna", "Ben"):
        agree(signed_in(user), favourites="1")
    assert favourites(cleo) == [("Up", "2 of you liked it")]
    agree(cleo, favourites="1")
    assert favourites(cleo) == [("Up", "3 of you liked it"), ("Heat", "2 of you liked it")]
    # Who has left the server takes part no more.
    home.shelf.do("UPDATE users SET removed_at = now() WHERE user_id = 'Ben'")
    assert favourites(cleo) == [("Heat", "2 of you liked it"), ("Up", "2 of you liked it")]


def test_the_favourites_have_only_what_the_reader_may_see_and_wants_to(home: Home, signed_in: Browsers):
    watch(home, 1, 2, 3)
    anna, ben = signed_in("Anna"), signed_in("Ben")
    for browser in (anna, ben):
        agree(browser, favourites="1")
    home.user("Ben", max_parental_rating=13)
    assert [title for title, _ in favourites(ben)] == ["Up"]
    assert [title for title, _ in favourites(anna)] == ["Alien &amp; &lt;Co&gt;", "Heat", "Up"]
    home.user("Ben", blocked_tags=["family"])
    assert favourites(ben) == []
    anna.post("/not-for-me", data={"csrf": token(anna), "work": home.shelf.item("film-3")["work_id"]})
    assert "Up" not in [title for title, _ in favourites(anna)]


def test_the_picture_to_share_stays_as_it_is(home: Home, signed_in: Browsers):
    watch(home, 2, 3)
    anna, ben = signed_in("Anna"), signed_in("Ben")
    before = anna.get(f"/year/{NOW.year}/picture").content
    for browser in (anna, ben):
        agree(browser, favourites="1")
    assert favourites(anna) and anna.get(f"/year/{NOW.year}/picture").content == before


def test_who_watched_nothing_sees_the_favourites_too(home: Home, signed_in: Browsers):
    for user in ("Anna", "Ben"):
        agree(signed_in(user), favourites="1")
        give(home, user, 4, 9)
    page = signed_in("Anna").get(f"/year/{NOW.year}").text
    assert "Nothing that you watched" in page and favourites(signed_in("Anna")) == [("Solaris", "2 of you liked it")]


def give(home: Home, user: str, number: int, rating: int) -> None:
    work = home.shelf.item(f"film-{number}")["work_id"]
    with home.shelf.open() as connection:
        give_rating(connection, user, work, rating, source=OWN, rated_at=NOW)
