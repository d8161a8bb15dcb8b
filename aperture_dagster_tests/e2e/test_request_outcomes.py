"""What becomes of requests on Seerr later, and what a request by command does about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import pytest

from aperture_dagster.simulator.seerr_book import Permission
from aperture_dagster_tests.e2e.requesting import FILMS, ON, SHOW, requesting
from aperture_dagster_tests.household import failures

pytestmark = pytest.mark.e2e


@pytest.fixture
def open_place(household: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    return lambda **how: requesting(household, monkeypatch, **how)


def test_nothing_is_sent_as_the_owner_while_something_removes_the_user(open_place: Any):
    with open_place(**ON) as place:
        place.suggest("ann", FILMS[0])
        place.state.seerr_loses_user(True)
        assert "X-API-User" in failures(place.run())["seerr_requests"]
        by_command = place.command("request", "ann", "Film 1", "--yes")
        assert by_command.exit_code == 1 and "Seerr's own address" in by_command.output
        assert place.on_seerr() == [] and place.states("ann") == {}
        place.state.seerr_loses_user(False)
        assert place.send() == [("ann", "movie:1")]


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


def test_missing_seasons_of_a_series_in_the_library_can_be_requested(open_place: Any):
    with open_place() as place:
        place.home.must("sync_series")
        place.state.seerr_make_available("series:10", [1])
        whole = place.command("request", "ann", "Half a show", "--yes")
        assert "in the library already" in whole.output and "--seasons" in whole.output and place.on_seerr() == []
        rest = place.command("request", "ann", "Half a show", "--seasons", "1-2", "--yes")
        assert rest.exit_code == 0, rest.output
        assert [one["seasons"] for one in place.state.seerr_requests()] == [[2]]


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
