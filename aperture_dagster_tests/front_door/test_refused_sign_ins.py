"""Who is not let in although the media server's answer looks like it, and what is said when the address is wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from aperture_dagster.front_door.secrets import OPERATOR, SESSIONS, secret_file
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster_tests.front_door.door import Door, sign_in

HOME, ELSEWHERE = "192.168.1.20", "8.8.8.8"
REFUSED = "An account without a password cannot sign in from here"


def at(door: Door, address: str, *forwarded: tuple[str, str]) -> TestClient:
    """Return a browser at an address, with what proxies say of it."""
    headers = {"accept": "text/html", **dict(forwarded)}
    return TestClient(door.app, "http://localhost", follow_redirects=False, client=(address, 1), headers=headers)


def without_passwords(door: Door) -> Door:
    """Let no account of the media server have a password."""
    state = door.simulator.state
    state.settings = dataclasses.replace(state.settings, user_password="")
    return door


def logouts(door: Door) -> int:
    return len(door.simulator.state.arrivals("jellyfin", "Logout"))


@pytest.mark.parametrize("is_known", [True, False])
def test_an_answer_that_names_no_server_lets_nobody_in(open_door: Callable[..., Any], is_known: bool):
    with open_door() as door:
        if is_known:
            door.remember_server()
        door.simulator.state.add_fault(FaultRule("jellyfin", "AuthenticateByName", "missing_field", field="ServerId"))
        answer = sign_in(door.browser(), "Anna")
        assert answer.status_code == 503 and "set-cookie" not in answer.headers
        assert logouts(door) == 1


def test_a_redirect_is_a_wrong_address_and_no_wrong_password(
    open_door: Callable[..., Any], caplog: pytest.LogCaptureFixture
):
    with open_door() as door:
        door.simulator.state.add_fault(FaultRule("jellyfin", "AuthenticateByName", status=302))
        for _ in range(12):
            answer = sign_in(door.browser(), "Anna")
            assert answer.status_code == 503 and "address of the media server is not set correctly" in answer.text
        assert "redirects to" in caplog.text and "set APERTURE_MEDIA_SERVER_URL" in caplog.text
        assert "wrong password" not in caplog.text
        # Nothing of it counts as a guess.
        door.simulator.state.clear_faults()
        assert sign_in(door.browser(), "Anna").status_code == 303


def test_members_without_a_password_come_in_from_home_and_from_nowhere_else(open_door: Callable[..., Any]):
    with open_door() as opened:
        door = without_passwords(opened)
        for address in (HOME, "::ffff:192.168.1.20", "fd00::20", "100.101.102.103"):
            assert sign_in(at(door, address, ("x-forwarded-for", HOME)), "Ben", "").status_code == 303, address
        asked = len(door.simulator.state.arrivals("jellyfin", "AuthenticateByName"))
        behind_proxies = [
            ("x-forwarded-for", ELSEWHERE), ("x-forwarded-for", f"{HOME}, {ELSEWHERE}"), ("x-real-ip", ELSEWHERE),
            ("forwarded", f"for={HOME};proto=https, for={ELSEWHERE}"), ("forwarded", 'For="[2a00:1450::1]:443"'),
            ("x-forwarded-for", "unknown"),
        ]  # fmt: skip
        strangers = [at(door, one) for one in (ELSEWHERE, f"::ffff:{ELSEWHERE}", "2a00:1450::1")]
        for browser in [*strangers, *(at(door, "172.17.0.1", one) for one in behind_proxies)]:
            answer = sign_in(browser, "Ben", "")
            assert answer.status_code == 403 and REFUSED in answer.text and "set-cookie" not in answer.headers
        # Nobody learns from the answer which accounts have none.
        assert len(door.simulator.state.arrivals("jellyfin", "AuthenticateByName")) == asked


def test_administrators_need_a_password_everywhere(open_door: Callable[..., Any]):
    with open_door() as opened:
        door = without_passwords(opened)
        answer = sign_in(at(door, HOME), "Anna", "")
        assert answer.status_code == 403 and "administrator cannot sign in without a password" in answer.text
        assert "set-cookie" not in answer.headers and logouts(door) == 1


def test_the_operator_can_refuse_everybody_without_a_password(open_door: Callable[..., Any]):
    with open_door(ui_empty_passwords=False) as opened:
        answer = sign_in(at(without_passwords(opened), HOME), "Ben", "")
        assert answer.status_code == 403 and REFUSED in answer.text


def test_an_empty_file_is_no_secret(open_door: Callable[..., Any]):
    with open_door() as door:
        anna = door.signed_in("Anna")
        for name in (OPERATOR, SESSIONS):
            secret_file(door.settings, name).write_text("\n")
        assert door.browser(authorization="Bearer ", accept="").get("/operate/x").status_code == 401
        assert anna.get("/").status_code == 303
        assert door.signed_in("Anna").get("/operate/x").status_code == 200
