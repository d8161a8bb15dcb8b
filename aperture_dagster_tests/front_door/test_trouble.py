"""A media server that cannot be used is a sentence on the pages, with what the operator does, until it can be used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr

from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.front_door import trouble as troubles
from aperture_dagster.http.errors import AccessDenied, ServiceError
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster_tests.front_door.door import Door, sign_in
from aperture_dagster_tests.waiting import wait_for

WRONG_KEY = "the-wrong-key"
REFUSED, SILENT, SET_UP = "refuses this program&#39;s key", "does not answer", "as it is set up"
OF_ALL = (REFUSED, SILENT, SET_UP)


def connect(settings: Settings) -> None:
    """Connect to the media server as a run does."""
    with MediaServers(settings, Database(settings)).open():
        pass


def said(page: str) -> set[str]:
    return {one for one in OF_ALL if one in page}


def on_pages(door: Door, **headers: str) -> list[str]:
    """Return the page to sign in, and the first page of Ben."""
    return [door.browser(**headers).get("/sign-in").text, door.signed_in("Ben").get("/").text]


@pytest.mark.parametrize("server", ["jellyfin", "emby"])
def test_a_wrong_key_is_said_until_it_is_mended_and_is_nobodys_wrong_password(
    open_door: Callable[..., Any], server: str
):
    with open_door(server, media_server_api_key=WRONG_KEY, http_attempts=1) as door:
        assert [said(page) for page in on_pages(door)] == [set(), set()], "nobody has tried it yet"
        with pytest.raises(AccessDenied):
            connect(door.settings)
        for page in on_pages(door):
            assert said(page) == {REFUSED} and WRONG_KEY not in page
            assert "enters it on the page Settings, as APERTURE_MEDIA_SERVER_API_KEY" in page
        german = door.browser(**{"accept-language": "de"}).get("/sign-in").text
        assert "lehnt den Schlüssel dieses Programms ab" in german
        # Without lists, nobody is told to look again in a few minutes.
        door.home.shelf.do("DELETE FROM users")
        assert said(door.signed_in("Ben").get("/").text) == {REFUSED}
        assert "few minutes" not in door.signed_in("Ben").get("/").text
        # Passwords are still judged by the media server alone.
        assert sign_in(door.browser(), "Ben").status_code == 303
        wrong = sign_in(door.browser(), "Ben", "x")
        assert wrong.status_code == 403 and not said(wrong.text)
        right = SecretStr("demo-emby-key" if server == "emby" else "demo-jellyfin-key")
        connect(door.settings.model_copy(update={"media_server_api_key": right}))
        assert [said(page) for page in on_pages(door)] == [set(), set()]
        assert "few minutes" in door.signed_in("Ben").get("/").text


@pytest.mark.parametrize(("status", "sentence"), [(403, REFUSED), (503, SILENT)])
def test_what_passes_is_no_longer_said_although_nothing_is_restarted_and_no_job_is_due(
    open_door: Callable[..., Any], status: int, sentence: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(troubles, "ASK_SECONDS", 0.0)
    with open_door(http_attempts=1) as door:
        door.home.recommend("Ben", 2)
        ben = door.signed_in("Ben")
        fault = door.simulator.state.add_fault(FaultRule("jellyfin", "/System/Info", status=status))
        with pytest.raises(ServiceError):
            connect(door.settings)
        for _ in range(3):
            page = ben.get("/").text
            assert said(page) == {sentence} and "Heat" in page, "lists are still shown"
        door.simulator.state.remove_fault(fault)
        wait_for(lambda: not said(ben.get("/").text), "it is still said")
        assert not said(door.browser().get("/sign-in").text)


def test_a_page_that_says_so_is_made_anew_so_that_the_next_visit_asks_the_server(
    open_door: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(troubles, "ASK_SECONDS", 1000.0)
    with open_door(http_attempts=1) as door:
        counters = door.simulator.state.counters
        ben = door.signed_in("Ben")
        fault = door.simulator.state.add_fault(FaultRule("jellyfin", "/System/Info", status=503))
        with pytest.raises(ServiceError):
            connect(door.settings)
        before = counters.total("jellyfin")
        assert said(ben.get("/").text) == {SILENT}
        wait_for(lambda: counters.total("jellyfin") > before, "the server was not asked")
        # From now on nothing changes in the database, as on a quiet evening.
        wait_for(lambda: ben.get("/").text == ben.get("/").text, "the page changes all the time")
        door.simulator.state.remove_fault(fault)
        monkeypatch.setattr(troubles, "ASK_SECONDS", 0.0)
        wait_for(lambda: not said(ben.get("/").text), "it is still said")


def test_a_dry_run_and_a_single_failed_request_say_nothing(open_door: Callable[..., Any]):
    with open_door(http_attempts=1) as door:
        door.simulator.state.add_fault(FaultRule("jellyfin", "/System/Info", status=403, times=1))
        with pytest.raises(AccessDenied), MediaServers(door.settings, Database(door.settings)).open(dry_run=True):
            pass
        assert [said(page) for page in on_pages(door)] == [set(), set()]
        door.simulator.state.add_fault(FaultRule("jellyfin", "/Users", status=503, times=1))
        with pytest.raises(ServiceError), MediaServers(door.settings, Database(door.settings)).open() as server:
            server.users()
        assert [said(page) for page in on_pages(door)] == [set(), set()]
