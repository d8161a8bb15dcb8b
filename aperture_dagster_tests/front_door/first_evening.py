"""Somebody who sets everything up in a browser, makes mistakes, and corrects each on its page."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from babel.messages.pofile import read_po

from aperture_dagster.texts import Texts
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.front_door.door import PASSWORD

PHONE, DESKTOP = (390, 844), (1440, 900)
_CONTAINER = "Nothing answers at %(url)s: this program runs in a container"
_NOTHING = "Nothing answers at %(url)s. Check address and port, and whether the media server runs."
TEXTS: dict[str, str | tuple[str, ...]] = {
    # Outside of a container, this is an address as any other.
    "localhost": (_CONTAINER, _NOTHING),
    # Only usual ports are tried instead.
    "wrong port": ("%(product)s does not answer at %(url)s, but it does at %(other_url)s.", _CONTAINER, _NOTHING),
    "server down": (
        "%(url)s does not answer in time. Check the address, whether the machine runs",
        _NOTHING,
    ),
    "wrong key": "The media server refuses this key. ",
    "wrong password": "The media server does not accept this name and password.",
    "no administrator": "This account is not one of an administrator of the media server. ",
    "no TMDb": "%(service)s does not answer from here. Try again, or leave it out for now.",
    "folder not seen": "%(product)s does not see the files of %(folder)s at %(on_server)s. Let it see the folder",
}
"""The sentence about each mistake, or how it begins."""


class Walk:
    """A browser in which somebody sets everything up in a language; counts what they press."""

    def __init__(self, page: Any, texts: Texts) -> None:
        self.page, self._texts, self.clicks = page, texts, 0

    def enter(self, field: str, text: str) -> None:
        """Type a text into a field."""
        self.page.get_by_label(self._texts(field), exact=True).fill(text)

    def choose(self, label: str) -> None:
        """Choose one of several."""
        self.clicks += 1
        self.page.get_by_label(self._texts(label)).check()

    def button(self, name: str) -> Any:
        """Return a button."""
        return self.page.get_by_role("button", name=self._texts(name), exact=True).first

    def press(self, button: str, mistake: str = "") -> None:
        """Press a button; the page that comes has the sentence about a mistake, or none."""
        self.clicks += 1
        with self.page.expect_navigation():
            self.button(button).click()
        said = " ".join(self.page.get_by_role("alert").all_inner_texts())
        if mistake:
            # The sentence without what is filled into it.
            pieces = [re.split(r"%\(\w+\)s", sentence) for sentence in self.sentences(mistake)]
            assert any(max(of_one, key=len).strip() in said for of_one in pieces), (mistake, said)
        else:
            assert not said, (button, said)
        width = self.page.viewport_size["width"]
        assert self.page.evaluate("document.documentElement.scrollWidth") <= width
        shots = os.environ.get("SHOTS")
        if shots:
            name = mistake.replace(" ", "-") or f"step-{self.clicks}"
            self.page.screenshot(path=f"{shots}/{self._texts.locale.language}-{width}-{name}.png")

    def sentences(self, mistake: str) -> list[str]:
        """Return the sentences that may be said of a mistake, in the language of the browser."""
        begins = TEXTS[mistake]
        begins = (begins,) if isinstance(begins, str) else begins
        return [self._texts(next(text for text in messages() if text.startswith(begin))) for begin in begins]


@cache
def messages() -> list[str]:
    """Return the texts of the pages."""
    with (PROJECT / "aperture_dagster" / "texts" / "de.po").open("rb") as file:
        return [str(message.id) for message in read_po(file) if isinstance(message.id, str)]


@dataclass(frozen=True)
class Evening:
    """What is around somebody who sets up.

    Attributes:
        server: address of the media server, of which ``wrong_port`` differs in the port.
        member: a user who is no administrator.
        zone: time zone of the browser.
        folder: one that the media server does not see; empty for the proposed one.
        tmdb_returns: called before TMDb is asked for the second time, with a key that is right then; without it, the
            service is left out.
    """

    server: str
    wrong_port: str
    administrator: str
    member: str
    zone: str
    folder: str = ""
    tmdb_returns: Callable[[], str] | None = field(default=None)


def set_up_with_mistakes(walk: Walk, evening: Evening, code: str | None) -> None:
    """Go through all steps, from any address to the button that starts everything."""
    page = walk.page
    page.goto("/anything/at/all")
    if code is not None:
        walk.enter("Code from the log", code)
        walk.press("Continue")
    for url, problem in (
        ("http://localhost:9", "localhost"), (evening.wrong_port, "wrong port"),
        ("http://192.0.2.1:8096", "server down"), (evening.server, ""),
    ):  # fmt: skip
        walk.enter("Address of Jellyfin or Emby", url)
        walk.press("Test and continue", problem)
    walk.enter("API key", "not-a-key-of-this-server")
    walk.press("Test and continue", "wrong key")
    for name, password, problem in (
        (evening.administrator, "wrong", "wrong password"), (evening.member, PASSWORD, "no administrator"),
        (evening.administrator, PASSWORD, ""),
    ):  # fmt: skip
        walk.enter("Name", name)
        walk.enter("Password", password)
        walk.press("Make the key and continue", problem)
    walk.press("Continue")
    assert page.locator("#zone").input_value() == evening.zone
    walk.press("Continue")
    page.locator("#TMDB_API_KEY").fill("a-key-of-tmdb")
    walk.press("Test what is entered, and continue", "no TMDb")
    page.locator("#TMDB_API_KEY").fill(evening.tmdb_returns() if evening.tmdb_returns is not None else "")
    walk.press("Test what is entered, and continue")
    walk.choose("On the media server, too, as a library for each member")
    if evening.folder:
        walk.enter("Folder for these libraries, as this program sees it", evening.folder)
    walk.press("Test and continue", "folder not seen")
    walk.choose("On the pages of this program only")
    walk.press("Test and continue")
    walk.press("Start")


def see_the_first_list(walk: Walk, evening: Evening, seconds: float) -> None:
    """Sign in once the page has gone on by itself, from the one that says what is being started, and see titles."""
    walk.button("Sign in").wait_for(timeout=seconds * 1000)
    walk.enter("Name", evening.administrator)
    walk.enter("Password", PASSWORD)
    walk.button("Sign in").click()
    walk.clicks += 1
    walk.page.locator('a[href*="/titles/"]').first.wait_for(timeout=seconds * 1000)
