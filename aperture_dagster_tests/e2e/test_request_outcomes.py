"""What becomes of requests on Seerr later, and what a request by command does about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import pytest

from aperture_dagster.resources.seerr import RequestRefused
from aperture_dagster.simulator.seerr.records import Permission
from aperture_dagster_tests.e2e.requesting import FILMS, ON, SHOW, requesting
from aperture_dagster_tests.household import failures, run_check

pytestmark = pytest.mark.e2e


@pytest.fixture
def open_place(household: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    return lambda **how: requesting(household, monkeypatch, **how)


def test_a_request_made_as_the_owner_stops_all_further_ones_until_it_is_deleted(open_place: Any):
    with open_place(**ON, requests_per_week=1) as place:
        place.suggest("ann", *FILMS[:3])
        place.suggest("bob", *FILMS[3:])
        place.state.seerr_loses_user(True)
        assert "X-API-User" in failures(place.run())["seerr_requests"]
        assert place.on_seerr() == [("owner", "movie:1")]
        assert place.states("ann") == {"Film 1 (2001)": "misattributed"}
        for days in (1, 8):
            place.later(days=days)
            assert place.send() == []
            for user in ("ann", "bob"):
                assert (
                    "request 1" in place.page(user)["reasons"] and "APERTURE_SEERR_URL" in place.page(user)["reasons"]
                )
        assert "delete them" in (run_check(place.home, "seerr_requests", "were_answered").description or "")
        assert "misattributed. Nothing was sent" in place.command("request", "ann", "Film 1", "--yes").output
        assert "delete these" in place.command("request", "bob", "Film 4", answer="n\n").output
        place.state.seerr_loses_user(False)
        assert place.send() == [], "it is still there"
        place.state.seerr_delete(1)
        assert "X-API-User" not in place.command("requests").output
        assert place.send() == [("ann", "movie:1"), ("bob", "movie:4")]


@pytest.mark.nightly(
    reason="A whole household and its runs, for what the part beneath shows alone.",
    instead="defs/test_what_may_be_requested.py::test_the_week_of_a_user_counts_what_the_job_may_have_created",
)
def test_a_misattributed_request_that_fills_the_week_counts(open_place: Any):
    with open_place(**ON, requests_per_week=1) as place:
        place.suggest("ann", *FILMS[:2])
        place.state.seerr_loses_user(True)
        assert not place.run("ann").success
        place.state.seerr_loses_user(False)
        # Given to ann on Seerr, instead of deleted.
        place.state.seerr.requests[1].requested_by = place.state.seerr.user_named("ann")
        assert place.send() == [] and place.states("ann") == {"Film 1 (2001)": "approved"}
        assert "This week's limit of 1 request has been reached" in place.page("ann")["reasons"]


def test_what_changes_before_the_answer_is_shown_and_asked_again(open_place: Any, monkeypatch: pytest.MonkeyPatch):
    with open_place() as place:
        place.suggest("bob", SHOW)
        place.state.seerr_user("bob", permissions=Permission.REQUEST)
        asked: list[int] = []

        def answer(*_: Any, **__: Any) -> bool:
            asked.append(len(place.on_seerr()))
            if len(asked) == 1:
                place.state.seerr_user("bob", permissions=Permission.REQUEST | Permission.AUTO_APPROVE)
            return True

        monkeypatch.setattr(click, "confirm", answer)
        result = place.command("request", "bob", "Show")
        assert asked == [0, 0] and result.exit_code == 0
        waits, changed, at_once = (
            result.output.index(text) for text in ("waits on Seerr", "has changed", "approved at once")
        )
        assert waits < changed < at_once and place.on_seerr() == [("bob", "series:8")]


def test_missing_seasons_of_a_series_in_the_library_can_be_requested(open_place: Any):
    with open_place() as place:
        place.home.must("sync_series")
        place.state.seerr_make_available("series:10", [1])
        whole = place.command("request", "ann", "Half a show", "--yes")
        assert "in the library already" in whole.output and "--seasons" in whole.output and place.on_seerr() == []
        rest = place.command("request", "ann", "Half a show", "--seasons", "1-2", "--yes")
        assert rest.exit_code == 0, rest.output
        assert [one["seasons"] for one in place.state.seerr_requests()] == [[2]]


@pytest.mark.parametrize("first_state", ["declined", "approved"])
def test_what_is_known_of_an_earlier_request_outlives_the_refusal_of_a_repeat(open_place: Any, first_state: str):
    with open_place() as place:
        place.suggest("ann", FILMS[0])
        place.command("request", "ann", "Film 1", "--yes")
        with place.desk() as desk:
            ann = place.user("ann")
            place.decide("movie:1", "declined")
            desk.read_back(ann, desk.account_of(ann))
            again = desk.plan(desk.account_of(ann), place.works["movie:1"], "movie", 1, "Film 1")
            place.state.seerr_mark("movie:1", "blocklisted")
            if first_state == "approved":
                place.home.rows(
                    "UPDATE seerr_requests SET state = 'approved' WHERE user_id = :ann RETURNING 1", ann=ann.user_id
                )
            with pytest.raises(RequestRefused):
                desk.send(ann, again)
        assert set(place.states("ann").values()) == {first_state}


def test_states_change_after_a_request_was_completed_or_declined(open_place: Any):
    with open_place(**ON, requests_per_week=5) as place:
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


def test_requests_of_users_who_left_are_not_asked_about(open_place: Any):
    with open_place() as place:
        place.suggest("bob", *FILMS[:2])
        place.command("request", "bob", "Film 1", "--yes")
        place.note("bob", FILMS[1], "sending", requested_at="2026-05-01")
        assert not run_check(place.home, "seerr_requests", "were_answered").passed
        place.home.rows("UPDATE users SET removed_at = now() WHERE name = 'bob' RETURNING 1")
        asked = place.state.counters.total("seerr")
        listed = place.command("requests")
        assert "pending" in listed.output and place.state.counters.total("seerr") == asked
        assert run_check(place.home, "seerr_requests", "were_answered").passed


def test_a_failed_request_is_retried_on_seerr(open_place: Any):
    with open_place() as place:
        place.command("request", "ann", "tmdb:movie:1", "--yes")
        place.decide("movie:1", "failed")
        again = place.command("request", "ann", "tmdb:movie:1", "--yes")
        assert "Retry it on Seerr" in again.output and len(place.on_seerr()) == 1
