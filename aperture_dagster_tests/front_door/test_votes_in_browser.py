"""In Chromium: four members and a child among them vote on their phones, and see nothing of each other's histories."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import segno

from aperture_dagster.catalogue.stored_users import write_users
from aperture_dagster.front_door import evenings
from aperture_dagster.front_door.sessions import COOKIE
from aperture_dagster.settings import Settings
from aperture_dagster_tests.front_door.browsing import members_app, session_of
from aperture_dagster_tests.front_door.home import Home
from aperture_dagster_tests.front_door.test_members_in_browser import PHONE, Visit, browser
from aperture_dagster_tests.shelf import film, played, user_row
from aperture_dagster_tests.ui.browser import needs_chromium
from aperture_dagster_tests.webserver import free_port, serving

pytestmark = [pytest.mark.ui, needs_chromium]

__all__ = ["browser"]
PEOPLE = {"Anna": "Solaris", "Ben": "Heat", "Cora": "Stalker", "Kim": "Ponyo"}
"""Who is here, with the title that only they have watched, and that their list follows."""
MODULES = re.compile(r"M(\d+) (\d+)h1v1h-1z")


@contextmanager
def phones(browser: Any, pages: Any, settings: Settings, address: str) -> Iterator[dict[str, Visit]]:
    """A phone for each of them, signed in, and one of nobody."""
    contexts, visits, said = [], {}, []
    for name in (*PEOPLE, ""):
        context = browser.new_context(base_url=address, timezone_id="UTC", reduced_motion="reduce", **PHONE)
        contexts.append(context)
        if name:
            cookie = session_of(pages, settings, name)
            context.add_cookies([{"name": COOKIE, "value": cookie, "url": address}])
        page = context.new_page()
        page.on("pageerror", lambda error: said.append(str(error)))
        # What belongs to the household of the other tests is not needed.
        visits[name] = Visit(page, None)  # type: ignore[arg-type]
    try:
        yield visits
    finally:
        for context in contexts:
            context.close()
    assert not said


@pytest.fixture
def four(home: Home) -> Home:
    """Anna, Ben, Cora, and Kim, who is a child. Film 10 is for adults; Ben has seen Film 11, and Cora hides Film 12."""
    with home.shelf.open() as connection:
        rows = [user_row("Cora"), user_row("Kim") | {"max_parental_rating": 10}]
        write_users(connection, rows, still_there=None, key_for=lambda name, *_: name)
    rated = [film(number, official_rating="R" if number == 10 else "PG") for number in range(10, 17)]
    home.shelf.films(*rated, film(5, title="Stalker"), film(6, title="Ponyo", official_rating="G"))
    own = {"Anna": 4, "Ben": 2, "Cora": 5, "Kim": 6}
    for name, number in own.items():
        home.recommend(name, *(number for number in range(10, 17) if (name, number) != ("Ben", 11)), because=(number,))
        home.shelf.do("UPDATE recommendations SET score = 1.0 / rank WHERE user_id = :user", user=name)
        home.shelf.do(
            "INSERT INTO member_choices (user_id, publish, newsletter, together) VALUES (:user, true, false, true)",
            user=name,
        )
        home.shelf.history(name, played(f"film-{number}"))
    home.shelf.history("Ben", played("film-2"), played("film-11"))
    home.shelf.do(
        "INSERT INTO dismissals (user_id, work_id, media_type, title, dismissed_at) "
        "VALUES ('Cora', :work, 'movie', 'Film 12', now())",
        work=home.shelf.item("film-12")["work_id"],
    )
    return home


def judge(visit: Visit, title: str, answer: str) -> None:
    """Say what a phone asks."""
    assert visit.page.locator(".asked").inner_text().startswith(title)
    visit.press("button", answer)


@pytest.mark.nightly(
    reason="Five browsers at once.",
    instead="front_door/test_evenings.py::test_the_first_title_that_all_like_is_shown_to_all",
)
def test_four_with_a_child_vote_by_the_link_and_the_first_that_all_like_wins(
    browser: Any, settings: Settings, four: Home, monkeypatch: pytest.MonkeyPatch
):
    for name in ("VOTING_REFRESH", "WAITING_REFRESH"):
        monkeypatch.setattr(evenings, name, 1)
    yes, no = "Yes, let's watch it", "No"
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with members_app(settings) as pages, serving(pages, port), phones(browser, pages, settings, address) as visits:
        anna, ben, cora, kim = (visits[name] for name in PEOPLE)
        anna.open("/together")
        for name in ("Ben", "Cora", "Kim"):
            anna.page.get_by_label(name, exact=True).check()
        anna.press("button", "Show")
        assert anna.titles() == ["Film 13 2000", "Film 14 2000", "Film 15 2000", "Film 16 2000"]
        anna.press("button", "Vote on the first of these")

        # The others read the code with their cameras.
        link = anna.page.locator("main p > a").first.get_attribute("href")
        square = segno.make(link, error="m")
        drawn = anna.page.locator(".square path").get_attribute("d")
        dark = {(x, y) for y, row in enumerate(square.matrix_iter(border=4)) for x, bit in enumerate(row) if bit}
        assert {(int(x), int(y)) for x, y in MODULES.findall(drawn)} == dark and re.match(
            rf"{address}/evening/.{{16}}$", link
        )
        for visit in (anna, ben, cora, kim):
            visit.open(link)
            visit.press("button", "Vote on this phone")
        visits[""].open(link)
        assert "You can look on here" in visits[""].page.inner_text("main")

        # Nothing serves pictures here: none is drawn as broken.
        anna.page.wait_for_function("[...document.images].every(image => image.complete)")
        assert anna.page.locator("#evening img").count() == 1
        assert not anna.page.locator("#evening img").is_visible()

        judge(anna, "Film 13", no)
        judge(anna, "Film 14", yes)
        for title in ("Film 15", "Film 16"):
            judge(anna, title, yes)
        judge(ben, "Film 13", yes)
        judge(ben, "Film 14", yes)
        judge(kim, "Film 13", yes)
        judge(kim, "Film 14", yes)
        judge(cora, "Film 13", yes)

        # Anna waits: her page follows, and is not loaded again. Kim's finger is on a card: nothing moves under it.
        for visit in (anna, kim):
            visit.page.evaluate("window.stayed = true")
        card = kim.page.locator(".asked").bounding_box()
        kim.page.mouse.move(card["x"] + 5, card["y"] + 5)
        kim.page.mouse.down()
        judge(cora, "Film 14", yes)
        anna.page.get_by_text("All of you like this:").wait_for()
        assert anna.page.locator(".asked").inner_text().startswith("Film 14")
        assert anna.page.evaluate("window.stayed"), "loaded again"
        assert kim.page.locator(".asked").inner_text().startswith("Film 15")
        kim.page.mouse.up()
        kim.page.get_by_text("All of you like this:").wait_for()
        assert kim.page.evaluate("window.stayed"), "loaded again"
        visits[""].page.get_by_text("All of you like this:").wait_for()
        anna.check()

        # Nobody sees what another has watched, or why something is on another's list.
        for name, visit in visits.items():
            others = {title for who, title in PEOPLE.items() if who != name}
            for path in ("/", "/together?with=Anna&with=Ben&with=Cora&with=Kim", link) if name else (link,):
                visit.page.goto(path)
                # Film 11 is on the lists of the others, and only Ben's history keeps it from all of them.
                hidden = others | ({"Film 11"} if path != "/" else set())
                content = visit.page.content()
                assert not [title for title in hidden if title in content], (name, path)

        # The way back, and the end.
        ben.open("/together")
        ben.press("link", "To the evening")
        assert ben.page.get_by_role("button", name="End the evening").count() == 0
        anna.open("/")
        anna.press("link", "To the evening")
        anna.press("button", "End the evening")
        assert anna.page.get_by_role("link", name="To the evening").count() == 0
        ben.page.reload()
        assert "This evening is over" in ben.page.inner_text("main")
