"""In Chromium: a member signs in, reads, hides, rates, requests, connects and signs out; axe-core finds nothing wrong.

That is three steps on a phone, and at night all of them there and on a desktop, in light and dark colours, with a
pointer and with the keyboard alone.

To test another step, write a function that takes a :class:`Visit`, and add it to `DOING`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from aperture_dagster.front_door.guard import AllowedHosts, Guard
from aperture_dagster.front_door.pages import LISTS
from aperture_dagster.simulator.world import WorldTitle
from aperture_dagster_tests.front_door.door import PASSWORD, Door
from aperture_dagster_tests.marks import ANOTHER_CASE
from aperture_dagster_tests.ui.browser import needs_chromium, open_page
from aperture_dagster_tests.webserver import free_port, serving

pytestmark = [pytest.mark.ui, needs_chromium]

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DESKTOP = {"viewport": {"width": 1440, "height": 900}}
HIGHEST_HEADER = 120
AXE_SCRIPT = Axe().axe_script
AXE = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
CONTRAST = {"resultTypes": ["violations"], "runOnly": ["color-contrast"]}
FOCUS_BEFORE = """one => {
  const all = [...document.querySelectorAll("a[href], button, input, select, summary")].filter(
    each => each === one || (each.type !== "hidden" && each.checkVisibility()));
  const before = all[all.indexOf(one) - 1];
  before ? before.focus() : document.activeElement.blur();
}"""
FOCUS_IS_VISIBLE = """one => [getComputedStyle(one), getComputedStyle(one, "::after")].some(
  style => style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2)"""


IS_IN_SIGHT = """one => {
  const [tab, row] = [one, one.parentElement].map(each => each.getBoundingClientRect());
  return row.left <= tab.left && tab.right <= row.right;
}"""


@dataclass
class Visit:
    """A member's browser. Each step leaves pages that anybody can use, which :meth:`check` holds."""

    page: Any
    door: Door
    by_keyboard: bool = False
    checked: set[tuple[Any, ...]] = field(default_factory=set)

    def press(self, role: str, name: str) -> None:
        """Press a link or button that leads to a page, and check that page; what it is in is opened first."""
        target = self.page.get_by_role(role, name=name, exact=True, include_hidden=True).first
        menu = target.locator("xpath=ancestor::details[not(@open)]/summary")
        if menu.count():
            if self.by_keyboard:
                self.reach(menu)
                self.page.keyboard.press("Enter")
            else:
                menu.click()
        with self.page.expect_navigation():
            if self.by_keyboard:
                self.reach(target)
                self.page.keyboard.press("Enter")
            else:
                target.click()
        self.check()

    def type(self, label: str, text: str) -> None:
        """Replace what is in a field."""
        target = self.page.get_by_label(label, exact=True)
        if self.by_keyboard:
            self.reach(target)
            self.page.keyboard.press("Control+a")
            self.page.keyboard.type(text)
        else:
            target.fill(text)

    def tick(self, box: Any) -> None:
        """Tick a box, or untick it."""
        if self.by_keyboard:
            self.reach(box)
            self.page.keyboard.press("Space")
        else:
            box.click()

    def reach(self, target: Any) -> None:
        """Go on from what is before a target in the order of the page, and find the focus on it, visibly so."""
        target.wait_for()
        target.evaluate(FOCUS_BEFORE)
        self.page.keyboard.press("Tab")
        assert target.evaluate("one => one === document.activeElement"), f"the keyboard does not reach {target}"
        assert target.evaluate(FOCUS_IS_VISIBLE), f"the focus of {target} cannot be seen"

    def open(self, path: str) -> None:
        """Open a page by its address, and check it."""
        self.page.goto(path)
        self.check()

    def check(self) -> None:
        """Find nothing wrong with the page, and nothing wider than the screen; once for each kind of page."""
        shown = [self.page.locator(one).count() for one in ("[role=alert]", "summary", "details[open]")]
        page = (self.page.url.partition("?")[0], self.page.locator("html").get_attribute("lang"), *shown)
        if page in self.checked:
            return
        self.page.evaluate(AXE_SCRIPT)
        for colours, rules in (("light", AXE), ("dark", CONTRAST)):
            self.page.emulate_media(color_scheme=colours)
            found = self.page.evaluate("rules => axe.run(rules)", rules)["violations"]
            wrong = [f"{one['id']}: {one['nodes'][0]['html']} {one['nodes'][0]['failureSummary']}" for one in found]
            assert not wrong, "\n".join([f"{self.page.url}, {colours}", *wrong])
        self.page.emulate_media(color_scheme="light")
        self.fits()
        self.checked.add(page)

    def fits(self) -> None:
        """Find nothing on the page that is wider than the screen, and a header that leaves the screen to the titles."""
        assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{self.page.url} is too wide"
        height = self.page.evaluate("document.querySelector('header')?.getBoundingClientRect().height ?? 0")
        assert height <= HIGHEST_HEADER, f"the header of {self.page.url} is {height} pixels high"

    def titles(self) -> list[str]:
        """Return what is on the page."""
        return [one.split("\n")[0] for one in self.page.locator(".titles h3").all_inner_texts()]


def sign_in(visit: Visit) -> None:
    visit.open("/")
    for password in ("wrong", PASSWORD):
        visit.type("Name", "Ben")
        visit.type("Password", password)
        visit.press("button", "Sign in")
        assert visit.page.get_by_role("alert").count() == (password != PASSWORD)
    assert visit.titles() == ["Heat 2000", "Alien & <Co> 2000"]
    poster = visit.page.locator(".titles img").first
    poster.evaluate("one => one.decode()")
    assert poster.evaluate("one => one.naturalWidth") > 0


def read_each_page(visit: Visit) -> None:
    shown = {}
    for name, _ in LISTS.values():
        visit.press("link", name)
        assert visit.page.get_by_role("link", name=name, exact=True).get_attribute("aria-current") == "page"
        shown[name] = visit.titles()
    assert list(shown.values()) == [
        ["Heat 2000", "Alien & <Co> 2000"], ["Dark"], ["Up 2000", "Heat 2000"], ["Stalker 1999"], [], [],
    ]  # fmt: skip
    visit.press("link", "For you")
    visit.press("link", "Heat")
    title = visit.page.get_by_role("link", name="Open it in the media server", exact=True)
    assert "/web/#/details?serverId=" in title.get_attribute("href")
    if visit.by_keyboard:
        visit.reach(title)
    visit.press("link", "Back")


def skip_to_the_titles(visit: Visit) -> None:
    visit.open("/")
    visit.page.keyboard.press("Tab")
    link = visit.page.get_by_role("link", name="Skip to the titles")
    assert link.evaluate("one => one === document.activeElement && one.getBoundingClientRect().left >= 0")
    visit.page.keyboard.press("Enter")
    visit.page.keyboard.press("Tab")
    title = visit.page.get_by_role("link", name="Heat").first
    assert title.evaluate("one => one === document.activeElement"), "the next one is not the first title"


def hide(visit: Visit) -> None:
    visit.press("button", "Not for me: Heat")
    assert visit.titles() == ["Alien & <Co> 2000"]
    visit.press("link", "Top Picks")
    assert visit.titles() == ["Up 2000"]


def undo(visit: Visit) -> None:
    visit.press("link", "My taste")
    assert visit.titles() == ["Heat"]
    visit.press("button", "Show it again: Heat")
    assert visit.titles() == []
    visit.press("link", "For you")
    assert visit.titles() == ["Heat 2000", "Alien & <Co> 2000"]


def exclude_a_genre(visit: Visit) -> None:
    for found in ([], ["Stalker 1999"]):
        visit.press("link", "My taste")
        box = visit.page.get_by_label("Drama", exact=True)
        visit.tick(box)
        visit.press("button", "Save")
        visit.press("link", "Not in the library")
        assert visit.titles() == found
    visit.press("link", "For you")


def rate(visit: Visit) -> None:
    visit.press("link", "Rate: Heat")
    chosen = visit.page.get_by_label("Your rating", exact=True)
    if visit.by_keyboard:
        visit.reach(chosen)
        for _ in ("10", "9"):
            visit.page.keyboard.press("ArrowDown")
    else:
        chosen.select_option("9")
    visit.press("button", "Save the rating")
    visit.press("link", "Your rating of Heat: 9 of 10")
    assert visit.page.get_by_label("Your rating", exact=True).input_value() == "9"
    visit.press("link", "Back")


def ask_for_more(visit: Visit) -> None:
    visit.press("button", "More like this: Heat")
    visit.press("link", "My taste")
    visit.press("button", "Undo: Heat")
    visit.press("link", "For you")
    assert visit.page.get_by_role("button", name="More like this: Heat", include_hidden=True).count() == 1


def request(visit: Visit) -> None:
    visit.press("link", "Not in the library")
    visit.press("button", "Request: Stalker")
    assert visit.door.simulator.state.seerr_requests() == []
    visit.press("button", "Send the request")
    assert visit.page.get_by_role("heading", name="Requested").count() == 1
    (sent,) = visit.door.simulator.state.seerr_requests()
    assert sent["user"] == "Ben"


def connect_trakt(visit: Visit) -> None:
    visit.press("link", "My taste")
    visit.press("button", "Connect Trakt")
    code = visit.page.locator(".code").inner_text()
    visit.press("button", "I have entered it")
    assert "has not seen the code yet" in visit.page.get_by_role("alert").inner_text()
    visit.door.simulator.state.trakt_approve("Ben", code)
    visit.press("button", "I have entered it")
    assert "kept in step with Ben on Trakt" in visit.page.inner_text("main")
    visit.press("button", "Disconnect")


def choose_for_tonight(visit: Visit) -> None:
    visit.press("link", "For you")
    visit.press("link", "Up to 90 minutes")
    assert visit.page.get_by_label("How long?").input_value() == "90"
    visit.page.get_by_label("How long?").select_option("")
    visit.press("button", "Show")
    assert visit.titles() == ["Heat 2000", "Alien & <Co> 2000"]


def see_what_suits_all(visit: Visit) -> None:
    visit.press("link", "Together")
    visit.page.get_by_label("A guest without an account").select_option("16")
    visit.press("button", "Show")
    assert visit.titles() == [], "what has no rating is nothing for a guest with a limit"


def vote(visit: Visit) -> None:
    """Alone, so that the first yes decides."""
    visit.open("/together?guest=16")
    visit.door.home.shelf.do("UPDATE titles SET official_rating = 'PG' WHERE server_item_id = 'film-1'")
    visit.open("/together?guest=16")
    assert visit.titles() == ["Alien & <Co> 2000"]
    visit.type("How many phones vote?", "1")
    visit.press("button", "Vote on the first of these")
    assert visit.page.get_by_role("img", name="QR code of the address below").bounding_box()["width"] > 150
    visit.press("button", "Vote on this phone")
    visit.press("button", "Yes, let's watch it")
    assert "All of you like this" in visit.page.get_by_role("status").inner_text()
    visit.door.home.shelf.do("UPDATE titles SET official_rating = NULL WHERE server_item_id = 'film-1'")
    visit.open("/")


def get_lost(visit: Visit) -> None:
    visit.open("/nowhere")
    assert "There is no such page" in visit.page.inner_text("main")
    visit.press("link", "Back")


def sign_out(visit: Visit) -> None:
    visit.press("button", "Sign out")
    visit.open("/shows")
    assert visit.page.get_by_role("heading", level=1).inner_text() == "Sign in"
    visit.press("button", "Sign in with a code (Quick Connect)")
    visit.press("button", "I have entered it")


def look_at_the_pages_of_others(visit: Visit) -> None:
    """As an administrator, who has a menu of the others."""
    visit.open("/")
    visit.type("Name", "Anna")
    visit.type("Password", PASSWORD)
    visit.press("button", "Sign in")
    menu = visit.page.locator(".account summary")
    visit.reach(menu)
    visit.page.keyboard.press("Enter")
    visit.check()
    for name in ("Jobs", "Settings", "Operate"):
        assert visit.page.get_by_role("link", name=name, exact=True).is_visible()
    visit.press("link", "Ben")
    assert visit.titles() == ["Heat 2000", "Alien & <Co> 2000"]
    assert visit.page.get_by_role("button", name="Not for me: Heat", include_hidden=True).count() == 0
    visit.press("link", "Shows you watch")
    assert "Ben" in visit.page.locator(".account summary").inner_text()
    tab = visit.page.get_by_role("link", name="Shows you watch", exact=True)
    assert tab.evaluate(IS_IN_SIGHT), "the tab of this page is not to be seen"


def read_in_german(visit: Visit) -> None:
    visit.press("button", "Deutsch")
    assert visit.page.locator("html").get_attribute("lang") == "de"
    # The width of a page that is magnified four times on a laptop; German words are longer than English ones.
    visit.page.set_viewport_size({"width": 320, "height": 640})
    for path in (*LISTS, "/sign-in", "/devices"):
        visit.page.goto(f"{path}?as=Ben")
        visit.fits()


def share_what_one_liked(visit: Visit) -> None:
    """After Ben has rated a film, which Anna rates, too."""
    visit.door.home.shelf.do(
        "INSERT INTO ratings (user_id, source, work_id, item_id, rating, rated_at) SELECT u.user_id, source, work_id, "
        "item_id, rating, rated_at FROM ratings, users u WHERE u.name = 'Anna' AND source = 'own'"
    )
    visit.door.home.shelf.do(
        "INSERT INTO member_choices (user_id, publish, newsletter, favourites) "
        "SELECT user_id, true, false, true FROM users WHERE name = 'Anna'"
    )
    visit.press("link", "My taste")
    box = visit.page.get_by_label("Count what I liked in the household's favourites of the year", exact=True)
    visit.tick(box)
    visit.press("button", "Save whether I am counted")
    assert box.is_checked()
    visit.press("link", "Your year")
    assert visit.titles() == ["Heat 2000"] and "2 of you liked it" in visit.page.inner_text("main")
    visit.press("link", "Heat")
    visit.press("link", "Back")
    assert visit.titles() == ["Heat 2000"]
    visit.press("link", "My taste")


def import_a_history(visit: Visit) -> None:
    visit.press("link", LISTS["/taste"][0])
    visit.press("link", "Import what I have watched elsewhere")
    table = "What,When,Mark\nHeat,03/04/2025,4\nUnknown,05/06/2025,2\n"
    visit.page.set_input_files("#file", {"name": "seen.csv", "mimeType": "text/csv", "buffer": table.encode()})
    visit.press("button", "Look at it")
    for label, heading in (("Title", "What"), ("Watched on", "When"), ("Rating", "Mark")):
        visit.page.get_by_label(label, exact=True).select_option(heading)
    visit.press("button", "Look at it")
    visit.page.get_by_label("day, month, year").check()
    visit.press("button", "Look at it")
    assert visit.page.get_by_label("Heat").locator("option:checked").inner_text() == "Heat (2000)"
    visit.press("button", "Import")
    assert visit.titles() == ["seen.csv"]
    visit.press("button", "Take it back: seen.csv")
    assert visit.titles() == []
    visit.press("link", "Back")


READING = (sign_in, read_each_page, skip_to_the_titles, choose_for_tonight, see_what_suits_all, vote, get_lost)
DOING = (
    hide, undo, exclude_a_genre, rate, ask_for_more, request, connect_trakt, share_what_one_liked,
    import_a_history, sign_out, look_at_the_pages_of_others, read_in_german,
)  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_page("about:blank") as page:
        yield page.context.browser


@contextmanager
def visiting(browser: Any, door: Door, how: dict[str, Any]) -> Iterator[Visit]:
    """Open the front door in a browser, which asks nobody else for anything."""
    port = free_port()
    guarded = Guard(door.app, AllowedHosts("127.0.0.1"), "/operate/graphql")
    with serving(guarded, port):
        address = f"http://127.0.0.1:{port}"
        context = browser.new_context(base_url=address, timezone_id="UTC", reduced_motion="reduce", **how)
        page, asked, said = context.new_page(), [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: said.append(str(error)))
        try:
            yield Visit(page, door)
        finally:
            context.close()
        assert not said and {url for url in asked if not url.startswith(f"{address}/")} == set()


@pytest.mark.parametrize(
    ("screen", "steps", "by_keyboard"),
    [
        pytest.param(PHONE, (sign_in, hide, undo), (hide,), id="in short"),
        pytest.param(PHONE, (*READING, *DOING), DOING, id="phone", marks=ANOTHER_CASE),
        pytest.param(DESKTOP, (*READING, *DOING), READING, id="desktop", marks=ANOTHER_CASE),
    ],
)
# What a member of this house marks has no id of a real server, so the stand-in refuses it.
@pytest.mark.requests_unmodelled
def test_a_member_finds_their_way(
    browser: Any,
    open_door: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    screen: dict[str, Any],
    steps: tuple[Callable[[Visit], None], ...],
    by_keyboard: tuple[Callable[[Visit], None], ...],
):
    with open_door(services=True) as door:
        monkeypatch.setattr("aperture_dagster.trakt.records.SHORTEST_INTERVAL", 0.0)
        door.home.recommend("Ben", 2, 1)
        door.home.shelf.do("UPDATE titles SET genres = '{Drama}' WHERE server_item_id = 'film-4'")
        door.home.pick(3, 2)
        door.home.watch("Ben")
        door.home.suggest("Ben", "Stalker", "PG", flatrate=["Mubi"])
        door.place("film-2", WorldTitle("movie:2", "movie", "Heat", tmdb_id=2))
        door.simulator.state.add_title(WorldTitle("movie:1000", "movie", "Stalker", tmdb_id=1000, copies=0))
        with visiting(browser, door, screen) as visit:
            for step in steps:
                visit.by_keyboard = step in by_keyboard
                step(visit)
