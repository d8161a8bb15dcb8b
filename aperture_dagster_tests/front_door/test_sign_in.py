"""Who gets in: with which account, for how long, and where to."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from aperture_dagster.catalogue.stored_users import remember_server
from aperture_dagster.front_door.app import FrontDoor, members_pages
from aperture_dagster.front_door.gate import Gate
from aperture_dagster.front_door.house import House, safe_path
from aperture_dagster.front_door.secrets import OPERATOR, read_secret
from aperture_dagster.front_door.sessions import COOKIE, QUICK_COOKIE, Sessions
from aperture_dagster.postgres.database import ReadOnlyDatabase
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.settings import Settings
from aperture_dagster_tests.front_door.door import PASSWORD, operators_ui, sign_in


@pytest.mark.parametrize("server", ["jellyfin", "emby"])
def test_members_sign_in_with_their_own_account_and_see_their_own_page_alone(
    open_door: Callable[..., Any], server: str
):
    with open_door(server) as door:
        door.home.recommend("Anna", 1)
        door.home.recommend("Ben", 2)
        stranger = door.browser()
        for path in ("/", "/shows", "/top-picks", "/suggestions"):
            answer = stranger.get(path)
            assert answer.status_code == 303 and answer.headers["location"].startswith("/sign-in?next=%2F")
        ben = door.signed_in("ben")
        page = ben.get("/")
        assert page.status_code == 200 and "Heat" in page.text
        assert "Anna" not in page.text and "/operate" not in page.text
        assert ben.get("/?as=Anna").status_code == 404
        anna = door.signed_in("Anna")
        assert "Alien" in anna.get("/").text and "Heat" in anna.get("/?as=Ben").text


def test_a_wrong_password_an_unknown_name_and_a_disabled_user_have_one_answer(open_door: Callable[..., Any]):
    with open_door() as door:
        door.simulator.state.change_user("Ben", is_disabled=True)
        answers = [sign_in(door.browser(), *one) for one in (("Anna", "x"), ("Nobody", PASSWORD), ("Ben", PASSWORD))]
        assert {one.status_code for one in answers} == {403}
        assert len({one.text for one in answers}) == 1 and "does not accept" in answers[0].text
        assert not any("set-cookie" in one.headers for one in answers)


def test_only_administrators_reach_the_operators_ui(open_door: Callable[..., Any]):
    def socket(browser: TestClient) -> bool:
        try:
            with browser.websocket_connect("ws://localhost/operate/graphql") as live:
                live.receive()
            return True
        except WebSocketDisconnect as refused:
            return refused.code != 1008

    with open_door() as door:
        stranger, ben, anna = door.browser(), door.signed_in("Ben"), door.signed_in("Anna")
        assert stranger.get("/operate/runs/1").headers["location"] == "/sign-in?next=%2Foperate%2Fruns%2F1"
        assert stranger.post("/operate/graphql", json={}).status_code == 401
        assert ben.get("/operate").status_code == ben.post("/operate/graphql").status_code == 403
        assert anna.get("/operate/runs/1").text == anna.post("/operate/graphql").text == "Dagster"
        assert [socket(one) for one in (stranger, ben, anna)] == [False, False, True]
        # Dagster's UI asks for the icon of a run at the root.
        icon = anna.get("/favicon-run-failed.svg").headers["location"]
        assert (icon, ben.get(icon).status_code) == ("/operate/favicon-run-failed.svg", 403)
        assert anna.get("/favicon.txt").status_code == anna.get("/x/favicon.svg").status_code == 404
        # A program of this home, such as a health check, has a key.
        key = read_secret(door.settings, OPERATOR)
        assert door.browser(authorization=f"Bearer {key}").get("/operate/x").status_code == 200
        for wrong in (f"Bearer {key}x", "Bearer ", f"Basic {key}", key):
            assert door.browser(authorization=wrong, accept="").get("/operate/x").status_code == 401


def test_nobody_reaches_the_operators_ui_while_it_is_not_known_who_they_are(
    open_door: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
):
    def away(database: ReadOnlyDatabase) -> Any:
        raise DatabaseError("The database is away.")

    with open_door() as door:
        stranger, anna = door.browser(), door.signed_in("Anna")
        monkeypatch.setattr(ReadOnlyDatabase, "connection", away)
        assert anna.get("/operate").status_code == anna.post("/operate/graphql", json={}).status_code == 403
        assert "Dagster" not in stranger.get("/operate").text
        with pytest.raises(WebSocketDisconnect), anna.websocket_connect("ws://localhost/operate/graphql") as live:
            live.receive()


def test_before_the_first_sync_an_administrator_can_see_why_there_is_none(open_door: Callable[..., Any]):
    with open_door() as door:
        door.home.shelf.do("DELETE FROM users")
        assert door.signed_in("Anna").get("/operate/").text == "Dagster"
        assert door.signed_in("Ben").get("/operate/").status_code == 403
        assert door.signed_in("Ben").get("/").status_code == 503


def test_a_cookie_cannot_be_forged_and_ends_after_thirty_days(
    open_door: Callable[..., Any], make_settings: Callable[..., Settings], tmp_path: Any, monkeypatch: Any
):
    with open_door() as door:
        anna = door.simulator.state.user_named("Anna").id
        elsewhere = Sessions(make_settings(home=tmp_path / "other")).begin(anna, is_administrator=True)
        cookie = door.signed_in("Ben").cookies[COOKIE]
        changed = cookie[:5] + ("A" if cookie[5] != "A" else "B") + cookie[6:]
        quick = Sessions(door.settings).sign(QUICK_COOKIE, anna, "1")
        for forged in (elsewhere, changed, quick, cookie + "x", "", "\xff", "a.b.c", cookie.rpartition(".")[0]):
            browser = door.browser(cookie=f"{COOKIE}={forged}".encode("latin-1"))
            assert browser.get("/").status_code == 303, forged
        assert door.browser(cookie=f"{COOKIE}={cookie}").get("/").status_code == 200
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 31 * 86_400)
        assert door.browser(cookie=f"{COOKIE}={cookie}").get("/").status_code == 303


def test_a_sign_in_leaves_a_cookie_for_the_browser_alone_and_nothing_on_the_media_server_or_in_the_log(
    open_door: Callable[..., Any], caplog: pytest.LogCaptureFixture
):
    with open_door() as door, caplog.at_level("DEBUG"):
        plain = sign_in(door.browser(), "Ben").headers["set-cookie"].lower()
        assert "httponly" in plain and "samesite=lax" in plain and "path=/" in plain and "max-age=2592000" in plain
        assert "secure" not in plain
        assert len(door.simulator.state.arrivals("jellyfin", "Logout")) == 1
        assert "secure" in sign_in(door.browser("https://localhost"), "Ben").headers["set-cookie"].lower()
        sign_in(door.browser(), "Ben", "another secret")
        assert PASSWORD not in caplog.text and "another secret" not in caplog.text


def test_a_code_signs_in_whoever_enters_it(open_door: Callable[..., Any]):
    with open_door() as door:
        door.home.recommend("Ben", 2)
        browser = door.browser()
        shown = browser.post("/sign-in/quick-connect", data={"next": "/shows"})
        code = re.findall(r'class="code">(\d+)<', shown.text)[0]
        waiting = browser.post("/sign-in/quick-connect", data={"next": "/shows"})
        assert "not been entered yet" in waiting.text and code in waiting.text
        door.simulator.state.enter_code("Ben", code)
        # In another browser, the code is worth nothing.
        assert "location" not in door.browser().post("/sign-in/quick-connect", data={}).headers
        done = browser.post("/sign-in/quick-connect", data={"next": "/shows"})
        assert (done.status_code, done.headers["location"]) == (303, "/shows")
        assert "Heat" in browser.get("/").text


def test_the_account_of_another_server_is_refused(open_door: Callable[..., Any]):
    with open_door() as door:
        with door.home.shelf.open() as connection:
            remember_server(connection, {"server_id": "other", "name": "Other"})
        answer = sign_in(door.browser(), "Anna")
        assert (
            answer.status_code == 403 and "another media server" in answer.text and "set-cookie" not in answer.headers
        )


@pytest.mark.parametrize(
    "target",
    [None, "", "https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil", "/a\r\nX: y", "/a b", "evil",
     "javascript:alert(1)", "/é"],
)  # fmt: skip
def test_a_sign_in_leads_nowhere_but_here(target: str | None):
    assert safe_path(target, "") == "/" and safe_path(target, "/aperture") == "/aperture/"
    assert (
        safe_path("/operate/runs?x=1", "") == "/operate/runs?x=1" and safe_path("/other", "/aperture") == "/aperture/"
    )


def test_without_a_server_only_this_machine_reaches_the_operators_ui(settings: Settings):
    database = ReadOnlyDatabase(settings)
    gate = Gate(settings, database)
    app = FrontDoor(operators_ui(), members_pages(House(settings, database, gate)), gate)

    def status(client: str, **headers: str) -> int:
        return TestClient(app, "http://localhost", client=(client, 1), headers=headers).get("/operate/").status_code

    assert status("127.0.0.1") == status("::1") == 200
    assert status("192.168.1.9") == status("127.0.0.1", **{"x-forwarded-for": "192.168.1.9"}) == 403
    database.close()
