"""Ratings in step with Trakt, from the command line and the media server, by real runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pydantic import SecretStr

from aperture_dagster.build import build_definitions
from aperture_dagster.catalogue import histories
from aperture_dagster.cli.main import main
from aperture_dagster.defs.users import VERSION_TAG
from aperture_dagster.settings import Settings, environment_names, load_settings
from aperture_dagster.simulator.faults import FaultRule
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import Play, World, WorldUser
from aperture_dagster_tests.e2e.rating import (
    ELSEWHERE,
    FILM,
    JOB,
    TITLES,
    TRAKT,
    TWICE,
    USERS,
    Raters,
)
from aperture_dagster_tests.household import (
    Household,
    SetClock,
    failures,
    markdown_rows,
    materializations,
    metadata_of,
    run_check,
)
from aperture_dagster_tests.marks import ANOTHER_CASE
from aperture_dagster_tests.sensors.runs import UNFINISHED, add_run

pytestmark = pytest.mark.e2e


@pytest.fixture
def raters(household: Callable[..., Any]) -> Callable[..., Any]:
    @contextmanager
    def living(**overrides: Any) -> Iterator[Raters]:
        now = datetime.now(UTC).replace(microsecond=0)
        clock = SetClock(now)
        plays = [Play(user, FILM, now - timedelta(days=9)) for user in USERS]
        world = World("rated", TITLES, [WorldUser(one) for one in USERS], plays)
        stand_ins = SimulatorSettings(trakt_writes=(1000, 1.0), trakt_unknown_share=0.0, trakt_missing_ids_share=0.0)
        with household(world, parts={"clock": clock}, stand_ins=stand_ins, **TRAKT | overrides) as (simulator, home):
            settings = home.settings
            given = {name: getattr(settings, name) for name in settings.model_fields_set}
            urls = {"trakt_url": simulator.trakt_url, "trakt_auth_url": simulator.trakt_auth_url}
            home = Household(load_settings(**given | urls), home.instance, clock=clock)
            yield Raters(simulator, home, clock)

    return living


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command with the settings of a household."""

    def run(place: Raters, *arguments: str) -> Result:
        settings: Settings = place.home.settings
        with monkeypatch.context() as patched:
            for name in settings.model_fields_set:
                value = getattr(settings, name)
                text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
                patched.setenv(environment_names(name)[0], text)
            # Wide enough for every message on one line.
            patched.setenv("COLUMNS", "400")
            return CliRunner().invoke(main, list(arguments))

    return run


def test_a_rating_given_on_the_command_line_is_on_trakt_after_the_sensors_tick(
    raters: Any, command: Callable[..., Result]
):
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


def test_the_command_says_what_happens_next(raters: Any, command: Callable[..., Result]):
    with raters() as place:
        assert "not connected to Trakt" in command(place, "rate", "cy", "Film 1", "8").output
        place.connect("cy")
        assert "with the first sync, which may need your consent" in command(place, "rate", "cy", "Film 1", "8").output
        for change in ("removed_at = now()", "removed_at = NULL, is_disabled = true"):
            place.home.rows(f"UPDATE users SET {change} WHERE name = 'cy' RETURNING 1")
            assert "it stays here" in command(place, "rate", "cy", "Film 1", "7").output
        place.home.rows("UPDATE users SET is_disabled = false, name = 'c y' WHERE name = 'cy' RETURNING 1")
        place.home.rows("UPDATE trakt_accounts SET state = 'reconnect', trouble = 'revoked' RETURNING 1")
        assert "Run `aperture trakt connect 'c y'`." in command(place, "rate", "c y", "Film 1", "9").output
        place.home.rows("UPDATE users SET name = 'cy' WHERE name = 'c y' RETURNING 1")
        place.home.rows("UPDATE trakt_accounts SET state = 'reconnect', trouble = 'revoked' RETURNING 1")
        said = command(place, "rate", "cy", "Film 1", "9").output
        assert "It waits for Trakt: revoked. Run `aperture trakt connect cy`." in said
        for wrong in (("11",), ("0",), ("8", "--remove"), ()):
            assert command(place, "rate", "cy", "Film 1", *wrong).exit_code == 2
        assert command(place, "rate", "cy", "Film", "8").exit_code == 1
        assert place.here("cy") == {FILM: 9}


def test_without_trakt_a_rating_reaches_the_taste_with_the_next_look_at_histories(
    raters: Any, command: Callable[..., Result]
):
    with raters(trakt_client_id=None) as place:
        history = next(one for one in _jobs(place) if one.name == "sync_watch_history")

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


@pytest.mark.nightly(
    reason="A whole household and its runs, for what the part beneath shows alone.",
    instead="sensors/test_ratings_outbox.py::test_ratings_of_who_is_not_connected_or_has_left_start_nothing",
)
def test_the_sensor_looks_at_nothing_unless_somebody_is_connected(raters: Any, settings: Settings):
    without = build_definitions(settings).get_repository_def()
    assert "ratings_outbox_sensor" not in {one.name for one in without.sensor_defs}
    with raters() as place:
        message = "Nobody is connected to Trakt, or Trakt is paused."
        assert place.tick().skip_message == message
        place.connect("ann")
        place.home.rows(
            "INSERT INTO rating_outbox (user_id, work_id, rating, rated_at, queued_at, due_at) "
            "SELECT user_id, 1, 8, now(), now(), now() - interval '1 hour' FROM users RETURNING 1"
        )
        (request,) = place.tick().run_requests
        assert request.tags["dagster/asset_partition_range_end"] == "ann", "the others are not connected"
        place.home.rows("UPDATE trakt_accounts SET state = 'reconnect' RETURNING 1")
        assert place.tick().skip_message == message


def test_users_without_a_connection_are_left_out_and_the_job_says_so(raters: Any):
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
    with raters(trakt_client_id=None) as place:
        assert "TRAKT_CLIENT_ID is not set" in (job.off_if(place.home.settings) or "")
        assert all("TRAKT_CLIENT_ID is not set" in one["note"] for one in place.sync().values())


@pytest.mark.nightly(
    reason="A whole household and its runs, for what the part beneath shows alone.",
    instead="sources/test_trakt_accounts.py::test_a_user_who_revoked_the_access_must_connect_again_and_the_others_go_on",
)
def test_a_user_who_must_connect_again_is_named_and_the_others_go_on(raters: Any):
    with raters() as place:
        place.connect("ann", "bob")
        place.sync()
        place.state.trakt_invalidate("ann")
        place.state.trakt_rate("bob", FILM, 4)
        place.state.trakt_rate("ann", FILM, 4)
        result = place.home.run(JOB, users=place.home.everyone())
        assert not result.success
        assert "1 of 3 users" in failures(result)["trakt_ratings"] and "ann" in failures(result)["trakt_ratings"]
        assert place.here("bob") == {FILM: 4}
        made = place.sync()
        assert "Must connect to Trakt again" in made["ann"]["note"] and "note" not in made["bob"]
        check = run_check(place.home, "trakt_ratings", "have_working_connections")
        assert not check.passed and (check.description or "").startswith("ann: ")
        assert (check.description or "").endswith(". Run `aperture trakt connect ann`.")


@pytest.mark.nightly(
    reason="A whole household and its runs, for what the part beneath shows alone.",
    instead="sources/test_trakt_connections.py::test_a_session_that_was_opened_before_does_not_use_the_former_account",
)
@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(
            "before",
            marks=ANOTHER_CASE,
        ),
        "during",
    ],
)
def test_a_user_who_disconnects_during_a_run_costs_nobody_else(raters: Any, moment: str):
    with raters() as place:
        place.connect(*USERS)
        place.sync()
        for user in ("bob", "cy"):
            place.state.trakt_rate(user, FILM, 4)
        place.state.reset_counters()
        # Bob leaves during the only request for ann, or during the first one for himself.
        requests = 1 if moment == "before" else 2
        place.state.add_fault(FaultRule("trakt", kind="slow", delay_seconds=0.6, times=1, after=requests - 1))

        def leave() -> None:
            deadline = time.monotonic() + 240
            while place.state.counters.total("trakt", "") < requests and time.monotonic() < deadline:
                time.sleep(0.01)
            if moment == "before":
                place.trakt.disconnect(place.ids["bob"])
            else:
                place.home.rows("DELETE FROM trakt_accounts WHERE user_id = :user RETURNING 1", user=place.ids["bob"])

        with ThreadPoolExecutor() as pool:
            leaving = pool.submit(leave)
            result = place.home.run(JOB, users=place.home.everyone())
            leaving.result(60)
        assert place.here("cy") == {FILM: 4}
        assert result.success == (moment == "before")
        if moment == "before":
            assert "Not connected" in metadata_of(result, "trakt_ratings", "bob")["note"]
        else:
            assert "1 of 3 users" in failures(result)["trakt_ratings"]


@pytest.mark.nightly(
    reason="A whole household and its runs, for what the part beneath shows alone.",
    instead="defs/test_checks_of_lists.py::test_a_check_fails_for_its_reason_and_passes_otherwise",
)
def test_ratings_that_wait_for_more_than_a_day_are_named(raters: Any):
    with raters() as place:
        place.connect("ann")
        place.sync()
        name = ("trakt_ratings", "reach_trakt_within_a_day")
        place.state.rate("ann", FILM, 8)
        place.read_server()
        place.state.add_fault(FaultRule(service="trakt", status=503))
        assert not place.home.run(JOB, users=["ann"]).success
        assert run_check(place.home, *name).passed
        place.clock.moment += timedelta(hours=25)
        found = run_check(place.home, *name)
        assert not found.passed and "1 ratings have waited" in (found.description or "")
        place.state.clear_faults()
        place.sync()
        assert run_check(place.home, *name).passed and place.there("ann") == {FILM: 8}


def test_a_run_shows_what_it_holds_back_records_the_rest_and_accepts_what_an_earlier_one_held(raters: Any):
    with raters() as place:
        place.connect("ann", "bob")
        for key in (FILM, "movie:3", "movie:4"):
            place.state.trakt_rate("ann", key, 8)
        before = place.sync()["ann"]["version"]
        for key in (FILM, "movie:3", "movie:4"):
            place.state.trakt_unrate("ann", key)
        place.state.trakt_rate("ann", TWICE, 3)
        place.state.trakt_rate("bob", TWICE, 4)
        accepted = {"trakt_ratings": {"accept_removals": True}}
        for config in (accepted, None):
            result = place.home.run(JOB, users=place.home.everyone(), config=config)
            said = failures(result)["trakt_ratings"]
            assert "of ann's 3 ratings" in said and "`aperture trakt removals ann`" in said, "nothing was held before"
        assert place.here("ann")[TWICE] == 3 and place.here("bob") == {TWICE: 4}
        (made,) = (one for one in materializations(result) if one.partition == "ann")
        shown = metadata_of(result, "trakt_ratings", "ann")
        assert (made.tags or {})[VERSION_TAG] != before and shown["held"] == 3
        rows = markdown_rows(shown["held_removals"])
        assert {row["title"] for row in rows} == {"Film 1 (2000)", "Film 3 (2000)", "Film 4 (2000)"} and rows[0][
            "removed on"
        ] == "Trakt"
        made = place.sync(accept_removals=True)
        assert (made["ann"]["removed"], made["ann"]["held"]) == (3, 0)
        assert {key: value for key, value in place.here("ann").items() if value} == {TWICE: 3}


@pytest.mark.nightly(
    reason="Another household for what the code beneath shows alone.",
    instead="sensors/test_ratings_outbox.py::test_a_failure_is_followed_by_ten_minutes_of_rest_also_after_a_restart",
)
def test_after_a_failure_the_sensor_waits(raters: Any, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any, **__: Any) -> None:
        raise KeyError

    with raters() as place:
        place.connect("ann")
        place.state.rate("ann", FILM, 8)
        place.read_server()
        assert place.tick().run_requests
        with monkeypatch.context() as patched:
            patched.setattr("aperture_dagster.sources.trakt_ratings.merge_ratings", fail)
            assert not place.home.run(JOB, users=["ann"]).success
        place.home.rows("UPDATE rating_outbox SET due_at = now() - interval '1 hour' RETURNING 1")
        assert "failed" in place.tick().skip_message
        place.clock.moment += timedelta(minutes=11)
        assert place.tick().run_requests


def test_the_data_version_changes_with_the_ratings_alone(raters: Any):
    with raters() as place:
        place.connect("ann")
        first = place.sync()["ann"]["version"]
        assert place.sync()["ann"]["version"] == first
        place.state.trakt_rate("ann", FILM, 4)
        second = place.sync()["ann"]["version"]
        assert second != first and place.sync()["ann"]["version"] == second


def test_ratings_from_trakt_reach_every_copy_on_jellyfin_and_do_not_come_back(raters: Any):
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


@pytest.mark.nightly(
    reason="Another case of the same outcome, with a household of its own.",
    instead="e2e/test_trakt_ratings.py::test_ratings_from_trakt_reach_every_copy_on_jellyfin_and_do_not_come_back",
)
def test_a_copy_to_the_server_alone_is_recorded_once_a_day(raters: Any):
    with raters(ratings_to_server=True, trakt_client_id=None) as place:
        place.sync()
        assert place.sync(scheduled=True) == {}
        place.clock.moment += timedelta(hours=24)
        assert place.sync(scheduled=True).keys() == set(USERS)


@pytest.mark.nightly(
    reason="A whole household and its runs, for what the part beneath shows alone.",
    instead="sources/test_server_ratings.py::test_a_rating_that_was_taken_over_from_the_server_meanwhile_is_left_alone",
)
def test_a_rating_given_on_the_server_meanwhile_is_not_overwritten(raters: Any):
    with raters(ratings_to_server=True) as place:
        place.connect("ann")
        place.state.trakt_rate("ann", FILM, 8)
        place.state.rate("ann", FILM, 3)
        place.sync()
        assert place.on_server("ann", FILM) == [3], "it has not been read yet"
        place.read_server()
        place.sync()
        assert (place.on_server("ann", FILM), place.there("ann")) == ([3], {FILM: 3})


@pytest.mark.nightly(
    reason="A whole household and its runs, for what the part beneath shows alone.",
    instead="sources/test_server_ratings.py::test_a_report_from_before_the_lock_was_free_changes_nothing",
)
def test_a_history_that_is_being_read_takes_no_rating_back(
    raters: Any, command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
):
    """Items that are no longer listed are requested one by one before any of them is written."""
    check = histories.check_history_loss

    def rate_and_check(*arguments: Any, **how: Any) -> None:
        assert "Copies rated on the media server: 1." in command(place, "rate", "ann", "Film 1", "9").output
        check(*arguments, **how)

    with raters(ratings_to_server=True) as place:
        place.connect("ann")
        place.sync()
        place.state.mark_unplayed("ann", FILM)
        monkeypatch.setattr(histories, "check_history_loss", rate_and_check)
        accepted = {"watch_history": {"full": True, "accept_removals": True}}
        place.home.must("sync_watch_history", users=["ann"], config=accepted)
        monkeypatch.undo()
        assert place.here("ann") == {FILM: 9}
        place.catch_up()
        place.sync()
        assert (place.there("ann"), place.on_server("ann", FILM)) == ({FILM: 9}, [9])


@pytest.mark.nightly(
    reason="Another case of the same outcome, with a household of its own.",
    instead="e2e/test_trakt_ratings.py::test_ratings_from_trakt_reach_every_copy_on_jellyfin_and_do_not_come_back",
)
def test_the_command_rates_on_jellyfin_too(raters: Any, command: Callable[..., Result]):
    with raters(ratings_to_server=True) as place:
        said = command(place, "rate", "bob", "Film 2", "7").output
        assert "Copies rated on the media server: 2." in said
        assert place.on_server("bob", TWICE) == [7, 7]
        command(place, "rate", "bob", "Film 2", "--remove")
        assert place.on_server("bob", TWICE) == [None, None]


def test_the_command_never_rates_on_emby(raters: Any, command: Callable[..., Result]):
    with raters(ratings_to_server=True, server="emby") as place:
        said = command(place, "rate", "bob", "Film 2", "7").output
        assert "Emby keeps no ratings" in said and _server_writes(place) == 0


def _jobs(place: Raters) -> list[Any]:
    from aperture_dagster.build import all_jobs

    return all_jobs(place.home.settings)


def _server_writes(place: Raters) -> int:
    return sum(
        count
        for service in ("jellyfin", "emby")
        for operation, count in place.state.counters.requests.get(service, {}).items()
        if not operation.startswith("GET")
    )
