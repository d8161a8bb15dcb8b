"""How sessions end: at once where somebody signs out, and within minutes if the media server lets a user in no more."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from aperture_dagster.cli.main import main as aperture
from aperture_dagster.front_door import app as front_door
from aperture_dagster.front_door.secrets import SESSIONS, secret_file
from aperture_dagster.front_door.sessions import COOKIE, device_of
from aperture_dagster.members import sessions
from aperture_dagster.members.keys import add_key
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster_tests.front_door.browsing import token
from aperture_dagster_tests.front_door.door import Door, sign_in
from aperture_dagster_tests.household import SetClock
from aperture_dagster_tests.webserver import free_port, serving

LIMIT = timedelta(minutes=5)
"""Within it, the media server's word counts."""
FIREFOX = "Mozilla/5.0 (Android 14; Mobile; rv:133.0) Gecko/133.0 Firefox/133.0"
SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605 (KHTML, like Gecko) Safari/604.1"
TO_SIGN_IN = "/sign-in?next=%2F"


@pytest.fixture
def clock() -> SetClock:
    return SetClock(datetime.now(UTC))


@contextmanager
def opened(open_door: Callable[..., Any], clock: SetClock, *how: Any) -> Iterator[Door]:
    """Open the front door of a household with lists, of which no sync reads anything meanwhile."""
    with open_door(*how, clock=clock) as door:
        door.home.recommend("Anna", 1)
        door.home.recommend("Ben", 2)
        yield door


def with_cookie(door: Door, browser: TestClient) -> TestClient:
    """Return another browser with a copy of the cookie of a session."""
    return door.browser(cookie=f"{COOKIE}={browser.cookies[COOKIE]}")


def stored(door: Door) -> int:
    return door.home.shelf.value("SELECT count(*) FROM sessions")


def asked(door: Door) -> int:
    """Return how often the media server was asked for its users."""
    return len([path for path, _ in door.simulator.state.arrivals("jellyfin", "/Users") if path == "/Users"])


def statuses(browser: TestClient, *paths: str) -> list[int]:
    return [browser.get(path).status_code for path in paths]


# Signing out


def test_a_copied_cookie_opens_nothing_after_its_owner_has_signed_out(open_door: Callable[..., Any], clock: SetClock):
    with opened(open_door, clock) as door:
        anna, ben = door.signed_in("Anna"), door.signed_in("Ben")
        copy, other, csrf = with_cookie(door, anna), door.signed_in("Anna"), token(anna)
        assert statuses(copy, "/", "/operate/runs", "/devices") == [200, 200, 200]
        assert anna.post("/sign-out", data={"csrf": csrf}).headers["location"] == "/sign-in"
        assert COOKIE not in anna.cookies
        assert statuses(copy, "/", "/operate/runs", "/devices") == [303, 303, 303]
        work = door.home.shelf.item("film-1")["work_id"]
        assert copy.post("/not-for-me", data={"csrf": csrf, "work": work}).status_code == 403
        assert door.home.shelf.value("SELECT count(*) FROM dismissals") == 0
        # Others stay signed in, and so does another browser of hers.
        assert (statuses(other, "/"), statuses(ben, "/"), stored(door)) == ([200], [200], 2)


def test_a_sign_in_begins_a_new_session_and_ends_the_one_of_this_browser(
    open_door: Callable[..., Any], clock: SetClock
):
    with opened(open_door, clock) as door:
        browser = door.signed_in("Ben")
        before = with_cookie(door, browser)
        assert sign_in(browser, "Ben").status_code == 303
        assert (statuses(browser, "/"), statuses(before, "/"), stored(door)) == ([200], [303], 1)


def test_the_database_holds_no_token_and_knows_of_a_device_its_browser_and_system_alone(
    open_door: Callable[..., Any], clock: SetClock
):
    with opened(open_door, clock) as door:
        ben = door.signed_in("Ben", **{"user-agent": f"{FIREFOX} <b>\x1b[31m"})
        (row,) = door.home.shelf.rows("SELECT * FROM sessions")
        whole, given = " ".join(map(str, row.values())), door.house.gate.sessions.token(ben.cookies[COOKIE])
        assert given is not None and len(given) >= 43 and given not in whole
        assert row["device"] == "Firefox, Android" and "testclient" not in whole


@pytest.mark.parametrize(
    ("user_agent", "device"),
    [
        (FIREFOX, "Firefox, Android"),
        (SAFARI, "Safari, iPhone"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64) Chrome/131.0 Safari/537.36 Edg/131.0", "Edge, Windows"),
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/131.0 Safari/537.36", "Chrome, Linux"),
        ("curl/8.5.0", ""),
        ("", ""),
    ],
)
def test_a_device_has_the_name_of_its_browser_and_system(user_agent: str, device: str):
    assert device_of(user_agent) == device


def test_members_see_their_own_devices_and_sign_out_there(open_door: Callable[..., Any], clock: SetClock):
    with opened(open_door, clock) as door:
        phone, tablet = (door.signed_in("Ben", **{"user-agent": one}) for one in (FIREFOX, SAFARI))
        anna = door.signed_in("Anna", **{"user-agent": "Chrome on Windows"})
        assert '<a href="/devices">' in phone.get("/taste").text
        page = phone.get("/devices").text
        assert page.index("Firefox, Android") < page.index("This device") and page.count("This device") == 1
        assert "Safari, iPhone" in page and "Windows" not in page and "<script>" not in page
        ids = {one["device"]: one["session_id"] for one in door.home.shelf.rows("SELECT * FROM sessions")}

        def end(browser: TestClient, device: Any, csrf: str) -> Any:
            return browser.post("/devices/sign-out", data={"csrf": csrf, "device": device})

        # Without the form of the page, or of somebody else, nothing ends.
        of_anna, of_ben = ids["Chrome, Windows"], ids["Safari, iPhone"]
        assert end(phone, of_ben, "").status_code == end(anna, of_ben, token(phone)).status_code == 403
        for wrong in (of_anna, "", "x", "9" * 30, -1):
            assert end(phone, wrong, token(phone)).headers["location"] == "/devices"
        assert [statuses(one, "/") for one in (phone, tablet, anna)] == [[200], [200], [200]]
        assert end(phone, of_ben, token(phone)).headers["location"] == "/devices"
        assert [statuses(one, "/") for one in (phone, tablet, anna)] == [[200], [303], [200]]
        assert end(phone, ids["Firefox, Android"], token(phone)).headers["location"] == "/sign-in"
        assert statuses(phone, "/devices") == [303]


def test_signing_out_everywhere_ends_all_sessions_of_a_user_and_no_other(
    open_door: Callable[..., Any], clock: SetClock
):
    with opened(open_door, clock) as door:
        anna, phone, tablet = door.signed_in("Anna"), door.signed_in("Ben"), door.signed_in("Ben")
        assert phone.post("/devices/sign-out-everywhere", data={"csrf": ""}).status_code == 403
        answer = phone.post("/devices/sign-out-everywhere", data={"csrf": token(phone)})
        assert answer.headers["location"] == "/sign-in" and "max-age=0" in answer.headers["set-cookie"].lower()
        assert [statuses(one, "/") for one in (anna, phone, tablet)] == [[200], [303], [303]]


def test_another_secret_ends_all_sessions_and_none_is_listed_any_more(
    open_door: Callable[..., Any], clock: SetClock, monkeypatch: pytest.MonkeyPatch
):
    with opened(open_door, clock) as door:
        browsers = [door.signed_in(name) for name in ("Anna", "Ben")]
        monkeypatch.setenv("APERTURE_HOME", str(door.settings.home_path))
        assert CliRunner().invoke(aperture, ["sign-out-everybody"]).exit_code == 0
        assert [one.get("/").headers["location"] for one in browsers] == [TO_SIGN_IN] * 2
        again = door.signed_in("Ben")
        secret_file(door.settings, SESSIONS).write_text("b" * 43)
        assert again.get("/").headers["location"] == TO_SIGN_IN
        assert door.signed_in("Ben").get("/devices").text.count("<h3>") == 1


# What the media server says


@pytest.mark.parametrize("server", ["jellyfin", "emby"])
def test_who_was_disabled_or_deleted_is_out_within_five_minutes_without_a_sync(
    open_door: Callable[..., Any], clock: SetClock, server: str
):
    with opened(open_door, clock, server) as door:
        anna, ben = door.signed_in("Anna"), door.signed_in("Ben")
        with door.home.shelf.open() as connection:
            key = add_key(connection, "Homepage", door.simulator.state.user_named("Ben").id)
        program = door.browser(authorization=f"Bearer {key}")
        shown = "/api/v1/users/Ben/recommendations"
        clock.moment += LIMIT
        assert statuses(ben, "/", "/devices") == statuses(program, shown) * 2 == [200, 200]
        door.simulator.state.change_user("Ben", is_disabled=True)
        clock.moment += LIMIT
        assert statuses(ben, "/", "/devices", "/pictures/film-2") == [303, 303, 404]
        assert statuses(program, shown) == [401] and statuses(anna, "/", "/operate/") == [200, 200]
        assert stored(door) == 1
        # The cookie does not come back to life; a sign-in is possible again.
        door.simulator.state.change_user("Ben", is_disabled=False)
        clock.moment += LIMIT
        assert statuses(ben, "/") == [303] and statuses(program, shown) == [200]
        ben = door.signed_in("Ben")
        door.simulator.state.remove_user("Ben")
        clock.moment += LIMIT
        assert (statuses(ben, "/"), statuses(program, shown), stored(door)) == ([303], [401], 1)


def test_who_uses_pages_all_the_time_is_out_within_five_minutes(open_door: Callable[..., Any], clock: SetClock):
    with opened(open_door, clock) as door:
        ben = door.signed_in("Ben")
        clock.moment += LIMIT
        assert statuses(ben, "/") == [200]
        door.simulator.state.change_user("Ben", is_disabled=True)
        seen = list[int]()
        for _ in range(5):
            clock.moment += timedelta(minutes=1)
            seen += statuses(ben, "/")
        assert seen[-1] == 303, seen


def test_a_list_of_users_that_is_not_whole_ends_no_session(open_door: Callable[..., Any], clock: SetClock):
    with opened(open_door, clock) as door:
        ben = door.signed_in("Ben")
        for kind in ("empty_list", "malformed_json", "html", "status"):
            fault = door.simulator.state.add_fault(FaultRule("jellyfin", "/Users", kind=kind))  # pyright: ignore[reportArgumentType]
            clock.moment += LIMIT
            assert statuses(ben, "/") == [200], kind
            door.simulator.state.remove_fault(fault)
        # Somebody who cannot be read is there.
        ben_id = door.simulator.state.user_named("Ben").id
        door.simulator.state.add_fault(
            FaultRule("jellyfin", "/Users", kind="wrong_type", field="Name", entry_contains=ben_id)
        )
        clock.moment += LIMIT
        assert (statuses(ben, "/"), stored(door)) == ([200], 1)


def test_who_was_demoted_loses_the_operators_ui_within_five_minutes_and_open_sockets_are_closed(
    open_door: Callable[..., Any], clock: SetClock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(front_door, "LOOK_SECONDS", 0.05)
    with opened(open_door, clock) as door:
        anna = door.signed_in("Anna")
        clock.moment += LIMIT
        assert statuses(anna, "/operate/", "/?as=Ben") == [200, 200]
        port, cookie = free_port(), {"cookie": f"{COOKIE}={anna.cookies[COOKIE]}"}
        address = f"ws://127.0.0.1:{port}/operate/events"
        with serving(door.app, port), connect(address, additional_headers=cookie) as live:
            live.send("here")
            assert live.recv(timeout=60) == "here"
            door.simulator.state.change_user("Anna", is_administrator=False)
            clock.moment += LIMIT
            with pytest.raises(ConnectionClosed) as closed:
                live.recv(timeout=60)
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
        assert statuses(anna, "/", "/operate/", "/?as=Ben") == [200, 403, 404]
        assert anna.post("/operate/graphql", json={}).status_code == 403
        with pytest.raises(WebSocketDisconnect), anna.websocket_connect("ws://localhost/operate/events") as live:
            live.receive()
        # What the last sync read does not matter.
        assert door.home.shelf.value("SELECT is_administrator FROM users WHERE name = 'Anna'")


def test_at_a_sign_in_the_present_answer_of_the_media_server_decides(open_door: Callable[..., Any], clock: SetClock):
    with opened(open_door, clock) as door:
        door.simulator.state.change_user("Anna", is_administrator=False)
        door.simulator.state.change_user("Ben", is_administrator=True)
        anna, ben = door.signed_in("Anna"), door.signed_in("Ben")
        assert statuses(anna, "/operate/", "/?as=Ben") == [403, 404] and "/operate" not in anna.get("/").text
        assert statuses(ben, "/operate/", "/?as=Anna") == [200, 200] and "/operate" in ben.get("/").text


def test_nobody_is_asked_while_nobody_is_there_and_once_in_minutes_while_somebody_is(
    open_door: Callable[..., Any], clock: SetClock
):
    with opened(open_door, clock) as door:
        anna, ben = door.signed_in("Anna"), door.signed_in("Ben")
        for _ in range(10):
            assert statuses(anna, "/", "/operate/x") + statuses(ben, "/") == [200, 200, 200]
        assert asked(door) == 0
        clock.moment += timedelta(hours=5)
        assert statuses(door.browser(), "/", "/sign-in", "/health") == [303, 200, 200] and asked(door) == 0
        for _ in range(10):
            assert statuses(anna, "/", "/operate/x") + statuses(ben, "/") == [200, 200, 200]
        assert asked(door) == 1


def test_without_an_answer_the_operators_ui_closes_after_minutes_and_pages_after_a_day(
    open_door: Callable[..., Any], clock: SetClock
):
    with opened(open_door, clock) as door:
        anna, ben = door.signed_in("Anna"), door.signed_in("Ben")
        door.simulator.state.add_fault(FaultRule("jellyfin", "/", status=503))
        clock.moment += timedelta(minutes=9)
        assert statuses(anna, "/", "/operate/") == [200, 200]
        clock.moment += timedelta(minutes=2)
        closed = anna.get("/operate/", headers={"accept-language": "de"})
        assert closed.status_code == 503 and "seit 10 Minuten" in closed.text
        assert anna.get("/?as=Ben").headers["location"] == "/sign-in?next=%2F%3Fas%3DBen&again=1"
        assert statuses(anna, "/") == statuses(ben, "/") == [200]
        # What a sync has read since counts, as long as it is against somebody.
        clock.moment += timedelta(hours=1)
        door.home.user("Ben", is_disabled=True)
        assert statuses(ben, "/") == [303]
        door.home.user("Ben", is_disabled=False)
        clock.moment += timedelta(seconds=11)
        assert statuses(ben, "/") == [200]
        clock.moment += timedelta(hours=24)
        answer = ben.get("/")
        assert answer.status_code == 503 and "has not said for a day" in answer.text
        # Whoever cannot be looked up can leave.
        csrf = door.house.gate.sessions.csrf(anna.cookies[COOKIE])
        assert anna.post("/sign-out", data={"csrf": csrf}).headers["location"] == "/sign-in"
        door.simulator.state.clear_faults()
        clock.moment += LIMIT
        assert (statuses(ben, "/"), stored(door)) == ([200], 1)


# How long sessions last


def test_operating_asks_for_a_new_sign_in_after_hours_while_pages_stay_open(
    open_door: Callable[..., Any], clock: SetClock
):
    with opened(open_door, clock) as door:
        anna = door.signed_in("Anna")
        clock.moment += timedelta(hours=13)
        asks = anna.get("/operate/runs")
        assert asks.headers["location"] == "/sign-in?next=%2Foperate%2Fruns&again=1"
        assert "Sign in again" in anna.get(asks.headers["location"]).text
        assert anna.post("/operate/graphql", json={}).status_code == 401
        assert "/operate" in anna.get("/").text and "as=Ben" not in anna.get("/").text
        assert anna.get("/?as=Ben").headers["location"] == "/sign-in?next=%2F%3Fas%3DBen&again=1"
        assert sign_in(anna, "Anna", target="/?as=Ben").headers["location"] == "/?as=Ben"
        assert statuses(anna, "/?as=Ben", "/operate/runs") == [200, 200]


def test_a_session_ends_after_thirty_days_however_much_it_is_used(open_door: Callable[..., Any], clock: SetClock):
    with opened(open_door, clock) as door:
        ben = door.signed_in("Ben")
        for days in (20, 9):
            clock.moment += timedelta(days=days)
            assert statuses(ben, "/") == [200]
        seen = re.findall(r"Last used on ([^<]+)<", ben.get("/devices").text)
        assert seen == [f"{clock.moment:%b} {clock.moment.day}, {clock.moment.year}"]
        clock.moment += timedelta(days=1, minutes=1)
        assert statuses(ben, "/") == [303]


def test_a_session_in_use_is_written_once_an_hour(open_door: Callable[..., Any], clock: SetClock):
    with opened(open_door, clock) as door:
        ben = door.signed_in("Ben")
        written = "SELECT xmin::text FROM sessions"
        first = door.home.shelf.value(written)
        clock.moment += timedelta(minutes=30)
        assert statuses(ben, "/", "/shows") == [200, 200] and door.home.shelf.value(written) == first
        clock.moment += timedelta(minutes=31)
        assert statuses(ben, "/") == [200]
        second = door.home.shelf.value(written)
        assert second != first and statuses(ben, "/shows") == [200] and door.home.shelf.value(written) == second


def test_a_user_has_a_limited_number_of_sessions(
    open_door: Callable[..., Any], clock: SetClock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sessions, "MOST_OF_USER", 2)
    with opened(open_door, clock) as door:
        anna, *bens = (door.signed_in(name) for name in ("Anna", "Ben", "Ben", "Ben"))
        assert statuses(anna, "/") + [one.get("/").status_code for one in bens] == [200, 303, 200, 200]


def test_a_session_of_a_time_when_the_clock_was_ahead_lasts_no_longer(open_door: Callable[..., Any], clock: SetClock):
    with opened(open_door, clock) as door:
        ben = door.signed_in("Ben")
        clock.moment += timedelta(days=20)
        anna = door.signed_in("Anna")
        assert statuses(ben, "/") + statuses(anna, "/", "/operate/") == [200, 200, 200]
        clock.moment -= timedelta(days=10)
        door.simulator.state.change_user("Ben", is_disabled=True)
        assert statuses(ben, "/") + statuses(anna, "/", "/operate/") == [303, 303, 303]


def test_an_old_cookie_opens_nothing_on_an_emptied_database(open_door: Callable[..., Any], clock: SetClock):
    with opened(open_door, clock) as door:
        anna = door.signed_in("Anna")
        assert statuses(anna, "/operate/") == [200]
        door.home.shelf.do("TRUNCATE users, sessions, facts CASCADE")
        clock.moment += timedelta(seconds=11)
        assert statuses(anna, "/operate/", "/", "/?as=Ben", "/devices") == [303] * 4
        assert anna.post("/operate/graphql", json={}).status_code == 401
        door.home.shelf.do("DROP TABLE alembic_version")
        clock.moment += timedelta(seconds=11)
        assert statuses(anna, "/operate/", "/") == [303, 303]
