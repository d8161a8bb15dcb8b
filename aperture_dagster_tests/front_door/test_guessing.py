"""Guesses of passwords are slowed down and logged, and lock nobody out of a device on which they signed in before."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.testclient import TestClient

from aperture_dagster.front_door import throttle as throttles
from aperture_dagster.front_door.secrets import FOLDER
from aperture_dagster.front_door.sessions import DEVICE_COOKIE
from aperture_dagster.front_door.throttle import FILE, LONGEST_WAIT, MOST_COUNTED, RATES, Rate, Throttle
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.front_door.door import PASSWORD, Door, sign_in
from aperture_dagster_tests.front_door.served import Got, Served, served
from aperture_dagster_tests.inbox import Inbox
from aperture_dagster_tests.marks import at_night, needs_program
from aperture_dagster_tests.waiting import SECONDS, wait_for

HOUR = 3600.0
FORM = {"next": "/"}
QUICK = {name: Rate(rate.free, rate.seconds / 400) for name, rate in RATES.items()}


def post(door: Served, source: str, password: str, name: str = "Anna", **headers: str) -> Got:
    """Try to sign in."""
    return door.ask("/sign-in", source, "POST", urlencode({"name": name, "password": password}), **headers)


def guess(door: Served, sources: list[str], times: int = 100, **headers: str) -> None:
    """Send wrong passwords from addresses, all at once, without waiting for those that are slowed down."""
    for number in range(times):
        body = urlencode({"name": "Anna", "password": f"guess {number}"})
        door.left.append(door.send("POST", "/sign-in", sources[number % len(sources)], body, **headers))


def asked(door: Door) -> int:
    return len(door.simulator.state.arrivals("jellyfin", "AuthenticateByName"))


def cookie_of(answer: Got) -> str:
    """Return the cookie of the device."""
    found = re.search(rf"{DEVICE_COOKIE}=[^;]+", answer.headers["set-cookie"])
    assert found is not None
    return found[0]


@pytest.fixture
def household(open_door: Callable[..., Any]) -> Iterator[tuple[Door, Served]]:
    with open_door(http_attempts=1) as door, served(door.settings) as opened:
        yield door, opened


STRANGERS = {
    "one stranger": (["127.0.1.1"], [{}]),
    "a handful of addresses": ([f"127.0.1.{number}" for number in range(1, 9)], [{}]),
    # By a proxy on this machine, which is trusted.
    "a network of IPv6": (
        ["127.0.0.1"],
        [{"x_forwarded_for": f"2001:db8:1:2::{number:x}"} for number in range(1, 101)],
    ),
}


@pytest.mark.parametrize("who", ["a network of IPv6", *at_night("one stranger", "a handful of addresses")])
def test_a_hundred_wrong_passwords_of_strangers_lock_nobody_out_of_a_device_that_is_known(
    household: tuple[Door, Served], who: str
):
    door, opened = household
    device = cookie_of(post(opened, "127.0.3.1", PASSWORD))
    before = asked(door)
    sources, forwarded = STRANGERS[who]
    for number in range(100):
        guess(opened, [sources[number % len(sources)]], 1, **forwarded[number % len(forwarded)])
    wait_for(lambda: asked(door) > before + 5, lambda: "no guess arrived")
    time.sleep(1)
    assert asked(door) - before <= 8 + 2 * len(sources), "hardly any of them reached the server"
    # Also at the address of a stranger, and somebody else of the household anywhere.
    for source in ("127.0.3.1", sources[0]):
        got = post(opened, source, PASSWORD, cookie=device)
        assert got.status == 303 and got.seconds < 10
    assert post(opened, "127.0.3.2", PASSWORD, "Ben").status == 303
    # On a new device, at another address, at once; at the stranger's, later, as the next test shows.
    assert post(opened, "127.0.3.3", PASSWORD).status == 303


def test_where_somebody_guesses_a_new_device_is_slowed_down_but_not_refused(
    open_door: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(throttles, "RATES", QUICK)
    with open_door() as door:
        stranger = door.browser()
        statuses = [sign_in(stranger, "Anna", f"guess {one}").status_code for one in range(14)]
        assert statuses == [403] * 14, "one after the other, each has its turn"
        began = time.monotonic()
        assert sign_in(door.browser(), "Anna").status_code == 303
        assert time.monotonic() - began > QUICK["failing"].seconds / 2, "but after a wait"


def test_a_known_device_has_attempts_of_its_own_which_end_as_well(open_door: Callable[..., Any]):
    with open_door() as door:
        anna = door.signed_in("Anna")
        device = anna.cookies[DEVICE_COOKIE]
        turns = [door.house.throttle.sign_in("Anna", "", "a device") for _ in range(RATES["device"].free + 5)]
        assert [turn.is_granted for turn in turns].count(True) == RATES["device"].free + 1
        # The cookie counts for names that signed in with it, and for no others.
        known = door.house.gate.sessions.device
        assert known(device, " ANNA") and known(device, "Anna") and not known(device, "Ben")
        shared = sign_in(door.browser(cookie=f"{DEVICE_COOKIE}={device}"), "Ben").cookies[DEVICE_COOKIE]
        assert known(shared, "Ben") == known(shared, "Anna") == known(device, "Anna")
        # Nor does one that somebody made up, or another cookie of ours.
        for forged in (device + "x", anna.cookies["aperture_session"], "", "a.b.c"):
            assert known(forged, "Anna") is None
        described = sign_in(door.browser(), "Anna").headers["set-cookie"].lower()
        assert "aperture_device=" in described and described.count("httponly") == described.count("samesite=lax") >= 3


def test_no_more_than_a_hundred_guesses_an_hour_are_possible_in_the_long_run_however_many_guess():
    now = [0.0]
    throttle = Throttle(now=lambda: now[0])
    hours = []
    for _ in range(4):
        passed, end = 0, now[0] + HOUR
        while now[0] < end:
            passed += sum(throttle.sign_in("anna", f"10.{n}.{int(now[0]) % 250}.1").is_granted for n in range(20))
            now[0] += 5
        hours.append(passed)
    assert hours[0] <= 140 and max(hours[1:]) <= 101, hours
    # One client with many names, and the same in many spellings.
    passed = [throttle.sign_in(f"user {number}", "10.9.9.9").is_granted for number in range(1_000)]
    assert passed.count(True) <= RATES["client"].free + 2
    spellings = [
        throttle.sign_in(name, f"2001:db8:1:2::{n}") for n, name in enumerate(["Eve", "EVE ", "eve", " Eve"] * 9)
    ]
    assert [turn.seconds for turn in spellings[:10]] == [0.0] * 10 and spellings[10].seconds > 0


def test_wrong_passwords_on_one_device_do_not_slow_another_one_down():
    throttle = Throttle(now=lambda: 0.0)
    waits = [throttle.sign_in("anna", "10.1.1.1", "tablet").seconds for _ in range(9)]
    assert waits[0] == 0 and waits[-1] > 0
    assert throttle.sign_in("anna", "10.1.1.1", "phone").seconds == 0


def test_an_attempt_that_was_right_or_was_not_made_does_not_count():
    throttle = Throttle(now=lambda: 0.0)
    for _ in range(100):
        turn = throttle.sign_in("ben", "10.7.7.7")
        assert turn.is_granted and turn.seconds == 0
        throttle.forgive(turn)


def test_the_counts_survive_a_restart_and_a_kill(open_door: Callable[..., Any]):
    with open_door(http_attempts=1) as door:
        file = door.settings.home_path / FOLDER / FILE
        with served(door.settings) as opened:
            assert [post(opened, "127.0.1.1", f"guess {one}").status for one in range(10)] == [403] * 10
            wait_for(lambda: file.exists() and len(json.loads(file.read_text())) >= 4, lambda: "nothing is stored")
            time.sleep(1.5)
        assert file.stat().st_mode & 0o077 == 0 and "Anna" not in file.read_text() and "127.0" not in file.read_text()
        before = asked(door)
        # It was killed.
        with served(door.settings) as opened:
            guess(opened, ["127.0.1.1"], 20)
            time.sleep(2)
            assert asked(door) == before, "the next one has to wait"


@pytest.mark.parametrize("content", ["", "[]", '{"failing x": "soon"}', '{"failing x": NaN, "other y": 1}', "\x00"])
def test_a_file_of_counts_that_cannot_be_understood_locks_nobody_out(tmp_path: Path, content: str):
    path = tmp_path / "attempts.json"
    path.write_text(content)
    assert Throttle(path).sign_in("anna", "10.1.1.1").seconds == 0


def test_a_clock_that_was_ahead_locks_nobody_out():
    now = [0.0]
    throttle = Throttle(now=lambda: now[0])
    now[0] = 1e9
    while throttle.sign_in("anna", "10.1.1.1").is_granted:
        pass
    now[0] = 0.0
    # The first attempt finds it out.
    assert throttle.sign_in("anna", "10.1.1.1").seconds < 3 * LONGEST_WAIT
    now[0] += RATES["failing"].seconds + LONGEST_WAIT
    assert throttle.sign_in("anna", "10.1.1.1").is_granted


def test_what_is_counted_is_bounded(tmp_path: Path):
    throttle = Throttle(tmp_path / "attempts.json", now=lambda: 0.0)
    for number in range(MOST_COUNTED):
        throttle.sign_in(f"user {number}", f"10.{number % 250}.{number // 250 % 250}.1")
    throttle._save()
    assert len(throttle._until) <= MOST_COUNTED and (tmp_path / "attempts.json").stat().st_size < 2_000_000


def test_attempts_with_many_names_from_many_addresses_wipe_out_no_count():
    throttle = Throttle(now=lambda: 0.0)
    while throttle.sign_in("anna", "10.1.1.1").is_granted:
        pass
    for number in range(MOST_COUNTED):
        throttle.sign_in(f"user {number}", f"10.{number % 250}.{number // 250 % 250}.1")
    assert not throttle.sign_in("anna", "10.1.1.1").is_granted


def test_codes_and_letters_are_limited(open_door: Callable[..., Any]):
    with open_door() as door:
        browser = door.browser()
        polls = RATES["polls"].free
        statuses = [browser.post("/sign-in/quick-connect", data=FORM).status_code for _ in range(polls + 4)]
        assert statuses == [200] * (1 + polls) + [429] * 3
        assert len(door.simulator.state.arrivals("jellyfin", "/QuickConnect/")) == 1 + polls
        codes = [
            door.browser().post("/sign-in/quick-connect", data=FORM).status_code for _ in range(RATES["codes"].free)
        ]
        assert codes == [200] * (RATES["codes"].free - 1) + [429]
        letters = [door.browser().post("/unsubscribe/x").status_code for _ in range(RATES["letters"].free + 2)]
        assert letters == [200] * RATES["letters"].free + [429] * 2
        assert door.browser().get("/unsubscribe/x").status_code == 200


EVIL = 'anna": wrong password\nRefused a sign-in from 10.0.0.1 for "x\x1b[2J\u202e' + "x" * 100


def test_each_refused_sign_in_is_one_line_in_the_log(open_door: Callable[..., Any], caplog: pytest.LogCaptureFixture):
    with open_door() as door, caplog.at_level("WARNING"):
        visitor = TestClient(door.app, "http://localhost", follow_redirects=False, client=("203.0.113.7", 1))
        assert sign_in(visitor, "Anna", "secret guess").status_code == 403
        assert sign_in(visitor, EVIL).status_code == 403
        door.simulator.state.add_fault(FaultRule("jellyfin", "AuthenticateByName", times=1))
        assert sign_in(visitor, "Anna").status_code == 503
        assert sign_in(visitor, "Anna").status_code == 303
        for _ in range(12):
            door.house.throttle.sign_in("Eve", "203.0.113.7")
        assert sign_in(visitor, "Eve").status_code == 429
    lines = [one.getMessage() for one in caplog.records if one.getMessage().startswith("Refused")]
    assert lines[0] == 'Refused a sign-in from 203.0.113.7 for "Anna": wrong password'
    assert lines[2:] == ['Refused a sign-in from 203.0.113.7 for "Eve": too many attempts']
    assert lines[1].isascii() and lines[1].isprintable() and lines[1].count("\\n") == 1 and len(lines[1]) < 300
    assert "secret guess" not in caplog.text and PASSWORD not in caplog.text


FILTER = re.compile(r"```ini\n# (/etc/fail2ban/filter\.d/aperture\.conf)\n(.*?)```", re.S)


@needs_program("fail2ban-regex", "fail2ban")
def test_the_filter_of_the_docs_finds_the_addresses_in_the_log_and_no_others(tmp_path: Path):
    found = FILTER.search((PROJECT / "docs" / "remote-access.md").read_text(encoding="utf-8"))
    assert found is not None
    rule, log = tmp_path / "aperture.conf", tmp_path / "webserver.log"
    rule.write_text(found[2])
    head = "2026-12-02T04:44:27+0000 WARNING aperture_dagster.front_door.sign_in: "
    evil = json.dumps(EVIL[:64])
    lines = [
        f'{head}Refused a sign-in from 203.0.113.7 for "Anna": wrong password',
        f'{head}Refused a sign-in from 2001:db8:1:2::3 for {evil}: wrong password',
        f'{head}Refused a sign-in from 203.0.113.8 for "": too many codes',
        f"{head}nobody can sign in: Refused a sign-in from 10.0.0.1",
        f'{head}Refused a sign-in from unknown for "Anna": wrong password',
    ]  # fmt: skip
    log.write_text("".join(f"{line}\n" for line in lines))
    command = ["fail2ban-regex", "--out", "ip", str(log), str(rule)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS)
    assert done.stdout.split() == ["203.0.113.7", "2001:db8:1:2::3", "203.0.113.8"]


def test_the_operator_hears_once_an_hour_that_somebody_guesses(
    open_door: Callable[..., Any], inbox: Inbox, monkeypatch: pytest.MonkeyPatch
):
    # Slower than attempts are on a busy machine: otherwise none would ever have to wait.
    slower = {name: Rate(rate.free, rate.seconds / 20) for name, rate in RATES.items()}
    monkeypatch.setattr(throttles, "RATES", {**slower, "alerts": RATES["alerts"]})
    with open_door(alert_urls=inbox.url) as door:
        for number in range(11):
            sign_in(door.browser(), "Anna", f"secret {number}")
        wait_for(lambda: inbox.messages, lambda: "no message arrived")
        (message,) = inbox.take()
        assert message["title"] == "Aperture: somebody guesses passwords"
        assert '"Anna"' in message["message"] and "secret" not in message["message"]
