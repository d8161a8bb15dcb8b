"""Requests through Seerr: as the user, sent once, within the week, and never what nobody wants."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import click
import pytest
from starlette.testclient import TestClient

from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.seerr_book import Permission
from aperture_dagster_tests.e2e.requesting import FILMS, ON, SHOW, Requesting, requesting
from aperture_dagster_tests.front_door.browsing import Browsers, browsers, hidden_fields, press, token
from aperture_dagster_tests.household import failures

pytestmark = pytest.mark.e2e


@pytest.fixture
def open_place(household: Callable[..., Any]) -> Callable[..., Any]:
    return partial(requesting, household)


# The job


def test_the_best_suggestions_are_requested_as_each_user_and_only_so_many_a_week(open_place: Any):
    with open_place(**ON) as place:
        place.suggest("ann", *FILMS[:5])
        place.suggest("bob", FILMS[0], FILMS[5])
        place.suggest("cy", FILMS[1])
        # Something on the way removes the user: nothing is sent as the owner.
        place.state.seerr_loses_user(True)
        assert "X-API-User" in failures(place.run())["seerr_requests"]
        by_command = place.command("request", "ann", "Film 1", "--yes")
        assert by_command.exit_code == 1 and "Seerr's own address" in by_command.output
        assert place.on_seerr() == [] and place.states("ann") == {}
        place.state.seerr_loses_user(False)
        assert place.send() == [("ann", "movie:1"), ("ann", "movie:2"), ("bob", "movie:6")]
        assert "no user on Seerr" in place.page("cy")["reasons"]
        assert place.states("ann") == {"Film 1 (2001)": "pending", "Film 2 (2002)": "pending"}
        for days in (1, 5.9):
            place.later(days=days)
            assert place.send() == []
        assert "2 requests" in place.page("ann")["reasons"]
        place.later(days=0.2)
        assert place.send() == [("ann", "movie:3"), ("ann", "movie:4")]


def test_one_users_refusal_costs_only_that_user_and_nothing_of_theirs(open_place: Any):
    with open_place(**ON) as place:
        place.suggest("ann", FILMS[0])
        place.suggest("bob", FILMS[1])
        place.state.seerr_user("ann", permissions=0)
        assert place.send() == [("bob", "movie:2")]
        assert "may not request films" in place.page("ann")["reasons"]
        place.state.seerr_user("ann", permissions=Permission.REQUEST)
        # Something that only this user meets, and nobody foresaw.
        place.state.add_fault(FaultRule("seerr", "/api/v1/request", status=403, times=1))
        place.suggest("cy", FILMS[2])
        place.state.seerr_import("cy")
        result = place.run()
        assert "1 of 3 users" in failures(result)["seerr_requests"]
        assert place.on_seerr() == [("bob", "movie:2"), ("cy", "movie:3")]
        assert place.send() == [("ann", "movie:1")], "the title was not used up"


def test_seerr_down_fails_the_run_with_a_sentence_and_keeps_everything_which_can_be_listed(open_place: Any):
    with open_place(**ON) as place:
        place.suggest("ann", FILMS[0])
        place.send()
        tables = place.home.snapshot()
        place.state.add_fault(FaultRule("seerr", status=503))
        result = place.run()
        assert not result.success
        message = failures(result)["seerr_requests"]
        assert "Seerr" in message and "kept" in message
        assert place.home.snapshot() == tables
        listed = place.command("requests")
        assert listed.exit_code == 0 and "Film 1" in listed.output and "from the last check" in listed.output
        failed = place.command("request", "ann", "tmdb:movie:2", "--yes")
        assert failed.exit_code == 1 and "demo-seerr-key" not in failed.output + listed.output + message


def test_states_change_after_a_request_was_completed_or_declined(open_place: Any):
    with open_place(requests_per_week=5) as place:
        place.suggest("ann", *FILMS[:2], SHOW)
        assert len(place.send()) == 3
        place.state.seerr_make_available("series:8", [1, 2])
        show, declined = place.state.seerr.requests[3], place.state.seerr.requests[1]
        assert declined.media.key == "movie:1"
        place.decide("series:8", "approved")
        show.seasons = dict.fromkeys([1, 2], show.status)
        place.state.seerr_make_available("series:8", [1, 2])
        place.decide("movie:1", "declined")
        place.send()
        assert place.states("ann")["Show (2010)"] == "completed"
        assert place.states("ann")["Film 1 (2001)"] == "declined"
        place.later(days=20)
        place.state.seerr_make_available("series:8")
        place.decide("movie:1", "approved")
        place.send()
        assert place.states("ann")["Show (2010)"] == "available"
        assert place.states("ann")["Film 1 (2001)"] == "approved"


def test_a_request_that_seerr_has_deleted_counts_as_declined_and_says_what_may_be_wrong(open_place: Any):
    with open_place(**ON) as place:
        place.suggest("ann", SHOW)
        assert len(place.send()) == 1
        place.state.seerr.requests.clear()
        place.send()
        assert place.states("ann") == {"Show (2010)": "declined"} and place.on_seerr() == []
        assert "TheTVDB lacks the series" in " ".join(place.command("requests").output.split())


# The commands


def test_a_request_by_command_shows_what_is_sent_and_asks(open_place: Any):
    with open_place() as place:
        place.suggest("ann", FILMS[0])
        place.state.seerr_user("ann", movie_quota=(5, 7))
        refused = place.command("request", "ann", "film 1", answer="n\n")
        assert refused.exit_code == 1 and place.on_seerr() == []
        for words in (
            "for ann, as ann (user 2",
            "tmdb:movie:1  Film 1 (2001)",
            "5 of 5 films left",
            "somebody approves",
        ):
            assert words in refused.output
        assert place.states("ann") == {}
        sent = place.command("request", "ann", "film 1", answer="y\n")
        assert sent.exit_code == 0 and "pending" in sent.output
        assert place.on_seerr() == [("ann", "movie:1")]
        again = place.command("request", "ann", "film 1", "--yes")
        assert again.exit_code == 0 and "already" in again.output and len(place.on_seerr()) == 1
        place.decide("movie:1", "approved")
        assert "approved" in place.command("requests", "ann").output
        assert "Nothing was requested" in place.command("requests", "bob").output


def test_a_series_is_requested_as_a_whole_or_by_seasons_whether_unknown_so_far_or_in_the_library(open_place: Any):
    with open_place() as place:
        place.state.seerr_user("bob", permissions=Permission.REQUEST | Permission.AUTO_APPROVE)
        some = place.command("request", "bob", "tmdb:tv:8", "--seasons", "1,3", "--yes")
        assert some.exit_code == 0, some.output
        assert "Show" in some.output and "1, 3" in some.output and "approved at once" in some.output
        rest = place.command("request", "bob", "tmdb:series:8", "--yes")
        assert rest.exit_code == 0, rest.output
        assert [one["seasons"] for one in place.state.seerr_requests()] == [[1, 3], [2]]
        none = place.command("request", "bob", "tmdb:series:8", "--yes")
        assert none.exit_code == 0 and "No season" in none.output
        assert place.command("request", "bob", "tmdb:series:8", "--seasons", "0").exit_code == 2
        # Of one in the library, what is missing.
        place.home.must("sync_series")
        place.state.seerr_make_available("series:10", [1])
        whole = place.command("request", "ann", "Half a show", "--yes")
        assert "in the library already" in whole.output and "--seasons" in whole.output
        rest = place.command("request", "ann", "Half a show", "--seasons", "1-2", "--yes")
        assert rest.exit_code == 0, rest.output
        assert [one["seasons"] for one in place.state.seerr_requests()][2:] == [[2]]


def test_what_changes_before_the_answer_is_not_sent(open_place: Any, monkeypatch: pytest.MonkeyPatch):
    with open_place() as place:
        place.suggest("bob", SHOW)
        place.state.seerr_user("bob", permissions=Permission.REQUEST)

        def answer(*_: Any, **__: Any) -> bool:
            place.state.seerr_user("bob", permissions=Permission.REQUEST | Permission.AUTO_APPROVE)
            return True

        monkeypatch.setattr(click, "confirm", answer)
        result = place.command("request", "bob", "Show")
        assert result.exit_code == 1 and "waits on Seerr" in result.output and "has changed" in result.output
        assert place.on_seerr() == []
        again = place.command("request", "bob", "Show")
        assert "approved at once" in again.output and place.on_seerr() == [("bob", "series:8")]


# Members: as themselves, once they have seen what is sent, and only once


@pytest.fixture
def open_door(household: Callable[..., Any]) -> Callable[..., Any]:
    """``with open_door(**settings) as (place, browser)``: ``browser`` takes the name of a member."""

    @contextmanager
    def opened(**settings: Any) -> Iterator[tuple[Requesting, Browsers]]:
        with (
            requesting(household, **settings) as place,
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


def test_nobody_requests_for_somebody_else_or_what_they_cannot_find(open_door: Callable[..., Any]):
    with open_door() as (place, browser):
        place.suggest("ann", FILMS[0], FILMS[1])
        place.suggest("bob", FILMS[1])
        ann, bob = browser("ann"), browser("bob")
        of_ann = plan(press(ann, "/suggestions", "Film 2", "Request").text)
        before = place.state.counters.total("seerr")
        place.home.rows("UPDATE discovery_pool SET is_adult = true WHERE title = 'Film 1' RETURNING 1")
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


def test_what_a_member_finds_can_be_requested_although_it_was_suggested_to_somebody_else(
    open_door: Callable[..., Any],
):
    with open_door() as (place, browser):
        place.suggest("ann", FILMS[0])
        place.state.seerr_user("bob", permissions=Permission.REQUEST)
        bob = browser("bob")
        assert "Film 1" not in bob.get("/suggestions").text
        sent = bob.post("/request", data=plan(press(bob, "/find?q=film+1", "Film 1", "Request").text))
        assert (sent.status_code, sent.headers["location"]) == (303, "/find?q=film+1")
        assert place.on_seerr() == [("bob", "movie:1")]
        assert "Film 1" not in bob.get("/find?q=film+1").text.partition("<main")[2].partition("<h2")[2]
        assert bob.get(f"/titles/{place.works['movie:1']}").status_code == 200, "the page that it was on is still there"


def test_without_seerr_nothing_can_be_requested(open_door: Callable[..., Any]):
    with open_door(seerr_url=None) as (place, browser):
        place.suggest("bob", FILMS[0])
        bob = browser("bob")
        assert "Request" not in bob.get("/suggestions").text
        assert bob.post("/request", data={"csrf": token(bob), "work": place.works["movie:1"]}).status_code == 404
