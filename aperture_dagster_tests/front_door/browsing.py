"""The members' pages, and browsers without scripts, of members who have signed in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from starlette.applications import Starlette
from starlette.testclient import TestClient

from aperture_dagster.front_door.app import members_pages
from aperture_dagster.front_door.gate import Gate
from aperture_dagster.front_door.house import House
from aperture_dagster.front_door.sessions import COOKIE, Sessions
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import ReadOnlyDatabase
from aperture_dagster.settings import Settings
from aperture_dagster_tests.shelf import NOW

Browsers = Callable[[str], TestClient]


@contextmanager
def members_app(
    settings: Settings, now: Callable[[], datetime] = lambda: NOW, *, is_open: bool = False, prefix: str = ""
) -> Iterator[Starlette]:
    """Open the members' pages alone; everybody sees all of them if they are ``is_open``, as in a demo."""
    database = ReadOnlyDatabase(settings)
    gate = Gate(settings, database, is_open=is_open, clock=Clock(now))
    pages = members_pages(House(settings, database, gate, prefix))
    pages.state.clock = gate.clock
    yield pages
    database.close()


@contextmanager
def browsers(settings: Settings, now: Callable[[], datetime] = lambda: NOW) -> Iterator[Browsers]:
    """Yield a function that returns the browser of the member with an id."""
    with members_app(settings, now) as pages:
        yield lambda user_id: browser_of(pages, settings, user_id)


def session_of(pages: Any, settings: Settings, user_id: str) -> str:
    """Let a member sign in, and return the cookie."""
    return Sessions(settings, pages.state.clock).begin(user_id, is_administrator=user_id == "Anna")


def browser_of(pages: Any, settings: Settings, user_id: str | None, **headers: str) -> TestClient:
    """Return the browser of a member, or of a stranger."""
    cookies = {} if user_id is None else {COOKIE: session_of(pages, settings, user_id)}
    return TestClient(pages, cookies=cookies, headers=headers, follow_redirects=False)


def token(browser: TestClient) -> str:
    """Return what belongs into every form of a member."""
    found = re.search(r'name="csrf" value="([^"]+)"', browser.get("/").text)
    assert found is not None
    return found[1]


def press(browser: TestClient, path: str, name: str, button: str = "Not for me") -> Any:
    """Press the button of a title on a page."""
    page = browser.get(path).text
    form = next(one for one in re.findall(r"<form.*?</form>", page, re.DOTALL) if f"{button}: {name}" in one)
    found = re.search(rf'name="work" value="(\d+)" formaction="([^"]+)"[^>]*aria-label="{button}: {name}"', form)
    assert found is not None
    return browser.post(found[2], data={**hidden_fields(form), "work": found[1]})


def hidden_fields(form: str) -> dict[str, str]:
    """Return the hidden fields of a form."""
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form))
