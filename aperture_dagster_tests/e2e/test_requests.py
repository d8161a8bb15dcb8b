"""Requests through Seerr: as the user, sent once, within the week, and never what nobody wants."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import get_ident
from typing import Any

import pytest

from aperture_dagster.postgres.database import Database
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.seerr_book import Permission
from aperture_dagster_tests.e2e.requesting import FILMS, ON, requesting
from aperture_dagster_tests.household import failures
from aperture_dagster_tests.waiting import wait_for

pytestmark = pytest.mark.e2e


@pytest.fixture
def open_place(household: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    return lambda **how: requesting(household, monkeypatch, **how)


# The job


def test_the_best_suggestions_are_requested_as_each_user_and_only_so_many_a_week(open_place: Any):
    with open_place(**ON) as place:
        place.suggest("ann", *FILMS[:5])
        place.suggest("bob", FILMS[0], FILMS[5])
        place.suggest("cy", FILMS[1])
        assert place.send() == [("ann", "movie:1"), ("ann", "movie:2"), ("bob", "movie:6")]
        assert "no user on Seerr" in place.page("cy")["reasons"]
        assert place.states("ann") == {"Film 1 (2001)": "pending", "Film 2 (2002)": "pending"}
        for days in (1, 5.9):
            place.later(days=days)
            assert place.send() == []
        assert "2 requests" in place.page("ann")["reasons"]
        place.later(days=0.2)
        assert place.send() == [("ann", "movie:3"), ("ann", "movie:4")]


def test_two_at_once_send_each_request_once(open_place: Any, monkeypatch: pytest.MonkeyPatch):
    lease, waits = Database.lease, set()

    def noted(database: Database, service: str, *, waiting: Callable[[float], None], **how: Any) -> Any:
        return lease(database, service, waiting=lambda seconds: waits.add(get_ident()) or waiting(seconds), **how)

    with open_place(**ON | {"requests_per_week": 1}) as place:
        place.suggest("ann", *FILMS)

        ann = place.user("ann")

        def once(_: int) -> int:
            with place.desk() as desk:
                return len(desk.request_best(ann, place.home.settings).sent)

        with ThreadPoolExecutor(2) as pool:
            with place.desk():
                monkeypatch.setattr(Database, "lease", noted)
                runs = [pool.submit(once, number) for number in range(2)]
                wait_for(lambda: len(waits) == 2, "they do not wait for each other")
                assert place.state.counters.total("seerr") == 0, "Seerr is in use"
            assert sorted(run.result() for run in runs) == [0, 1]
        assert place.on_seerr() == [("ann", "movie:1")]


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


def test_seerr_down_fails_the_run_with_a_sentence_and_keeps_everything(open_place: Any):
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


# Sent once


# The commands


def test_a_request_by_command_shows_what_is_sent_and_asks(open_place: Any):
    with open_place() as place:
        place.suggest("ann", FILMS[0])
        place.state.seerr_user("ann", movie_quota=(5, 7))
        refused = place.command("request", "ann", "film 1", answer="n\n")
        assert refused.exit_code == 1 and place.on_seerr() == []
        for words in (
            "for ann, as ann (user 2 on Seerr)",
            "tmdb:movie:1  Film 1 (2001)",
            "5 of 5 films left in 7 days",
        ):
            assert words in refused.output
        assert "somebody approves" in refused.output
        assert place.states("ann") == {}
        sent = place.command("request", "ann", "film 1", answer="y\n")
        assert sent.exit_code == 0 and "pending" in sent.output
        assert place.on_seerr() == [("ann", "movie:1")]
        again = place.command("request", "ann", "film 1", "--yes")
        assert again.exit_code == 0 and "already" in again.output and len(place.on_seerr()) == 1
        place.decide("movie:1", "approved")
        assert "approved" in place.command("requests", "ann").output
        assert "Nothing was requested" in place.command("requests", "bob").output


def test_a_series_is_requested_as_a_whole_or_by_seasons_even_if_unknown_so_far(open_place: Any):
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


def test_requests_can_be_listed_while_seerr_is_down_and_never_show_the_key(open_place: Any):
    with open_place() as place:
        place.command("request", "ann", "tmdb:movie:1", "--yes")
        place.state.add_fault(FaultRule("seerr", status=503))
        listed = place.command("requests")
        assert listed.exit_code == 0 and "Film 1" in listed.output and "from the last check" in listed.output
        failed = place.command("request", "ann", "tmdb:movie:2", "--yes")
        assert failed.exit_code == 1 and "demo-seerr-key" not in failed.output + listed.output
