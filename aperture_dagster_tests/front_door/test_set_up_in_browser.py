"""In Chromium: somebody sets everything up, on a phone and by keyboard, with mistakes; axe-core finds nothing wrong."""

from __future__ import annotations

from typing import Any

import pytest

from aperture_dagster.files.env_file import read_env_file
from aperture_dagster_tests.front_door.door import PASSWORD
from aperture_dagster_tests.front_door.setting_up import Begin, begin, household
from aperture_dagster_tests.front_door.test_members_in_browser import DESKTOP, PHONE, Visit
from aperture_dagster_tests.interleaving import wait_until
from aperture_dagster_tests.ui.browser import needs_chromium, open_page
from aperture_dagster_tests.webserver import free_port, serving

pytestmark = [pytest.mark.ui, needs_chromium]

__all__ = ["begin", "household"]


class Walk(Visit):
    """A browser in which every step has the same address."""

    def check(self) -> None:
        """Check the page, whatever was checked before."""
        self.checked.clear()
        super().check()

    def heading(self) -> str:
        """Return the heading of the page."""
        return self.page.locator("h1").inner_text()

    def problem(self) -> str:
        """Return what the page says is wrong."""
        return " ".join(self.page.get_by_role("alert").all_inner_texts())


@pytest.mark.nightly(
    reason="Chromium, from step to step.",
    instead="front_door/test_set_up.py::test_from_an_address_to_a_file_with_all_settings",
)
@pytest.mark.parametrize("screen", [pytest.param(PHONE, id="phone"), pytest.param(DESKTOP, id="keyboard")])
def test_everything_is_set_up_and_each_mistake_corrected_on_its_page(begin: Begin, screen: dict[str, Any]):
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with begin() as evening, serving(evening.set_up.app(), port), open_page(address) as first:
        context = first.context.browser.new_context(base_url=address, timezone_id="America/New_York", **screen)
        walk = Walk(context.new_page(), evening, by_keyboard=screen is DESKTOP)
        url = evening.simulator.jellyfin_url
        walk.open("/")
        walk.type("Address of Jellyfin or Emby", url.replace("http://", "https://"))
        walk.press("button", "Test and continue")
        assert "but it does at" in walk.problem()
        walk.press("button", f"Use {url}")
        for password, problem in (("wrong", "does not accept"), (PASSWORD, "")):
            walk.type("Name", "Anna")
            walk.type("Password", password)
            walk.press("button", "Make the key and continue")
            assert problem in walk.problem()
        walk.page.get_by_label("Ben", exact=True).uncheck()
        walk.press("button", "Continue")
        assert walk.page.get_by_label("Time zone").input_value() == "America/New_York", "that of the browser"
        walk.press("button", "Continue")
        for key in ("wrong", "demo-tmdb-key"):
            walk.type("TMDb: API read access token, or API key", key)
            walk.press("button", "Test what is entered, and continue")
            assert ("TMDb does not accept" in walk.problem()) == (key == "wrong")
        walk.page.get_by_label("On the media server, too, as a library for each member").check()
        walk.type("Folder for these libraries, as this program sees it", str(evening.home))
        walk.press("button", "Test and continue")
        assert "does not see the files" in walk.problem()
        walk.page.get_by_label("On the pages of this program only").check()
        walk.press("button", "Test and continue")
        assert walk.heading() == "All set"
        # The next page loads itself again and again on purpose, which axe-core objects to.
        with walk.page.expect_navigation():
            walk.page.get_by_role("button", name="Start", exact=True).press("Enter")
        assert walk.heading() == "Starting"
        # The program ends once the page has been sent, which the browser may have read before.
        wait_until(lambda: evening.stopped, "the end of set-up")
        context.close()
    assert read_env_file(evening.home / ".env").items() >= {
        ("APERTURE_EXCLUDE_USERS", "Ben"),
        ("APERTURE_TIMEZONE", "America/New_York"),
        ("TMDB_API_KEY", "demo-tmdb-key"),
    }
