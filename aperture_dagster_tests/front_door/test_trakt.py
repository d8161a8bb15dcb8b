"""Members connect their own account on Trakt from *My taste*, and disconnect it; nobody does so for somebody else."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from aperture_dagster.http.errors import ServiceUnavailable
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.trakt import connecting
from aperture_dagster.trakt.records import DeviceCode
from aperture_dagster.trakt.tokens import sync_lease
from aperture_dagster_tests.front_door.browsing import Browsers, browsers, hidden_fields
from aperture_dagster_tests.trakt.trakt_home import TraktHome, trakt_home


@pytest.fixture
def open_door(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """``with open_door(**settings) as (home, browser)``; Trakt may be asked as often as one likes."""

    @contextmanager
    def opened(**settings: Any) -> Iterator[tuple[TraktHome, Browsers]]:
        with trakt_home(serve, stand_ins={"trakt_device_interval": 0}, **settings) as home:
            monkeypatch.setattr("aperture_dagster.trakt.records.SHORTEST_INTERVAL", 0.0)
            with browsers(home.settings, home.clock.now) as browser:
                yield home, browser

    return opened


def form(page: str, action: str) -> dict[str, str]:
    found = re.search(rf'action="{action}">(.*?)</form>', page, re.DOTALL)
    assert found is not None, page
    return hidden_fields(found[1])


def code_on(page: str) -> str:
    found = re.search(r'class="code">([^<]+)<', page)
    assert found is not None, page
    return found[1]


def test_a_member_connects_and_disconnects_their_account(open_door: Callable[..., Any]):
    with open_door() as (home, browser):
        ben = browser("ben")
        begin = form(ben.get("/taste").text, "/trakt")
        shown = ben.post("/trakt", data=begin)
        code, confirm = code_on(shown.text), form(shown.text, "/trakt") | {"confirmed": "1"}
        assert f"/{code}" in shown.text and "csrf" in confirm
        (pending,) = home.state.trakt.pending()
        assert pending.device_code not in shown.text, "what fetches the tokens stays here"
        assert code_on(ben.post("/trakt", data=begin).text) == code, "the same code until it expires"
        early = ben.post("/trakt", data=confirm)
        assert "has not seen the code yet" in early.text and code_on(early.text) == code and home.states() == {}
        home.state.trakt_approve("ben", code)
        done = ben.post("/trakt", data=confirm)
        assert (done.status_code, done.headers["location"]) == (303, "/taste")
        assert home.states() == {"ben": "connected"} and home.look("ben") == "ben"
        page = ben.get("/taste").text
        assert "kept in step with ben on Trakt" in page and "Trakt" in browser("ada").get("/taste").text
        assert "with ben" not in browser("ada").get("/taste").text
        leave = form(page, "/trakt/disconnect")
        assert ben.post("/trakt/disconnect", data=leave).headers["location"] == "/taste" and home.states() == {}
        assert ben.post("/trakt/disconnect", data=leave).status_code == 303, "pressed twice"
        # What Trakt was not told has to be ended there.
        home.connect("ben")
        home.state.add_fault(FaultRule("trakt_auth", "/oauth/revoke", status=500))
        answer = ben.post("/trakt/disconnect", data=leave)
        assert "Trakt could not be told" in answer.text and home.states() == {}


def test_nobody_connects_or_disconnects_somebody_else(open_door: Callable[..., Any]):
    with open_door() as (home, browser):
        home.connect("ada")
        ada, ben = browser("ada"), browser("ben")
        of_ada = form(ada.get("/taste").text, "/trakt/disconnect")
        before = home.count()
        for path in ("/trakt", "/trakt/disconnect"):
            assert ben.post(path, data=of_ada).status_code == 403
        own = form(ben.get("/taste").text, "/trakt")
        assert ben.post("/trakt/disconnect", data=own | {"user": "ada", "as": "ada"}).status_code == 303
        assert home.states() == {"ada": "connected"} and home.count() == before
        # What somebody else has confirmed is theirs alone.
        shown = ben.post("/trakt", data=own).text
        home.state.trakt_approve("ada", code_on(shown))
        again, stored = form(ada.get("/taste").text, "/trakt/disconnect"), home.rows("SELECT * FROM trakt_accounts")
        assert ada.post("/trakt", data=again | {"confirmed": "1"}).headers["location"] == "/taste", "she is connected"
        assert home.rows("SELECT * FROM trakt_accounts") == stored
        # The account of somebody else here is refused without naming them.
        refused = ben.post("/trakt", data=form(shown, "/trakt") | {"confirmed": "1"})
        assert "Somebody else here uses this account" in refused.text and not re.search(r"\bada\b", refused.text)
        assert home.states() == {"ada": "connected"}


def test_a_code_that_was_refused_is_replaced_and_what_was_confirmed_waits_for_a_sync_that_does_not_end(
    open_door: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
):
    with open_door() as (home, browser):
        monkeypatch.setattr(connecting, "PATIENCE_SECONDS", -1.0)
        ben = browser("ben")
        begin = form(ben.get("/taste").text, "/trakt")
        first = code_on(ben.post("/trakt", data=begin).text)
        home.state.trakt_deny(first)
        refused = ben.post("/trakt", data=begin | {"confirmed": "1"})
        assert "refused on Trakt" in refused.text and "Show a code" in refused.text
        shown = ben.post("/trakt", data=begin).text
        assert code_on(shown) != first
        home.state.trakt_approve("ben", code_on(shown))
        confirm = form(shown, "/trakt") | {"confirmed": "1"}
        with home.database.lease(sync_lease("ben"), waiting=lambda seconds: None):
            assert "cannot be used at the moment" in ben.post("/trakt", data=confirm).text
        assert home.states() == {}
        assert ben.post("/trakt", data=confirm).status_code == 303 and home.states() == {"ben": "connected"}


def test_without_an_app_there_is_nothing_to_connect(open_door: Callable[..., Any]):
    with open_door(trakt_client_id=None) as (home, browser):
        ben = browser("ben")
        page = ben.get("/taste").text
        assert "Trakt" not in page
        csrf = re.search(r'name="csrf" value="([^"]+)"', page)
        assert csrf is not None
        assert ben.post("/trakt", data={"csrf": csrf[1]}).status_code == 404 and home.count() == 0


def test_my_taste_says_how_the_account_stands_now(open_door: Callable[..., Any]):
    with open_door() as (home, browser):
        home.connect("ben")
        ben = browser("ben")
        tomorrow = (home.clock.now() + timedelta(days=1)).isoformat()
        home.do(f"UPDATE trakt_accounts SET state = 'waiting', trouble = 'an upgrade', waits_until = '{tomorrow}'")
        page = ben.get("/taste").text
        assert "tried again once a day" in page and "/trakt/disconnect" in page
        home.connect("ben")
        home.do("UPDATE trakt_accounts SET installation_id = 'of another home'")
        page = ben.get("/taste").text
        assert "Connect again" in page and 'action="/trakt"' in page and "kept in step with" not in page


def test_while_trakt_keeps_one_member_waiting_others_are_served():
    asked, answered, served = threading.Event(), threading.Event(), []

    class Silent:
        def sign_in(self) -> Any:
            asked.set()
            assert answered.wait(20)
            raise ServiceUnavailable("late")

    class Quick:
        def sign_in(self) -> Any:
            return contextlib.nullcontext(self)

        def start(self) -> DeviceCode:
            return DeviceCode("device", "CODE", "https://trakt.example/activate", 600, 5)

    codes = connecting.Connecting()

    def wait() -> None:
        with pytest.raises(ServiceUnavailable):
            codes.step(Silent(), "ben", confirmed=False)  # pyright: ignore[reportArgumentType]

    waiting = threading.Thread(target=wait)
    waiting.start()
    try:
        assert asked.wait(20)
        other = threading.Thread(target=lambda: served.append(codes.step(Quick(), "ada", confirmed=False)))  # pyright: ignore
        other.start()
        other.join(20)
        assert [one.user_code for one in served] == ["CODE"] and waiting.is_alive()
    finally:
        answered.set()
        waiting.join(20)
