"""Ratings in step with Trakt, from the command line and the media server, by real runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from click.testing import Result

from aperture_dagster.build import all_jobs
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster_tests.e2e.commands import run_command
from aperture_dagster_tests.e2e.rating import ELSEWHERE, FILM, JOB, TWICE, Raters, rating
from aperture_dagster_tests.household import markdown_rows, materializations
from aperture_dagster_tests.sensors.runs import UNFINISHED, add_run

pytestmark = pytest.mark.e2e


@pytest.fixture
def raters(household: Callable[..., Any]) -> Callable[..., Any]:
    return partial(rating, household)


def command(place: Raters, *arguments: str) -> Result:
    """Run a command with the settings of a household, with every message on one line."""
    return run_command(place.home.settings, *arguments, columns=400)


def test_a_rating_given_on_the_command_line_is_on_trakt_after_the_sensors_tick(raters: Any):
    with raters() as place:
        place.connect("ann", "bob")
        place.sync()
        assert place.tick().skip_message == "No rating is due."
        done = command(place, "rate", "ann", "Film 1", "8")
        assert done.exit_code == 0, done.output
        assert "ann rates Film 1 (2000): 8 of 10." in done.output and "will reach Trakt within a minute" in done.output
        outside = command(place, "rate", "ann", "tmdb:movie:9", "3")
        assert outside.exit_code == 0, outside.output
        (request,) = place.tick().run_requests
        add_run(place.home.instance, JOB, UNFINISHED[0])
        assert place.tick().skip_message == f"{JOB} is running or queued."
        assert {value for name, value in request.tags.items() if "range" in name} == {"ann"}
        place.home.must(JOB, users=["ann"])
        assert place.there("ann") == {FILM: 8, ELSEWHERE: 3}
        assert place.tick().skip_message == "No rating is due."
        taken = command(place, "rate", "ann", "tmdb:movie:9", "--remove")
        assert "ann no longer rates" in taken.output
        again = command(place, "rate", "ann", "tmdb:movie:9", "--remove")
        assert again.exit_code == 0 and "has not rated" in again.output
        place.catch_up()
        place.home.must(JOB, users=["ann"])
        assert place.there("ann") == {FILM: 8}


def test_the_command_says_what_happens_next(raters: Any):
    with raters() as place:
        assert "not connected to Trakt" in command(place, "rate", "cy", "Film 1", "8").output
        place.connect("cy")
        assert "with the first sync, which may need your consent" in command(place, "rate", "cy", "Film 1", "8").output
        for change in ("removed_at = now()", "removed_at = NULL, is_disabled = true"):
            place.home.rows(f"UPDATE users SET {change} WHERE name = 'cy' RETURNING 1")
            assert "it stays here" in command(place, "rate", "cy", "Film 1", "7").output
        place.home.rows("UPDATE users SET is_disabled = false, name = 'c y' WHERE name = 'cy' RETURNING 1")
        place.home.rows("UPDATE trakt_accounts SET state = 'reconnect', trouble = 'revoked' RETURNING 1")
        assert "(`aperture trakt connect 'c y'`)" in command(place, "rate", "c y", "Film 1", "9").output
        place.home.rows("UPDATE users SET name = 'cy' WHERE name = 'c y' RETURNING 1")
        place.home.rows("UPDATE trakt_accounts SET state = 'reconnect', trouble = 'revoked' RETURNING 1")
        said = command(place, "rate", "cy", "Film 1", "9").output
        assert "It waits for Trakt: Must connect to Trakt again (`aperture trakt connect cy`): revoked." in said
        for wrong in (("11",), ("0",), ("8", "--remove"), ()):
            assert command(place, "rate", "cy", "Film 1", *wrong).exit_code == 2
        assert command(place, "rate", "cy", "Film", "8").exit_code == 1
        assert place.here("cy") == {FILM: 9}


def test_without_trakt_a_rating_reaches_the_taste_with_the_next_look_at_histories(raters: Any):
    with raters(trakt_client_id=None) as place:
        job, history = (next(one for one in _jobs(place) if one.name == name) for name in (JOB, "sync_watch_history"))
        assert "TRAKT_CLIENT_ID is not set" in (job.off_if(place.home.settings) or "")
        assert all("TRAKT_CLIENT_ID is not set" in one["note"] for one in place.sync().values())

        def recorded() -> list[str | None]:
            place.catch_up()
            made = place.home.must(history.name, users=place.home.everyone(), scheduled=True)
            return [one.partition for one in materializations(made)]

        assert recorded() == [] and history.skip_if(place.home.settings, place.clock) is not None
        assert command(place, "rate", "ann", "Film 1", "2").exit_code == 0
        assert history.skip_if(place.home.settings, place.clock) is None
        # Otherwise it was given in the second of the look.
        place.clock.moment += timedelta(minutes=1)
        assert (recorded(), recorded()) == (["ann"], [])


def test_users_with_a_connection_are_in_step_and_the_job_says_who_has_none(raters: Any):
    with raters() as place:
        (job,) = (one for one in _jobs(place) if one.name == JOB)
        assert "Nobody is connected" in (job.why_skip(place.home.instance, place.home.settings, place.clock) or "")
        place.connect("ann")
        assert job.why_skip(place.home.instance, place.home.settings, place.clock) is None
        place.state.trakt_rate("ann", FILM, 4)
        made = place.sync()
        assert (made["ann"]["pulled"], made["ann"]["ratings_here"]) == (1, 1)
        assert markdown_rows(made["ann"]["changes"]) == [{"title": "Film 1", "change": "from Trakt", "rating": "4"}]
        assert made["bob"]["note"] == "Not connected to Trakt: run `aperture trakt connect bob`."
        assert place.sync(scheduled=True) == {}, "nothing new is recorded"
        # Rated on Jellyfin without a play, until it is taken back.
        place.state.rate("ann", "movie:3", 9.0)
        place.read_server()
        place.sync()
        assert place.there("ann") == {FILM: 4, "movie:3": 9}
        place.state.rate("ann", "movie:3", None)
        place.read_server()
        place.sync()
        assert place.there("ann") == {FILM: 4}


def test_ratings_reach_every_copy_on_jellyfin_and_do_not_come_back(raters: Any):
    with raters(ratings_to_server=True) as place:
        place.connect("ann")
        place.state.trakt_rate("ann", TWICE, 8)
        place.state.trakt_rate("ann", ELSEWHERE, 8)
        place.sync()
        assert place.on_server("ann", TWICE) == [8, 8] and place.on_server("bob", TWICE) == [None, None]
        writes = _server_writes(place)
        place.read_server()
        place.sync()
        assert _server_writes(place) == writes and place.state.trakt_pushed("ann") == []
        place.state.trakt_unrate("ann", TWICE)
        place.sync()
        assert place.on_server("ann", TWICE) == [None, None]
        place.read_server()
        assert place.here("ann") == {TWICE: None, ELSEWHERE: 8}
        said = command(place, "rate", "bob", "Film 2", "7").output
        assert "Copies rated on the media server: 2." in said and place.on_server("bob", TWICE) == [7, 7]


def test_ratings_on_trakt_do_not_wait_for_the_media_server(raters: Any):
    with raters(ratings_to_server=True, http_attempts=1) as place:
        place.connect("ann")
        place.state.trakt_rate("ann", FILM, 8)
        place.state.add_fault(FaultRule("jellyfin", status=503))
        assert "Not written to the media server" in place.sync()["ann"]["note"]
        assert place.here("ann") == {FILM: 8}
        place.state.clear_faults()
        place.sync()
        assert place.on_server("ann", FILM) == [8]


def _jobs(place: Raters) -> list[Any]:
    return all_jobs(place.home.settings)


def _server_writes(place: Raters) -> int:
    return sum(
        count
        for service in ("jellyfin", "emby")
        for operation, count in place.state.counters.requests.get(service, {}).items()
        if not operation.startswith("GET")
    )
