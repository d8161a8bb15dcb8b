"""The walk of an evening in Chromium: from the sign-in to what suits all who are here, with a finger on a phone, and in
German with the keyboard alone on a desktop.

Each page is held to what axe-core finds in light and dark colours, and to the tree that a screen reader reads.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from aperture_dagster.front_door.guard import AllowedHosts, Guard
from aperture_dagster.simulator.world import WorldTitle
from aperture_dagster.texts import Texts, texts_of
from aperture_dagster_tests.front_door.door import PASSWORD, Door
from aperture_dagster_tests.ui.browser import needs_chromium, open_page
from aperture_dagster_tests.webserver import free_port, serving

pytestmark = [pytest.mark.ui, needs_chromium]

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "locale": "en-US"}
DESKTOP = {"viewport": {"width": 1440, "height": 900}, "locale": "de-DE"}
AXE_SCRIPT = Axe().axe_script
AXE = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
MOST_TABS = 120
CONTROLS = {
    "button", "checkbox", "combobox", "DisclosureTriangle", "link", "radio", "searchbox", "slider", "spinbutton",
    "textbox",
}  # fmt: skip
FOCUS = """() => {
  const one = document.activeElement;
  if (!one || one === document.body) return null;
  const outlined = [getComputedStyle(one), getComputedStyle(one, "::after")].some(
    style => style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2);
  const box = one.getClientRects()[0], before = window.focusedBefore;
  const top = box && document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
  const goesOn = !before || !!(before.compareDocumentPosition(one) & Node.DOCUMENT_POSITION_FOLLOWING);
  window.focusedBefore = one;
  const shown = !!top && (one.contains(top) || top.contains(one));
  return {outlined, goesOn, shown, html: one.outerHTML.slice(0, 200)};
}"""


@dataclass
class Walk:
    """A member's browser, and how they use it. Each page is checked when it is reached."""

    page: Any
    texts: Texts
    by_keyboard: bool
    heading: str = ""
    checked: set[tuple[Any, ...]] = field(default_factory=set)

    def press(self, role: str, name: str) -> None:
        """Press what leads to another page; the menu that it is in is opened first."""
        target = self.page.get_by_role(role, name=name, exact=True, include_hidden=True).first
        menu = target.locator("xpath=ancestor::details[not(@open)]/summary")
        if menu.count():
            self._act(menu.first)
        with self.page.expect_navigation():
            self._act(target)
        self.check()

    def write(self, label: str, text: str) -> None:
        """Write into a field, which is empty."""
        target = self.page.get_by_label(label, exact=True).first
        if self.by_keyboard:
            self.tab_to(target)
            self.page.keyboard.type(text)
        else:
            target.tap()
            target.fill(text)

    def send(self) -> None:
        """Send the form of the field that was written into last, with the key of keyboards that finds or goes on."""
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")
        self.check()

    def tick(self, label: str) -> None:
        """Tick a box."""
        target = self.page.get_by_label(label, exact=True).first
        if self.by_keyboard:
            self.tab_to(target)
            self.page.keyboard.press("Space")
        else:
            target.tap()
        assert target.is_checked()

    def _act(self, target: Any) -> None:
        if self.by_keyboard:
            self.tab_to(target)
            self.page.keyboard.press("Enter")
        else:
            target.tap()

    def tab_to(self, target: Any) -> None:
        """Go on with Tab until a target has the focus; each stop on the way is checked."""
        target.wait_for()
        for _ in range(MOST_TABS):
            self.page.keyboard.press("Tab")
            focus = self.page.evaluate(FOCUS)
            assert focus is not None, f"the keyboard does not reach {target}"
            assert focus["outlined"], f"the focus cannot be seen: {focus['html']}"
            assert focus["shown"], f"the focus is where nobody sees it: {focus['html']}"
            assert focus["goesOn"], f"the focus goes back in the page: {focus['html']}"
            if target.evaluate("one => one === document.activeElement"):
                return
        raise AssertionError(f"the keyboard does not reach {target} within {MOST_TABS} stops")

    def skip(self) -> None:
        """Skip the header: the first stop leads past all of it."""
        self.page.keyboard.press("Tab")
        first = self.page.get_by_role("link", name=self.texts("Skip to the titles"))
        assert first.evaluate("one => one === document.activeElement"), "the first stop skips nothing"
        self.page.keyboard.press("Enter")
        self.page.keyboard.press("Tab")
        assert self.page.evaluate("document.querySelector('main').contains(document.activeElement)")

    def check(self) -> None:
        """Find nothing wrong with the page that is open, unless it is of a kind that was checked before."""
        self.heading = self.page.get_by_role("heading", level=1).inner_text()
        parts = [self.page.locator(one).count() for one in ("summary", "section", "input", "[role=alert]")]
        kind = (self.page.url.partition("?")[0], *parts)
        if kind in self.checked:
            return
        self.checked.add(kind)
        self.read_aloud()
        self.page.evaluate(AXE_SCRIPT)
        for colours in ("light", "dark"):
            self.page.emulate_media(color_scheme=colours)
            found = self.page.evaluate("rules => axe.run(rules)", AXE)["violations"]
            wrong = [f"{one['id']}: {one['nodes'][0]['html']} {one['nodes'][0]['failureSummary']}" for one in found]
            assert not wrong, "\n".join([f"{self.page.url}, {colours}", *wrong])
        assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{self.page.url} is too wide"

    def read_aloud(self) -> None:
        """Find in the tree of a screen reader where one is, and a name for whatever can be used or looked at."""
        with closing(_Session(self.page)) as session:
            nodes = session.tree()
        where = self.page.url
        roles = [role for role, *_ in nodes]
        assert [level for role, _, level in nodes if role == "heading"].count(1) == 1, f"{where}: the main headings"
        assert roles.count("main") == 1 and roles.count("contentinfo") == 1, f"{where}: the landmarks"
        navigations = [name for role, name, _ in nodes if role == "navigation"]
        assert all(navigations) and len(set(navigations)) == len(navigations), f"{where}: {navigations}"
        nameless = [role for role, name, _ in nodes if role in CONTROLS | {"image"} and not any(map(str.isalnum, name))]
        assert not nameless, f"{where}: without a name are {nameless}"
        assert self.page.locator("img:not([alt])").count() == 0, f"{where}: pictures that say nothing of what they show"
        assert self.page.locator("html").get_attribute("lang") == self.texts.locale.language
        assert self.heading in self.page.title(), f"{where}: the title of the window is {self.page.title()!r}"

    def titles(self) -> list[str]:
        """Return the titles on the page."""
        return [one.split("\n")[0] for one in self.page.locator(".titles h3").all_inner_texts()]


class _Session:
    """The tree that Chromium gives to a screen reader."""

    def __init__(self, page: Any) -> None:
        self._session = page.context.new_cdp_session(page)

    def tree(self) -> list[tuple[str, str, int | None]]:
        """Return role, name and level of whatever is not left out of it."""
        found = []
        for node in self._session.send("Accessibility.getFullAXTree")["nodes"]:
            if not node["ignored"]:
                level = next((one["value"]["value"] for one in node["properties"] if one["name"] == "level"), None)
                found.append((node["role"]["value"], node.get("name", {}).get("value", "").strip(), level))
        return found

    def close(self) -> None:
        self._session.detach()


def spend_an_evening(walk: Walk, member: str, other: str) -> None:
    """Look for something to watch, alone and then with somebody else."""
    _ = walk.texts
    walk.page.goto("/")
    walk.check()
    walk.write(_("Name"), member)
    walk.write(_("Password"), PASSWORD)
    walk.press("button", _("Sign in"))
    assert walk.titles()[:2] == ["Heat 1995", "Alien & <Co> 1979"]
    if walk.by_keyboard:
        walk.skip()
    walk.press("link", "Heat")
    assert walk.heading == "Heat" and "A detective hunts a crew of thieves" in walk.page.inner_text("main")
    walk.press("link", _("Back"))
    walk.press("button", f"{_('For later')}: Heat")
    assert walk.titles()[:2] == ["Heat 1995", "Alien & <Co> 1979"]
    walk.write(_("Find titles"), "solariss")
    walk.send()
    assert walk.titles()[0] == "Solaris 1972", "a slip in a name"
    walk.press("link", _("For you"))
    walk.write(_("Find titles"), "a crew of thieves in los angeles")
    walk.send()
    assert walk.titles()[0] == "Heat 1995", "what it is about"
    walk.press("link", _("For you"))
    walk.press("link", _("Up to 90 minutes"))
    walk.tick(_("Only what I have not seen"))
    walk.press("button", _("Show"))
    assert walk.titles() == ["Alien & <Co> 1979"]
    walk.press("link", _("For later"))
    assert walk.titles() == ["Heat 1995"]
    walk.press("link", _("Together"))
    walk.tick(other)
    walk.press("button", _("Show"))
    assert sorted(walk.titles()) == ["Alien & <Co> 1979", "Heat 1995"]
    assert other in walk.page.inner_text("main section")


def furnish(door: Door) -> None:
    """Give both members lists, and say of the titles what an evening asks for."""
    for member in ("Ben", "Anna"):
        door.home.recommend(member, 2, 1)
    door.home.shelf.do(
        "INSERT INTO member_choices (user_id, publish, newsletter, together) SELECT user_id, true, false, true "
        "FROM users"
    )
    about = (
        ("Alien & <Co>", "In space a crew meets a creature.", "Horror", 90, 1979),
        ("Heat", "A detective hunts a crew of thieves through Los Angeles.", "Crime", 170, 1995),
        ("Up", "An old man flies away in his house.", "Family", 96, 2009),
        ("Solaris", "An ocean on a planet gives back whom one lost.", "Science Fiction", 167, 1972),
    )
    for number, (title, overview, genre, minutes, year) in enumerate(about, start=1):
        item = door.place(f"film-{number}", WorldTitle(f"movie:{number}", "movie", title, tmdb_id=number))
        door.home.shelf.do(
            "UPDATE titles SET overview = :overview, genres = ARRAY[:genre], runtime_minutes = :minutes, year = :year "
            "WHERE server_item_id = :item", item=item, overview=overview, genre=genre, minutes=minutes, year=year,
        )  # fmt: skip


@pytest.mark.nightly(
    reason="The whole walk in Chromium.",
    instead="front_door/test_members_in_browser.py::test_a_member_finds_their_way",
)
def test_an_evening_with_a_finger_and_with_the_keyboard_alone(open_door: Callable[..., Any]):
    with open_door() as door:
        furnish(door)
        port = free_port()
        address = f"http://127.0.0.1:{port}"
        guarded = Guard(door.app, AllowedHosts("127.0.0.1"), "/operate/graphql")
        with serving(guarded, port), open_page("about:blank") as first:
            for how, member, other, by_keyboard in ((PHONE, "Ben", "Anna", False), (DESKTOP, "Anna", "Ben", True)):
                context = first.context.browser.new_context(
                    base_url=address, timezone_id="UTC", reduced_motion="reduce", **how
                )
                page, elsewhere, errors = context.new_page(), [], []
                page.on("request", lambda request, into=elsewhere: into.append(request.url))
                page.on("pageerror", lambda error, into=errors: into.append(str(error)))
                spend_an_evening(Walk(page, texts_of(how["locale"]), by_keyboard), member, other)
                assert not errors and all(url.startswith(f"{address}/") for url in elsewhere)
                context.close()
