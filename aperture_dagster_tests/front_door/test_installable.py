"""The pages as an app: what browsers need to offer it, and a page of ours while the server is away."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aperture_dagster_tests.front_door.door import PASSWORD
from aperture_dagster_tests.front_door.test_members_in_browser import PHONE
from aperture_dagster_tests.ui.browser import needs_chromium, open_page
from aperture_dagster_tests.webserver import free_port, serving


@pytest.fixture
def browser() -> Iterator[Any]:
    with open_page("about:blank") as page:
        yield page.context.browser


def test_the_manifest_leads_to_pages_and_pictures_that_are_there(open_door: Callable[..., Any]):
    with open_door() as door:
        stranger = door.browser()
        link = re.search(r'<link rel="manifest" href="([^"]+)"', stranger.get("/sign-in").text)
        assert link is not None
        answer = stranger.get(link[1])
        assert answer.headers["content-type"] == "application/manifest+json"
        found = answer.json()
        assert found["start_url"] == found["scope"] == "/" and found["display"] == "standalone"
        for icon in found["icons"]:
            assert stranger.get(icon["src"]).headers["content-type"].startswith("image/"), icon
        worker = stranger.get("/worker.js?keeps=/offline")
        assert (
            worker.headers["content-type"].startswith("text/javascript")
            and "no-store" in worker.headers["cache-control"]
        )


@pytest.mark.nightly(
    reason="Chromium.",
    instead="front_door/test_installable.py",
)
@needs_chromium
@pytest.mark.ui
def test_while_the_server_is_away_there_is_a_page_of_ours_and_no_list_is_kept(
    browser: Any, open_door: Callable[..., Any]
):
    with open_door() as door:
        door.home.recommend("Ben", 2, 1)
        port = free_port()
        context = browser.new_context(base_url=f"http://127.0.0.1:{port}", **PHONE)
        page = context.new_page()
        with serving(door.app, port):
            page.goto("/sign-in")
            page.get_by_label("Name").fill("Ben")
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Sign in", exact=True).click()
            page.evaluate("navigator.serviceWorker.ready")
            page.goto("/")
            assert page.get_by_text("Heat").count()
        page.goto("/")
        assert page.locator("h1").inner_text() == "No connection" and not page.get_by_text("Heat").count()
        assert page.evaluate("getComputedStyle(document.querySelector('main')).maxWidth") != "none", "without its style"
        kept = page.evaluate(
            "caches.keys().then((names) => Promise.all(names.map((name) => caches.open(name).then((c) => c.keys()))))"
            ".then((all) => all.flat().map((request) => new URL(request.url).pathname))"
        )
        assert kept == ["/offline", "/static/aperture.css"]
        with serving(door.app, port):
            page.get_by_role("link", name="Back").click()
            page.wait_for_selector("h3")
            assert page.get_by_text("Heat").count()
        context.close()
