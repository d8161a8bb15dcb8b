"""No cookie, form, address or header that a stranger makes up lets anybody in, changes anything, or is an error."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.testclient import TestClient

from aperture_dagster.front_door.app import FrontDoor, members_pages
from aperture_dagster.front_door.forms import CHANGES, SERVICES
from aperture_dagster.front_door.gate import Gate
from aperture_dagster.front_door.guard import AllowedHosts, find_refusal
from aperture_dagster.front_door.house import House, safe_path
from aperture_dagster.front_door.pages import LISTS
from aperture_dagster.front_door.sessions import COOKIE, QUICK_COOKIE
from aperture_dagster.postgres.database import ReadOnlyDatabase
from aperture_dagster.settings import Settings
from aperture_dagster_tests.front_door.home import Home
from aperture_dagster_tests.fuzz import FEW
from aperture_dagster_tests.shelf import Shelf

FIELDS = st.dictionaries(
    st.sampled_from(["csrf", "work", "next", "rating", "plan", "name", "password", "again", "as", "x"]),
    st.text(max_size=20)
    | st.sampled_from(["1", "-1", str(2**63), "9" * 5000, "٣", "\0", "//evil.example", "/\\evil", "/\n"]),
)  # fmt: skip
PATHS = (*LISTS, "/titles/1", "/sign-in", "/pictures/1", "/static/x", "/unsubscribe/1", "/year/2026")
FORMS = ("/sign-in", "/sign-in/quick-connect", "/sign-out", *CHANGES, *SERVICES)

FORM = {"content-type": "application/x-www-form-urlencoded"}
KINDS = (FORM["content-type"], f"{FORM['content-type']}; charset=x", "text/plain", "", "multipart/form-data")


class Door:
    """A front door whose media server is silent, and the cookie of a member."""

    def __init__(self, shelf: Shelf, settings: Settings, gate: Gate, app: FrontDoor) -> None:
        self.shelf, self.settings, self.app = shelf, settings, app
        self.work = shelf.item("film-1")["work_id"]
        self.cookie = gate.sessions.begin("Ben", is_administrator=False)

    def browser(self, cookie: str | bytes | None = None) -> TestClient:
        headers: dict[str, Any] = {"accept": "text/html"} | ({} if cookie is None else {"cookie": cookie})
        return TestClient(self.app, "http://localhost", follow_redirects=False, headers=headers)

    def members(self) -> TestClient:
        return self.browser(f"{COOKIE}={self.cookie}")

    def changed(self) -> list[str]:
        """Return the tables in which something of members is."""
        tables = ("dismissals", "ratings", "more_like_this", "member_choices", "seerr_requests")
        return [one for one in tables if self.shelf.value(f"SELECT count(*) FROM {one}")]


@pytest.fixture
def door(shelf: Shelf, make_settings: Callable[..., Settings]) -> Iterator[Door]:
    home = Home(shelf)
    home.recommend("Ben", 1, 2)
    # Nobody listens there.
    settings = make_settings(media_server_url="http://127.0.0.1:9", media_server_api_key="unused", http_attempts=1)
    database = ReadOnlyDatabase(settings)
    gate = Gate(settings, database)
    pages = members_pages(House(settings, database, gate))
    yield Door(shelf, settings, gate, FrontDoor(Starlette(), pages, gate))
    database.close()


@FEW
@given(data=st.data())
def test_a_cookie_that_is_not_ours_is_nobodys(door: Door, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(door.cookie)))
    bent = door.cookie[:place] + data.draw(st.text("ab-_.0Z", max_size=3)) + door.cookie[place + 1 :]
    value = data.draw(st.binary(max_size=40) | st.just(bent.encode()))
    name = data.draw(st.sampled_from([COOKIE, QUICK_COOKIE, f'"{COOKIE}"', f"{COOKIE}=x; {COOKIE}"])).encode()
    cookie = name + b"=" + re.sub(rb"[\r\n\0]", b"", value)
    answer = door.browser(cookie).get("/")
    is_ours = value == door.cookie.encode() and name != QUICK_COOKIE.encode()
    # A signature has spare bits at its end, which mean the same.
    assert answer.status_code == 303 or is_ours or bent[:-1] == door.cookie[:-1], cookie


@FEW
@given(path=st.sampled_from(PATHS), query=FIELDS, tail=st.text(max_size=10))
def test_any_address_is_a_page_or_a_refusal(door: Door, path: str, query: dict[str, str], tail: str) -> None:
    for browser in (door.browser(), door.members()):
        answer = browser.get(path, params=query)
        assert answer.status_code < 500
        assert browser.get("/" + quote(tail.encode("utf-8", "surrogatepass"))).status_code < 500
        assert "Anna" not in answer.text or path == "/sign-in"


@FEW
@given(path=st.sampled_from(FORMS), fields=FIELDS, raw=st.none() | st.binary(max_size=60), kind=st.sampled_from(KINDS))
@example(path="/not-for-me", fields={"work": "1"}, raw=None, kind="application/x-www-form-urlencoded")
@example(path="/not-for-me", fields={"csrf": "\ud800"}, raw=None, kind="application/x-www-form-urlencoded")
def test_a_form_that_is_not_ours_changes_nothing(
    door: Door, path: str, fields: dict[str, str], raw: bytes | None, kind: str
) -> None:
    for browser in (door.browser(), door.members()):
        # A film of the member's own list is hidden by the form of the page alone.
        named = {name: str(door.work) if value == "1" else value for name, value in fields.items()}
        content = raw if raw is not None else urlencoded(named)
        answer = browser.post(path, content=content, headers={"content-type": kind})
        # Nobody can sign in while the media server is silent.
        assert answer.status_code < 500 or (answer.status_code == 503 and path.startswith("/sign-in"))
        assert COOKIE not in answer.cookies
        assert door.changed() == []


@FEW
@given(
    path=st.sampled_from((*CHANGES, *SERVICES)),
    work=FIELDS.map(lambda one: one.get("work", "")) | st.integers().map(str),
    target=FIELDS,
)
def test_a_form_of_ours_may_name_anything(door: Door, path: str, work: str, target: dict[str, str]) -> None:
    browser = door.members()
    found = re.search('name="csrf" value="([0-9a-f]+)"', browser.get("/").text)
    assert found is not None
    known = door.shelf.value("SELECT max(work_id) FROM works")
    answer = browser.post(path, content=urlencoded(target | {"csrf": found[1], "work": work}), headers=FORM)
    assert answer.status_code < 500, answer.text
    location = answer.headers.get("location", "/")
    assert location.startswith("/") and not location.startswith(("//", "/\\"))
    for table in ("dismissals", "ratings", "more_like_this"):
        assert door.shelf.value(f"SELECT coalesce(max(work_id), 0) FROM {table}") <= known


def urlencoded(fields: dict[str, str]) -> bytes:
    def quoted(text: str) -> str:
        return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))

    return "&".join(f"{quoted(name)}={quoted(value)}" for name, value in fields.items()).encode()


@FEW
@given(target=st.text() | st.sampled_from(["//x", "/\\x", "/\t/x", "\n/x", "http://x", "/a/../..//x", "/ok?a=b"]))
def test_a_sign_in_leads_to_one_of_our_pages(target: str) -> None:
    path = safe_path(target, "")
    assert path.startswith("/") and not re.match(r"/[/\\]", path) and path.isprintable() and " " not in path


@FEW
@given(
    headers=st.lists(
        st.tuples(
            st.sampled_from([b"host", b"origin", b"sec-fetch-site", b"content-type", b"x"]),
            st.binary(max_size=20) | st.sampled_from([b"localhost", b"[::1]:80", b"[", b"evil.example", b"http://localhost"]),
        ),
        max_size=5,
    ),
    method=st.sampled_from(["GET", "POST", "OPTIONS"]),
)  # fmt: skip
def test_a_request_that_names_another_host_or_comes_from_elsewhere_is_refused(
    headers: list[tuple[bytes, bytes]], method: str
) -> None:
    scope = {"type": "http", "method": method, "path": "/graphql", "query_string": b"", "headers": headers}
    refusal = find_refusal(scope, AllowedHosts("localhost"), "/graphql")
    hosts = [value for name, value in headers if name == b"host"]
    origins = [value for name, value in headers if name == b"origin"]
    if len(hosts) != 1 or b"evil.example" in hosts + origins or (b"[" in hosts + origins):
        assert refusal is not None
    if hosts == [b"localhost"]:
        assert refusal is not None or all(one.strip().lower() == b"http://localhost" for one in origins)
