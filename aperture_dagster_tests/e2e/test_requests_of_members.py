"""Members request what is suggested to them: as themselves, once they have seen what is sent, and only once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.testclient import TestClient

from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.seerr_book import Permission
from aperture_dagster_tests.e2e.requesting import FILMS, SHOW, Requesting, requesting
from aperture_dagster_tests.front_door.browsing import Browsers, browsers, hidden_fields, press, token
from aperture_dagster_tests.front_door.test_pages import titles

pytestmark = pytest.mark.e2e


@pytest.fixture
def open_door(household: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """``with open_door(**settings) as (place, browser)``: ``browser`` takes the name of a member."""

    @contextmanager
    def opened(**settings: Any) -> Iterator[tuple[Requesting, Browsers]]:
        with (
            requesting(household, monkeypatch, **settings) as place,
            browsers(place.home.settings, lambda: place.clock.moment) as found,
        ):
            yield place, lambda name: found(place.user(name).user_id)

    return opened


def plan(page: str) -> dict[str, str]:
    """Return what the form on the page of a request would send."""
    found = re.search(r'name="plan" value="(\w+)"', page)
    assert found is not None, page
    return hidden_fields(page.partition('action="/request"')[2].partition("</form>")[0]) | {"plan": found[1]}


def test_a_member_sees_what_is_sent_and_then_sends_it_as_themselves(open_door: Callable[..., Any]):
    with open_door() as (place, browser):
        place.suggest("bob", FILMS[0], SHOW)
        place.state.seerr_user("bob", permissions=Permission.REQUEST)
        bob = browser("bob")
        shown = press(bob, "/suggestions", "Show", "Request")
        assert shown.status_code == 200 and "all 3 without specials (1, 2, 3)" in shown.text
        assert "waits on Seerr until somebody approves it" in shown.text and "<dd>bob</dd>" in shown.text
        assert place.on_seerr() == [] and place.states("bob") == {}, "nothing is sent by looking"
        sent = bob.post("/request", data=plan(shown.text))
        assert (sent.status_code, sent.headers["location"]) == (303, "/suggestions")
        assert place.on_seerr() == [("bob", "series:8")]
        page = bob.get("/suggestions").text
        assert "Requested" in page and "May 17, 2026: waits for approval" in page
        assert "Request: Show (2010)" not in page, "what was requested has no button of its own"
        assert bob.post("/request", data=plan(shown.text)).status_code == 200, "a form that is sent again"
        assert place.on_seerr() == [("bob", "series:8")]


def test_a_form_that_is_sent_twice_at_once_requests_once(open_door: Callable[..., Any]):
    with open_door() as (place, browser):
        place.suggest("bob", FILMS[0])
        bob = browser("bob")
        form = plan(press(bob, "/suggestions", "Film 1", "Request").text)
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda _: bob.post("/request", data=form), range(2)))
        assert sorted(one.status_code for one in answers) == [200, 303]
        assert place.on_seerr() == [("bob", "movie:1")]


def test_what_changed_since_a_member_looked_is_not_sent(open_door: Callable[..., Any]):
    with open_door() as (place, browser):
        place.suggest("bob", SHOW)
        place.state.seerr_user("bob", permissions=Permission.REQUEST)
        bob = browser("bob")
        form = plan(press(bob, "/suggestions", "Show", "Request").text)
        place.state.seerr_user("bob", permissions=Permission.REQUEST | Permission.AUTO_APPROVE)
        again = bob.post("/request", data=form)
        assert "has changed on Seerr" in again.text and "approved at once" in again.text and place.on_seerr() == []
        for wrong in ("", "é", "x" * 400):
            assert bob.post("/request", data=form | {"plan": wrong}).status_code == 200
        assert place.on_seerr() == []
        assert bob.post("/request", data=plan(again.text)).status_code == 303
        assert place.on_seerr() == [("bob", "series:8")]


def test_who_may_not_request_is_told_why_and_nothing_is_sent(open_door: Callable[..., Any]):
    with open_door() as (place, browser):
        for user in ("bob", "cy"):
            place.suggest(user, FILMS[0])
        place.state.seerr_user("bob", permissions=0)
        refused = press(browser("bob"), "/suggestions", "Film 1", "Request")
        assert "bob may not request films on Seerr." in refused.text and 'name="plan"' not in refused.text
        german = browser("bob")
        german.cookies.set("aperture_language", "de")
        refused = press(german, "/suggestions", "Film 1", "Anfragen")
        assert "bob darf bei Seerr keine Filme anfragen." in refused.text
        stranger = press(browser("cy"), "/suggestions", "Film 1", "Request")
        assert "no account on Seerr" in stranger.text and 'name="plan"' not in stranger.text
        place.state.seerr_user("bob", permissions=Permission.REQUEST)
        bob = browser("bob")
        form = plan(press(bob, "/suggestions", "Film 1", "Request").text)
        shown = press(german, "/suggestions", "Film 1", "Anfragen").text
        assert "wartet bei Seerr auf die Freigabe" in shown and "waits on Seerr" not in shown
        assert plan(shown)["plan"] == form["plan"], "the same request in any language"
        place.state.add_fault(FaultRule("seerr", "/api/v1", status=503))
        silent = bob.post("/request", data=form)
        assert silent.status_code == 200 and "no usable answer" in silent.text and "503" not in silent.text
        place.state.clear_faults()
        assert place.on_seerr() == []


def test_nobody_requests_for_somebody_else_or_what_is_not_suggested_to_them(open_door: Callable[..., Any]):
    with open_door() as (place, browser):
        place.suggest("ann", FILMS[0], FILMS[1])
        place.suggest("bob", FILMS[1])
        ann, bob = browser("ann"), browser("bob")
        of_ann = plan(press(ann, "/suggestions", "Film 2", "Request").text)
        before = place.state.counters.total("seerr")
        assert bob.post("/request", data=of_ann).status_code == 403, "the form of somebody else"
        assert bob.post("/request", data=of_ann | {"csrf": ""}).status_code == 403
        assert TestClient(bob.app).post("/request", data=of_ann).status_code == 403
        own = place.home.value("SELECT min(work_id) FROM titles")
        for work in (of_ann["work"] + "0", place.works["movie:1"], own, "", "-1", "x", 2**63):
            answer = bob.post("/request", data={"csrf": token(bob), "work": work, "plan": of_ann["plan"]})
            assert answer.status_code == 404, work
        place.home.rows("UPDATE users SET max_parental_rating = 6 WHERE name = 'bob' RETURNING 1")
        hidden = bob.post("/request", data={"csrf": token(bob), "work": place.works["movie:2"]})
        assert hidden.status_code == 404, "what a member may not see by now"
        assert place.state.counters.total("seerr") == before and place.on_seerr() == []
        forged = bob.post("/request", data={"csrf": token(bob), "work": place.works["movie:2"], "as": "ann"})
        assert forged.status_code == 404 and bob.get("/request").status_code == 405


def test_a_request_that_a_member_may_not_see_by_now_is_not_shown(open_door: Callable[..., Any]):
    with open_door() as (place, browser):
        place.suggest("bob", FILMS[0])
        bob = browser("bob")
        bob.post("/request", data=plan(press(bob, "/suggestions", "Film 1", "Request").text))
        assert "Film 1 (2001)" in titles(bob.get("/suggestions").text)
        place.home.rows("UPDATE users SET max_parental_rating = 6 WHERE name = 'bob' RETURNING 1")
        assert titles(bob.get("/suggestions").text) == []


def test_without_seerr_nothing_can_be_requested(open_door: Callable[..., Any]):
    with open_door(seerr_url=None) as (place, browser):
        place.suggest("bob", FILMS[0])
        bob = browser("bob")
        assert "Request" not in bob.get("/suggestions").text
        assert bob.post("/request", data={"csrf": token(bob), "work": place.works["movie:1"]}).status_code == 404
