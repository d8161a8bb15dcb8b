"""In Chromium: the page of a client, which is of another origin, draws rows as Pelagica does."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from aperture_dagster.front_door.app import FrontDoor, members_pages
from aperture_dagster.front_door.clients.any_origin import open_paths
from aperture_dagster.front_door.guard import AllowedHosts, Guard
from aperture_dagster_tests.conftest import load_script
from aperture_dagster_tests.front_door.door import PASSWORD, operators_ui
from aperture_dagster_tests.front_door.test_clients import RECORDINGS
from aperture_dagster_tests.ui.browser import needs_chromium, open_page
from aperture_dagster_tests.webserver import free_port, serving

screenshots = load_script("docs/screenshots.py")

pytestmark = [pytest.mark.ui, needs_chromium]
# The order in which the browser names them, and what it adds of itself, is its own.
SENT = ("authorization", "accept", "content-type", "access-control-request-method", "access-control-request-headers")

FILM = hashlib.md5(b"film-2").hexdigest()


def recorded() -> list[dict[str, Any]]:
    """Return the first preflight and question of the recorded client."""
    lines = gzip.decompress((RECORDINGS / "pelagica.jsonl.gz").read_bytes()).splitlines()[:2]
    return [json.loads(line)["request"] for line in lines]


@pytest.mark.nightly(
    reason="Another page in Chromium.",
    instead="front_door/test_clients.py::test_a_client_draws_a_row_from_the_full_format",
)
def test_the_page_of_a_client_draws_the_row_of_its_member_and_asks_as_the_recorded_one_did(
    open_door: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(screenshots, "MEMBER", "Anna")
    with open_door() as door, screenshots.serving_client() as client:
        door.remember_server()
        door.home.recommend("Anna", 2, 1, 3)
        # The media server refuses other ids.
        door.home.shelf.do("UPDATE titles SET server_item_id = md5(server_item_id)")
        monkeypatch.setattr(screenshots, "PASSWORD", PASSWORD)
        front = Guard(
            FrontDoor(operators_ui(), members_pages(door.house), door.house.gate),
            AllowedHosts("127.0.0.1"), "/operate/graphql", open_paths(),
        )  # fmt: skip
        asked: list[dict[str, Any]] = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                headers = {name.decode(): value.decode() for name, value in scope["headers"]}
                asked.append({"method": scope["method"], "path": scope["path"], "headers": headers})
            await front(scope, receive, send)

        port = free_port()
        with serving(app, port), open_page(client) as page:
            address, media_server = f"http://127.0.0.1:{port}", door.simulator.jellyfin_url
            query = {"type": "Movie", "limit": "2"}
            assert screenshots.draw_row(page, client, address, media_server, query) == 2
            shown = page.inner_text("section").splitlines()
            assert [line for line in shown if line in ("Heat", "Alien & <Co>", "Up")] == ["Heat", "Alien & <Co>"]
            assert "Because of Solaris" in shown and "100%" in shown
            sources = page.evaluate("[...document.images].map(image => image.src)")
            assert sources[0] == f"{media_server}/Items/{FILM}/Images/Primary/0?quality=90&width=416&height=640"
            # Whoever has no lists gets no row, and no error.
            monkeypatch.setattr(screenshots, "MEMBER", "Ben")
            assert screenshots.draw_row(page, client, address, media_server, query) == 0
            assert page.inner_text("body") == ""
            # No other path is open to it.
            with pytest.raises(Exception, match="Failed to fetch"):
                page.evaluate("address => fetch(`${address}/api/v1/me`)", address)
        origin = client.rstrip("/")
        for ours, theirs in zip(asked, recorded() if RECORDINGS.exists() else (), strict=False):
            assert (ours["method"], ours["path"]) == (theirs["method"], theirs["path"])
            assert ours["headers"]["origin"] == origin
            own = {name: value for name, value in ours["headers"].items() if name in SENT}
            there = {name: value for name, value in theirs["headers"].items() if name in SENT}
            assert own.keys() == there.keys()
            assert {**own, "authorization": ""} == {**there, "authorization": ""}
        assert [call["method"] for call in asked[:2]] == ["OPTIONS", "GET"]
