"""Browsers without scripts, of members who have signed in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from starlette.testclient import TestClient

from aperture_dagster.front_door.app import members_pages
from aperture_dagster.front_door.gate import Gate
from aperture_dagster.front_door.house import House
from aperture_dagster.front_door.sessions import COOKIE, Sessions
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import ReadOnlyDatabase
from aperture_dagster.settings import Settings

Browsers = Callable[[str], TestClient]


@contextmanager
def browsers(settings: Settings, now: Callable[[], datetime]) -> Iterator[Browsers]:
    """Yield a function that returns the browser of the member with an id."""
    database = ReadOnlyDatabase(settings)
    pages = members_pages(House(settings, database, Gate(settings, database), clock=Clock(now)))

    def browser(user_id: str) -> TestClient:
        cookie = Sessions(settings).begin(user_id, is_administrator=False)
        return TestClient(pages, cookies={COOKIE: cookie}, follow_redirects=False)

    yield browser
    database.close()


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
