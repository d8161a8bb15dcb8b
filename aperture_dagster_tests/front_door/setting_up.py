"""Set-up in the browser of somebody who types, without scripts; everything that it tests is a stand-in."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from aperture_dagster.front_door.set_up import checks
from aperture_dagster.front_door.set_up.pages import SetUp, Start
from aperture_dagster.settings import load_settings
from aperture_dagster.settings.home import env_file
from aperture_dagster.simulator.server import RunningSimulator, running_simulator
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import World, WorldLibrary, WorldUser

ADDRESS = "http://localhost:3000"
PASSWORD = "demo-password"
SEEN_AT = "/media/lists"
"""Where the media server sees the folder for lists."""


@dataclass
class Evening:
    """Somebody who sets up, and what is around.

    Attributes:
        home: where the program keeps everything.
        stopped: what the program became, once it ended.
    """

    home: Path
    simulator: RunningSimulator
    set_up: SetUp
    browser: TestClient
    stopped: list[Any] = field(default_factory=list)

    def page(self, path: str = "/") -> str:
        """Return the text of a page."""
        return unescape(self.browser.get(path).text)

    def heading(self) -> str:
        """Return the heading of the page that is shown next."""
        found = re.search(r"<h1>(.*?)</h1>", self.page())
        assert found is not None
        return found[1]

    def send(self, step: str, **fields: Any) -> httpx.Response:
        """Send the form of a step."""
        found = re.search(r'name="csrf" value="([^"]+)"', self.browser.get("/").text)
        return self.browser.post(f"/set-up/{step}", data={"csrf": found[1] if found else "", **fields})

    def accepted(self, step: str, **fields: Any) -> None:
        """Send the form of a step that is accepted."""
        answer = self.send(step, **fields)
        assert (answer.status_code, answer.headers.get("location")) == (303, "/"), said(answer)

    def refused(self, step: str, status: int = 422, **fields: Any) -> str:
        """Send the form of a step that is refused; return why, and what is offered instead."""
        answer = self.send(step, **fields)
        assert answer.status_code == status
        return said(answer)


def said(answer: httpx.Response) -> str:
    """Return the problems on a page, and its buttons."""
    found = re.findall(r'<p class="problem" role="alert">(.*?)</p>|<button>(.*?)</button>', unescape(answer.text), re.S)
    return " | ".join(problem or button for problem, button in found)


Begin = Callable[..., Any]


@pytest.fixture(scope="module")
def household(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSimulator]:
    """Serve all services, with a media server that sees one folder."""
    lists = tmp_path_factory.mktemp("lists")
    users = [WorldUser("Anna", is_administrator=True), WorldUser("Ben"), WorldUser("Doe, John")]
    world = World("evening", users=users, libraries=(WorldLibrary("Films", "movies", ("/media/films",)),))
    with running_simulator(world, SimulatorSettings(volumes={SEEN_AT: lists})) as simulator:
        yield simulator


@pytest.fixture
def begin(household: RunningSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Begin:
    """Return a function that starts set-up; again, as after a kill."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr("aperture_dagster.settings.env_file", env_file)
    # Tests run in containers, too.
    monkeypatch.setattr(checks, "in_container", lambda: False)
    monkeypatch.setattr(checks, "HOST_OF_CONTAINER", "127.0.0.1")
    os.environ["APERTURE_HOME"] = str(tmp_path / "home")
    for name in ("tmdb", "omdb", "mdblist", "trakt"):
        os.environ[f"APERTURE_{name.upper()}_URL"] = getattr(household, f"{name}_url")

    @contextmanager
    def begun(*, start: Start | None = None, address: str = ADDRESS, **headers: str) -> Iterator[Evening]:
        stopped: list[Any] = []
        start = start or Start("127.0.0.1", again=["--port", "3000"], demo=["--demo"])
        set_up = SetUp(start, load_settings(), lambda: stopped.append(set_up.becomes))
        browser = TestClient(
            set_up.app(), address, headers=headers, follow_redirects=False, client=("127.0.0.1", 50_000)
        )
        yield Evening(tmp_path / "home", household, set_up, browser, stopped)

    return begun
