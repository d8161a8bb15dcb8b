"""The operator hears what fails: in a message and in failures.log, once, without secrets, and when it works again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from unittest.mock import Mock

import dagster as dg
import pytest
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange

from aperture_dagster import alerts as alerts
from aperture_dagster.build import all_jobs
from aperture_dagster.http.errors import ServiceRefused
from aperture_dagster.instance.failures import operator_errors
from aperture_dagster.instance.home import LOCATION
from aperture_dagster.instance.private import REPOSITORY_TAG, repository
from aperture_dagster.partitions import USERS, range_tags, users_partitions
from aperture_dagster.postgres.connection import open_engine
from aperture_dagster.sensors import freshness_makers
from aperture_dagster.sensors.reports import LOG
from aperture_dagster.sensors.troubles import subject_of
from aperture_dagster.settings import Settings
from aperture_dagster.trakt.accounts import TraktAccounts
from aperture_dagster_tests.databases import run_statements
from aperture_dagster_tests.inbox import TOKEN, Inbox
from aperture_dagster_tests.sensors.runs import add_run
from aperture_dagster_tests.watchman import Watchman

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
MOVIES = dg.AssetKey("movies")


@pytest.fixture
def watchman(make_settings: Callable[..., Settings], instance: dg.DagsterInstance, inbox: Inbox) -> Watchman:
    """Reports to an inbox."""
    return Watchman(make_settings(alert_urls=inbox.url), instance)


def run(
    watchman: Watchman,
    error: Exception | None = None,
    *,
    step: str = "movies",
    guarded: bool = True,
    tags: dict[str, str] | None = None,
) -> dg.DagsterRun:
    """Run a job of one step, which raises an error if one is given; ``guarded`` as the steps of assets are."""

    @dg.op(name=step)
    def work(context) -> None:
        with operator_errors(context, watchman.settings) if guarded else nullcontext():
            if error is not None:
                raise error

    @dg.job(name=f"sync_{step}")
    def sync() -> None:
        work()

    return sync.execute_in_process(instance=watchman.instance, raise_on_error=False, tags=tags).dagster_run


def check(watchman: Watchman, *, passed: bool, severity: dg.AssetCheckSeverity, blocking: bool = False) -> None:
    """Materialize ``movies`` with one of its checks."""

    @dg.asset
    def movies() -> None: ...

    @dg.asset_check(asset=movies, blocking=blocking)
    def is_not_empty() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=passed, severity=severity, description="The server has no films.")

    dg.materialize([movies, is_not_empty], instance=watchman.instance, raise_on_error=False)


def age(watchman: Watchman, state: FreshnessState, key: dg.AssetKey = MOVIES) -> None:
    """Record a change of freshness, as Dagster's daemon does."""
    change = FreshnessStateChange(
        key=key,
        new_state=state,
        previous_state=FreshnessState.UNKNOWN,
        state_change_timestamp=watchman.clock.now().timestamp(),
    )
    watchman.instance._report_runless_asset_event(change)


# What is reported, and when


def test_the_first_failure_is_reported_three_repeats_are_not_and_the_recovery_is(watchman: Watchman, inbox: Inbox):
    watchman.tick()
    failed = run(watchman, ServiceRefused("Jellyfin refuses the key. Check it."))
    watchman.tick()
    (message,) = inbox.take()
    assert message["title"] == "Aperture: movies failed"
    assert "Movies failed: Jellyfin refuses the key. Check it." in message["message"]
    assert f"Look at run {failed.run_id[:8]} in the UI." in message["message"]
    assert message["type"] == "warning"
    for _ in range(3):
        run(watchman, ServiceRefused("Jellyfin refuses the key, still. Check it."))
        watchman.tick(after=MINUTE)
    assert inbox.take() == []
    run(watchman)
    watchman.tick(after=MINUTE)
    assert inbox.take() == []
    watchman.tick(after=2 * HOUR)
    (message,) = inbox.take()
    assert (message["title"], message["type"]) == ("Aperture: movies works again", "success")
    assert len(watchman.log()) == 5
    assert [line.partition("failed: ")[2] for line in watchman.log()[:1]] == [
        "movies: Jellyfin refuses the key. Check it."
    ]
    watchman.tick(after=MINUTE)
    assert inbox.take() == []


def test_an_error_that_nobody_foresaw_is_a_problem_by_its_class(watchman: Watchman, inbox: Inbox):
    for error in (ZeroDivisionError("1"), ZeroDivisionError("2"), KeyError("3")):
        run(watchman, error)
        watchman.tick(after=MINUTE)
    first, second = (message["message"] for message in inbox.take())
    assert "ZeroDivisionError: 1" in first and "KeyError: '3'" in second


def test_after_a_restart_only_what_is_still_wrong_is_reported(watchman: Watchman, inbox: Inbox):
    watchman.tick()
    run(watchman, ServiceRefused("no"), step="movies")
    run(watchman, step="movies")
    run(watchman, ServiceRefused("no"), step="series")
    watchman.tick(after=12 * HOUR)
    assert inbox.titles == ["Aperture: series failed"]
    run(watchman, ServiceRefused("no"), step="episodes")
    # A week without a look: the next run says more than that old one.
    watchman.tick(after=timedelta(days=7))
    assert "Aperture: episodes failed" not in inbox.titles


def test_after_a_clock_that_was_ahead_the_next_failure_is_reported_at_once(watchman: Watchman, inbox: Inbox):
    year = timedelta(days=365)
    watchman.tick(after=year)
    run(watchman, ServiceRefused("Jellyfin refuses the key."))
    assert "Movies failed" in watchman.tick(after=-year)
    assert inbox.titles == ["Aperture: movies failed"]
    run(watchman)
    assert "Movies works again" in watchman.tick(after=2 * HOUR)


def test_a_failure_of_another_code_location_is_not_reported(watchman: Watchman, inbox: Inbox):
    watchman.tick()
    run(watchman, ServiceRefused("no"), step="warehouse", tags={REPOSITORY_TAG: repository("analytics")})
    watchman.tick(after=MINUTE)
    assert inbox.take() == [] and watchman.log() == []
    run(watchman, ServiceRefused("no"), tags={REPOSITORY_TAG: repository(LOCATION)})
    watchman.tick(after=MINUTE)
    assert inbox.titles == ["Aperture: movies failed"]


def test_a_run_that_dagster_will_start_again_is_not_reported_yet(watchman: Watchman, inbox: Inbox):
    for tags in ({"dagster/will_retry": "true"}, {}):
        dead = add_run(watchman.instance, "sync_movies", "STARTED", **tags)
        watchman.instance.report_run_failed(dead, "The process of this run is gone.")
        watchman.tick(after=MINUTE)
        if tags:
            assert inbox.take() == []
            assert len(watchman.log()) == 1
    (message,) = inbox.take()
    assert "Sync_movies failed: The process of this run is gone." in message["message"]
    run(watchman)
    watchman.tick(after=MINUTE)
    watchman.tick(after=2 * HOUR)
    assert inbox.titles == ["Aperture: sync_movies works again"]


def test_the_success_for_one_user_does_not_end_the_failure_for_others(watchman: Watchman, inbox: Inbox):
    watchman.instance.add_dynamic_partitions(USERS, ["ada", "bela", "cora"])
    failing = {"bela", "cora"}

    @dg.asset(
        name="watch_history",
        partitions_def=users_partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        output_required=False,
    )
    def watch_history(context):
        served = [key for key in context.partition_keys if key not in failing]
        for key in served:
            context.log_event(dg.AssetMaterialization("watch_history", partition=key))
        if len(served) < len(context.partition_keys):
            raise dg.Failure("some users could not be served")
        yield from ()

    def serve(first: str, last: str) -> None:
        dg.materialize([watch_history], instance=watchman.instance, tags=range_tags(first, last), raise_on_error=False)
        watchman.tick(after=MINUTE)

    serve("ada", "cora")
    assert inbox.titles == ["Aperture: watch_history failed"]
    serve("ada", "ada")
    failing.discard("bela")
    serve("bela", "bela")
    watchman.tick(after=2 * HOUR)
    assert inbox.take() == []
    # Everybody who failed has been served, in one run each.
    failing.clear()
    serve("cora", "cora")
    watchman.tick(after=2 * HOUR)
    assert inbox.titles == ["Aperture: watch_history works again"]


def test_a_failed_check_is_one_problem_even_if_it_stops_the_run(watchman: Watchman, inbox: Inbox):
    check(watchman, passed=False, severity=dg.AssetCheckSeverity.ERROR, blocking=True)
    watchman.tick()
    (message,) = inbox.take()
    assert message["title"] == "Aperture: the check movies.is_not_empty failed"
    assert "failed: The server has no films." in message["message"]
    assert "Look at the asset movies in the UI." in message["message"]
    # Runs of other assets do not evaluate it again.
    run(watchman, step="series")
    watchman.tick(after=2 * HOUR)
    assert inbox.take() == []
    check(watchman, passed=True, severity=dg.AssetCheckSeverity.ERROR)
    watchman.tick(after=MINUTE)
    watchman.tick(after=2 * HOUR)
    assert inbox.titles == ["Aperture: the check movies.is_not_empty passes again"]


def test_a_check_that_warns_is_reported_if_it_still_does_a_day_later(watchman: Watchman, inbox: Inbox):
    check(watchman, passed=False, severity=dg.AssetCheckSeverity.WARN)
    watchman.tick()
    watchman.tick(after=23 * HOUR)
    assert inbox.take() == []
    watchman.tick(after=2 * HOUR)
    assert inbox.titles == ["Aperture: the check movies.is_not_empty failed"]


def test_an_asset_that_stays_out_of_date_is_reported_once(watchman: Watchman, inbox: Inbox):
    age(watchman, FreshnessState.PASS)
    watchman.tick()
    age(watchman, FreshnessState.FAIL)
    # As after a night without power: the missed job is about to run.
    watchman.tick(after=MINUTE)
    assert inbox.take() == []
    watchman.tick(after=HOUR)
    (message,) = inbox.take()
    assert message["title"] == "Aperture: movies is out of date"
    assert "sync_movies should have made it." in message["message"]
    watchman.tick(after=48 * HOUR)
    assert inbox.take() == []
    age(watchman, FreshnessState.PASS)
    watchman.tick(after=MINUTE)
    watchman.tick(after=2 * HOUR)
    assert inbox.titles == ["Aperture: movies is up to date again"]


def test_ratings_are_not_out_of_date_when_nobody_is_connected_to_trakt_any_more(
    make_settings: Callable[..., Settings], instance: dg.DagsterInstance, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
):
    trakt = {"trakt_client_id": "id", "trakt_client_secret": "secret", "secret_key": "a key that encrypts tokens"}
    settings = make_settings(alert_urls=inbox.url, **trakt)
    watchman = Watchman(settings, instance)
    age(watchman, FreshnessState.FAIL, dg.AssetKey("trakt_ratings"))
    watchman.tick()
    watchman.tick(after=2 * HOUR)
    assert inbox.take() == []
    monkeypatch.setattr(TraktAccounts, "accounts", lambda _: [Mock(state="connected", gone=False)])
    watchman.tick()
    assert inbox.titles == ["Aperture: trakt_ratings is out of date"]


def test_an_asset_whose_job_is_switched_off_is_not_watched(make_settings: Callable[..., Settings]):
    for off in ({}, {"sync_movies": "off"}):
        settings = make_settings(schedules=off)
        assert (MOVIES in freshness_makers(settings, all_jobs(settings))) == (not off)


# Delivery


def test_a_text_that_the_database_cannot_store_holds_nothing_up(watchman: Watchman, inbox: Inbox):
    run(watchman, ServiceRefused("The title \x00 and \ud83d is broken"))
    watchman.tick()
    (message,) = inbox.take()
    assert "The title and is broken" in message["message"]


def test_a_log_that_cannot_be_written_holds_no_message_back(watchman: Watchman, inbox: Inbox):
    (watchman.settings.home_path / "failures.log").mkdir(parents=True)
    run(watchman, ServiceRefused("no"))
    assert "failures.log could not be written: " in watchman.tick()
    assert inbox.titles == ["Aperture: movies failed"]


def test_a_wrong_address_costs_a_log_line_and_the_others_get_their_message(
    make_settings: Callable[..., Settings], instance: dg.DagsterInstance, inbox: Inbox
):
    wrong = "nonsense://s3cr3t-t0ken json://127.0.0.1:1/s3cr3t-t0ken"
    watchman = Watchman(make_settings(alert_urls=f"{wrong}\n{inbox.url}"), instance)
    run(watchman, ServiceRefused("no"))
    said = watchman.tick()
    assert "No message to nonsense://…: it is not an address that apprise understands" in said
    assert "No message to json://127.0.0.1/…: " in said
    assert "s3cr3t" not in said
    assert inbox.titles == ["Aperture: movies failed"]


def test_a_message_is_sent_again_later_when_its_address_did_not_take_it(watchman: Watchman, inbox: Inbox):
    inbox.status = 503
    run(watchman, ServiceRefused("no"))
    assert "It is tried again later." in watchman.tick()
    for _ in range(20):
        watchman.tick(after=MINUTE)
    assert inbox.attempts == 2
    inbox.status = 200
    watchman.tick(after=HOUR)
    assert inbox.titles == ["Aperture: movies failed"]
    watchman.tick(after=HOUR)
    assert inbox.attempts == 3
    assert len(watchman.log()) == 1


def test_an_address_that_was_removed_hears_nothing_and_begins_anew(
    watchman: Watchman, inbox: Inbox, make_settings: Callable[..., Settings]
):
    run(watchman, ServiceRefused("no"))
    watchman.tick()
    without = Watchman(make_settings(), watchman.instance)
    without.cursor, without.ahead = watchman.cursor, watchman.ahead
    without.tick(after=HOUR)
    assert inbox.titles == ["Aperture: movies failed"]
    watchman.tick(after=2 * HOUR)
    assert inbox.titles == ["Aperture: movies failed"]


def test_a_process_that_dies_after_sending_repeats_the_message_after_a_while_only(
    watchman: Watchman, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
):
    run(watchman, ServiceRefused("no"))

    def die(_: object, address: str, *__: object, **___: object) -> None:
        if address != LOG:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(alerts, "note_told", die)
        with pytest.raises(KeyboardInterrupt):
            watchman.tick()
    watchman.tick(after=MINUTE)
    assert inbox.titles == ["Aperture: movies failed"]
    watchman.tick(after=HOUR)
    assert inbox.titles == ["Aperture: movies failed"]
    # The failure was not counted again, although the cursor was lost as well.
    assert run_statements(watchman.settings.database_url.get_secret_value(), "SELECT count FROM alert_problems") == [
        (1,)
    ]


# Secrets


def test_no_secret_is_in_a_message_a_log_or_the_database(
    make_settings: Callable[..., Settings], instance: dg.DagsterInstance, inbox: Inbox
):
    settings = make_settings(alert_urls=inbox.url, media_server_api_key="s3cr3t-key", tmdb_api_key="t0p-s3cr3t")
    watchman = Watchman(settings, instance)
    error = RuntimeError(f"GET /3/movie/1?api_key=t0p-s3cr3t with s3cr3t-key, {inbox.url}, and /hooks/{TOKEN}")
    run(watchman, error, guarded=False)
    inbox.status = 503
    said = watchman.tick()
    with open_engine(settings).connect() as connection:
        stored = [
            str(row)
            for table in ("alert_problems", "alerts_told")
            for row in connection.exec_driver_sql(f"SELECT * FROM {table}")
        ]
    inbox.status = 200
    said += watchman.tick(after=HOUR)
    (message,) = inbox.take()
    assert "GET /3/movie/1" in message["message"] and len(stored) == 3
    for text in (said, str(message), *watchman.log(), *stored):
        assert "s3cr3t" not in text and TOKEN not in text


# The log


def test_a_long_log_loses_its_older_half(settings: Settings, instance: dg.DagsterInstance):
    settings.home_path.mkdir(parents=True)
    path = settings.home_path / "failures.log"
    path.write_text("".join(f"failure {number:,}\n" for number in range(90_000)))
    watchman = Watchman(settings, instance)
    run(watchman, ServiceRefused("the last one"))
    watchman.tick()
    lines = watchman.log()
    assert path.stat().st_size < 600_000
    assert path.stat().st_mode & 0o777 == 0o600
    assert lines[0].startswith("failure ") and lines[-2] == "failure 89,999" and lines[-1].endswith("the last one.")


def test_a_run_without_a_job_is_named_after_its_assets():
    assets = frozenset(map(dg.AssetKey, ("series", "movies")))
    assert subject_of(dg.DagsterRun(job_name="__ASSET_JOB", asset_selection=assets)) == "movies, series"
    assert subject_of(dg.DagsterRun(job_name="sync_movies", asset_selection=assets)) == "sync_movies"
