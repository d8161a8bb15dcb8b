"""The first evening with the image: an empty folder, `compose.yaml` alone, and a browser in which mistakes are made."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from babel.messages.pofile import read_po

from aperture_dagster.simulator.worlds import WorldSize, generate_world
from aperture_dagster.texts import Texts, texts_of
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.deploy import engine
from aperture_dagster_tests.deploy.engine import DEPLOY, Deployment
from aperture_dagster_tests.front_door.door import PASSWORD
from aperture_dagster_tests.services import NOW
from aperture_dagster_tests.ui.browser import needs_chromium, open_page
from aperture_dagster_tests.waiting import wait_for
from aperture_dagster_tests.webserver import free_port

pytestmark = [pytest.mark.containers, needs_chromium]

HERE = Path(__file__).parent
PATIENCE = 600
PHONE, DESKTOP = (390, 844), (1440, 900)
ADMINISTRATOR, MEMBER, _ = (
    user.name for user in generate_world(WorldSize(1, 0, 0, 3, 0), seed=1, now=NOW).users
)  # fmt: skip
SERVER = "http://media-server:8096/jellyfin"
TEXTS: dict[str, str | tuple[str, ...]] = {
    "localhost": "Nothing answers at %(url)s: this program runs in a container",
    "wrong port": "%(product)s does not answer at %(url)s, but it does at %(other_url)s.",
    # Without a route to it, the network says so at once.
    "server down": (
        "%(url)s does not answer in time. Check the address, whether the machine runs",
        "Nothing answers at %(url)s. Check address and port, and whether the media server runs.",
    ),
    "wrong key": "The media server refuses this key. ",
    "wrong password": "The media server does not accept this name and password.",
    "no administrator": "This account is not one of an administrator of the media server. ",
    "no TMDb": "%(service)s does not answer from here. Try again, or leave it out for now.",
    "folder not seen": "%(product)s does not see the files of %(folder)s at %(on_server)s. Let it see the folder",
}
"""The sentence about each mistake, or how it begins."""


@pytest.fixture
def box(image: str, network: str, stand_ins: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A folder with ``compose.yaml`` and nothing else, whose container has just been started."""
    port = free_port()
    # What the adaptation to the tests needs is in the environment of Compose, and not in a file.
    for name, value in {"TEST_IMAGE": image, "TEST_NETWORK": network, "APERTURE_UI_PORT": str(port)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("APERTURE_UI_HOST", raising=False)
    name = f"{network}-evening-{port}"
    with engine.deployment([DEPLOY / "compose.yaml", HERE / "household.yaml"], tmp_path, {}, name) as made:
        (tmp_path / ".env").unlink()
        made.compose("up", "--detach")
        yield made, port


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


@pytest.mark.parametrize(("size", "language"), [(PHONE, "de"), (DESKTOP, "en")], ids=["phone", "desktop"])
def test_from_an_empty_folder_to_the_first_list_with_seven_mistakes(
    box: tuple[Deployment, int], size: tuple[int, int], language: str, say: Callable[[str], None]
):
    household, port = box
    address = f"http://127.0.0.1:{port}"
    code = wait_for(
        lambda: re.search(r"code for set-up, good until the next start: (\w+)", household.log("aperture")),
        lambda: household.log("aperture"), seconds=120,
    )  # fmt: skip
    assert code is not None
    with open_page(address) as first:
        screen = {"viewport": {"width": size[0], "height": size[1]}}
        context = first.context.browser.new_context(
            base_url=address, timezone_id="Europe/Berlin", locale=language, **screen
        )
        page = context.new_page()
        page.set_default_timeout(120_000)
        walk, began = Walk(page, texts_of(language)), time.monotonic()
        page.goto("/anything/at/all")
        walk.enter("Code from the log", code[1])
        walk.press("Continue")
        for url, problem in (
            ("http://localhost:8096", "localhost"), ("http://media-server:8097", "wrong port"),
            ("http://192.0.2.1:8096", "server down"), (SERVER, ""),
        ):  # fmt: skip
            walk.enter("Address of Jellyfin or Emby", url)
            walk.press("Test and continue", problem)
        walk.enter("API key", "not-a-key-of-this-server")
        walk.press("Test and continue", "wrong key")
        for name, password, problem in (
            (ADMINISTRATOR, "wrong", "wrong password"), (MEMBER, PASSWORD, "no administrator"),
            (ADMINISTRATOR, PASSWORD, ""),
        ):  # fmt: skip
            walk.enter("Name", name)
            walk.enter("Password", password)
            walk.press("Make the key and continue", problem)
        walk.press("Continue")
        assert page.locator("#zone").input_value() == "Europe/Berlin"
        walk.press("Continue")
        page.locator("#TMDB_API_KEY").fill("no-key-of-tmdb")
        walk.press("Test what is entered, and continue", "no TMDb")
        page.locator("#TMDB_API_KEY").fill("")
        walk.press("Test what is entered, and continue")
        walk.choose("On the media server, too, as a library for each member")
        walk.press("Test and continue", "folder not seen")
        walk.choose("On the pages of this program only")
        walk.press("Test and continue")
        walk.press("Start")
        set_up = time.monotonic() - began
        # The page goes on by itself, from the one that says what is being started to the sign-in.
        walk.button("Sign in").wait_for(timeout=PATIENCE * 1000)
        walk.enter("Name", ADMINISTRATOR)
        walk.enter("Password", PASSWORD)
        walk.button("Sign in").click()
        walk.clicks += 1
        page.locator('a[href*="/titles/"]').first.wait_for(timeout=PATIENCE * 1000)
        context.close()
    seconds = time.monotonic() - began
    say(f"{walk.clicks} clicks with mistakes; set up after {set_up:.0f} s, first list after {seconds:.0f} s")
    assert not (household.folder / ".env").exists(), "nothing was edited, and nothing is beside the file"
    entered = household.run_in("aperture", "cat", "/var/lib/aperture/.env")
    assert f"APERTURE_MEDIA_SERVER_URL={SERVER}" in entered.replace("'", "").replace('"', "")
    assert PASSWORD not in entered + household.log("aperture")
