"""Ratings that wait for Trakt start a run for those whom they concern, unless one is under way or has just failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from aperture_dagster.partitions import RANGE_END_TAG, RANGE_START_TAG
from aperture_dagster.settings import Settings
from aperture_dagster.trakt.accounts import TraktAccounts
from aperture_dagster_tests.defs.check_bench import APP, Bench
from aperture_dagster_tests.defs.shared import build_sensor, definitions_of
from aperture_dagster_tests.instances import instance_in_memory
from aperture_dagster_tests.sensors.runs import ENDED, add_run, look

MINUTE = timedelta(minutes=1)


class Outbox:
    """Users with ratings, and what one look of the sensor starts or says."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        bench.clock.moment = datetime.now(UTC)
        self.restart()

    def restart(self) -> None:
        self.sensor = build_sensor(self.bench.settings, "ratings_outbox_sensor")

    def connect(self, *names: str) -> None:
        """Users who connected Trakt."""
        self.bench.users(*names)
        self.bench.connect(*names)

    def rate(self, *names: str, due: timedelta = -MINUTE) -> None:
        """Ratings of these users wait until then."""
        rows = [{"user_id": name} for name in names]
        self.bench.add("rating_outbox", *rows, due_at=self.bench.clock.now() + due)

    def look(self, *, after: timedelta = timedelta()) -> list[tuple[str, str]] | str | None:
        """The ranges of users for whom runs start, or why none does."""
        bench = self.bench
        bench.clock.moment += after
        accounts = TraktAccounts(bench.settings, bench.database, bench.clock)
        resources = {"database": bench.database, "clock": bench.clock, "trakt": accounts}
        ticked = look(self.sensor, bench.instance, definitions_of(**APP), **resources)
        tags = [request.tags for request in ticked.run_requests or ()]
        return [(one[RANGE_START_TAG], one[RANGE_END_TAG]) for one in tags] or ticked.skip_message

    def run_is(self, status: str) -> dg.DagsterRun:
        return add_run(self.bench.instance, "sync_trakt_ratings", status)


@pytest.fixture
def outbox(make_settings: Callable[..., Settings]) -> Iterator[Outbox]:
    with instance_in_memory() as instance:
        bench = Bench(make_settings, instance)
        bench.configure(**APP)
        yield Outbox(bench)


def test_ratings_that_are_due_start_a_run_for_each_range_of_their_users(outbox: Outbox):
    outbox.connect("Alma", "Bruno", "Cleo", "Dora")
    assert outbox.look() == "No rating is due."
    outbox.rate("Alma", "Cleo", "Dora")
    assert outbox.look() == [("Alma", "Alma"), ("Cleo", "Dora")]
    outbox.restart()
    assert outbox.look() == [("Alma", "Alma"), ("Cleo", "Dora")], "it remembers nothing"


def test_ratings_that_are_not_due_wait_until_they_are(outbox: Outbox):
    outbox.connect("Alma")
    outbox.rate("Alma", due=5 * MINUTE)
    assert outbox.look() == "No rating is due."
    assert outbox.look(after=6 * MINUTE) == [("Alma", "Alma")]


def test_ratings_of_who_is_not_connected_or_has_left_start_nothing(outbox: Outbox):
    outbox.bench.users("Bruno")
    outbox.rate("Bruno")
    assert outbox.look() == "Nobody is connected to Trakt, or Trakt is paused."
    outbox.connect("Alma", "Cleo")
    assert outbox.look() == "No rating is due."
    outbox.rate("Alma", "Cleo")
    outbox.bench.do("UPDATE trakt_accounts SET state = 'reconnect' WHERE user_id = 'Cleo'")
    assert outbox.look() == [("Alma", "Alma")]
    outbox.bench.instance.delete_dynamic_partition("users", "Alma")
    assert outbox.look() == "No rating is due."


@pytest.mark.parametrize("status", ["QUEUED", "STARTED"])
def test_a_run_under_way_is_waited_for(outbox: Outbox, status: str):
    outbox.connect("Alma")
    outbox.rate("Alma")
    add_run(outbox.bench.instance, "sync_watch_history", status)
    assert outbox.look() == [("Alma", "Alma")], "another job is no matter"
    run = outbox.run_is(status)
    assert outbox.look() == "sync_trakt_ratings is running or queued."
    outbox.bench.instance.delete_run(run.run_id)
    assert outbox.look() == [("Alma", "Alma")]


def test_a_failure_is_followed_by_ten_minutes_of_rest_also_after_a_restart(outbox: Outbox):
    outbox.connect("Alma")
    outbox.rate("Alma")
    outbox.bench.instance.report_run_failed(outbox.run_is("STARTED"))
    outbox.bench.clock.moment = datetime.now(UTC)
    assert outbox.look() == "The last sync_trakt_ratings failed; the next one comes in 10 min."
    outbox.restart()
    assert outbox.look(after=9 * MINUTE) == "The last sync_trakt_ratings failed; the next one comes in 1 min."
    assert outbox.look(after=MINUTE + timedelta(seconds=1)) == [("Alma", "Alma")]
    assert outbox.look(after=-11 * MINUTE) != [("Alma", "Alma")]
    for status in ENDED:
        if status != "FAILURE":
            outbox.run_is(status)
            assert outbox.look() == [("Alma", "Alma")], status


def test_a_rating_and_a_failure_that_are_dated_in_the_future_hold_nothing_up(outbox: Outbox):
    outbox.connect("Alma")
    wrong = outbox.bench.clock.now() + timedelta(days=365)
    outbox.bench.add(
        "rating_outbox", {"user_id": "Alma"}, queued_at=wrong, attempted_at=wrong, due_at=wrong + 30 * MINUTE
    )
    assert outbox.look() == [("Alma", "Alma")]
    outbox.bench.instance.report_run_failed(outbox.run_is("STARTED"))
    # The run ended by the real clock, which is in the future of one that is set back.
    outbox.bench.clock.moment = datetime.now(UTC) - timedelta(hours=1)
    assert outbox.look() == [("Alma", "Alma")]
