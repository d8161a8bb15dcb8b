"""What nobody gets from the front door, however they ask. More is in the tests of signing in, hiding and pictures."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.routing import Mount, Route

from aperture_dagster.front_door.pages import LISTS
from aperture_dagster.front_door.sessions import COOKIE, Sessions
from aperture_dagster_tests.front_door.browsing import members_app, token
from aperture_dagster_tests.front_door.door import Door, sign_in
from aperture_dagster_tests.household import SetClock

WITHOUT_SESSION = ("/sign-in", "/sign-in/quick-connect", "/language", "/unsubscribe/1")
"""What is sent without a session: it changes that browser alone, or its address is a key."""


def routes(found: Any, prefix: str = "") -> Iterator[tuple[str, Route]]:
    """Yield every route of an application with its path."""
    for one in found:
        if isinstance(one, Route):
            yield prefix + one.path, one
        elif isinstance(one, Mount):
            yield from routes(one.routes or [], prefix + one.path)


def members_routes(door: Door) -> dict[str, set[str]]:
    """Return the methods of every path of the members' application, without placeholders."""
    found: dict[str, set[str]] = {}
    with members_app(door.settings) as pages:
        for path, route in routes(pages.routes):
            found.setdefault(re.sub(r"{\w+}", "1", path), set()).update(route.methods or ())
    return found


def everything(door: Door) -> dict[str, list[Any]]:
    """Return what members can change."""
    tables = door.home.shelf.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {name: door.home.shelf.rows(f'SELECT * FROM "{name}"') for one in tables if (name := one["tablename"])}


def test_whatever_changes_something_needs_a_form_of_its_own_page(open_door: Callable[..., Any]):
    with open_door() as door:
        for name in ("Anna", "Ben"):
            door.home.recommend(name, 2)
        ben = door.signed_in("Ben")
        of_ben, of_anna = token(ben), token(door.signed_in("Anna"))
        routes = members_routes(door)
        changing = [path for path, methods in routes.items() if "POST" in methods and path not in WITHOUT_SESSION]
        assert {"/sign-out", "/not-for-me", "/not-for-me/undo"} <= {*changing}
        work, before = door.home.shelf.item("film-2")["work_id"], everything(door)
        for path in changing:
            for csrf in ("", "é", "0" * 64, of_anna, of_ben[:-1], of_ben.upper() + "x"):
                form = {"csrf": csrf, "work": work, "title": work, "rating": 9, "value": 9, "next": "/"}
                assert ben.post(path, data=form).status_code == 403, (path, csrf)
            # Not with the token in the address, and not as something that is no form.
            assert ben.post(f"{path}?csrf={of_ben}", data={"csrf": "", "work": work}).status_code == 403, path
            assert ben.post(path, json={"csrf": of_ben, "work": work}).status_code in (403, 415), path
            # What shows something as well is for administrators, and Ben is none.
            assert ben.get(path).status_code == (403 if "GET" in routes[path] else 405), path
            assert door.browser().post(path, data={"csrf": of_ben, "work": work}).status_code == 403, path
        assert everything(door) == before and ben.get("/").status_code == 200
        assert ben.post("/sign-out", data={"csrf": of_ben}).status_code == ben.get("/").status_code == 303


def test_nobody_is_signed_in_as_somebody_else(open_door: Callable[..., Any]):
    clock = SetClock(datetime.now(UTC))
    with open_door(clock=clock) as door:
        door.home.recommend("Anna", 1)
        door.home.recommend("Ben", 2)
        anna = door.simulator.state.user_named("Anna").id
        # To have been an administrator at the sign-in is no right.
        claimed = Sessions(door.settings).begin(door.simulator.state.user_named("Ben").id, is_administrator=True)
        clock.moment += timedelta(minutes=5)
        browser = door.browser(cookie=f"{COOKIE}={claimed}")
        assert [browser.get(path).status_code for path in ("/", "/operate", "/?as=Anna")] == [200, 403, 404]
        ben = door.signed_in("Ben")
        for path in LISTS:
            for asked in (f"{path}?as=Anna", f"{path}?as={anna}", f"{path}?as=Ben&as=Anna", f"{path}?user={anna}"):
                answer = ben.get(asked, headers={"x-user": anna, "x-emby-token": "demo-jellyfin-key"})
                assert answer.status_code == 404 or "Alien" not in answer.text, asked
        # Whoever signs in next in this browser is somebody else from then on.
        assert sign_in(ben, "Anna").status_code == 303 and "Alien" in ben.get("/").text
        old = door.signed_in("Ben").cookies[COOKIE]
        assert "Heat" in door.browser(cookie=f"{COOKIE}={old}").get("/").text
        # A name that another user had is no way in: the id counts, which the media server gives once.
        door.simulator.state.remove_user("Ben")
        door.simulator.state.rename_user("Anna", "Ben")
        clock.moment += timedelta(minutes=5)
        assert door.browser(cookie=f"{COOKIE}={old}").get("/").status_code == 303


def test_no_address_leads_elsewhere(open_door: Callable[..., Any]):
    with open_door() as door:
        for browser in (door.browser(), door.signed_in("Anna")):
            for path in ("//evil.example", "//evil.example/", "/\\evil.example/", "/shows/", "/%2f%2fevil.example/"):
                target = browser.get(f"http://localhost{path}").headers.get("location", "/")
                assert urlsplit(target).netloc in ("", "localhost") and not target.startswith(("//", "/\\")), target
        # More targets are in the tests of signing in and of the language.
        assert sign_in(door.browser(), "Ben", target="//evil.example").headers["location"] == "/"


def test_names_and_titles_are_text_and_no_headers_or_markup(open_door: Callable[..., Any]):
    evil = "B\"'><script>alert(1)</script>\r\nSet-Cookie: x=1"
    with open_door() as door:
        door.home.recommend("Ben", 2)
        door.home.suggest("Ben", evil, "PG")
        door.home.shelf.do("UPDATE users SET name = :evil WHERE name = 'Ben'", evil=evil)
        door.home.shelf.do("UPDATE titles SET title = :evil", evil=evil)
        ben, anna = door.signed_in("Ben"), door.signed_in("Anna")
        asked = [ben.get(path) for path in LISTS]
        asked += [anna.get("/", params={"as": "Ben"}), anna.get("/", params={"as": evil}), ben.get(f"/{quote(evil)}")]
        asked += [door.browser().get("/sign-in", params={"next": f"/{evil}"}), sign_in(door.browser(), evil)]
        asked += [door.browser().get("/", headers={"cookie": f"{COOKIE}=a%0d%0ax; aperture_quick_connect=%0a"})]
        for answer in asked:
            assert "<script>" not in answer.text and "set-cookie" not in answer.headers, answer.url
        assert asked[0].status_code == 200 and "&lt;script&gt;" in asked[0].text


def test_no_title_turns_or_controls_the_text_around_it(open_door: Callable[..., Any]):
    with open_door() as door:
        door.home.shelf.do("UPDATE titles SET title = title || :marks", marks="\x1b[2J\x07\u202e\u2066")
        door.home.recommend("Ben", 2)
        page = door.signed_in("Ben").get("/").text
        assert "Heat[2J" in page and not {"\x1b", "\x07", "\u202e", "\u2066"} & set(page)
