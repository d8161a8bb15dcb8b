"""New users get a partition, and are tried again until they have a first list; those who left lose the partition."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from aperture_dagster.catalogue.people import partition_key
from aperture_dagster.catalogue.stored_users import write_users
from aperture_dagster.model import Clock
from aperture_dagster.partitions import RANGE_END_TAG, RANGE_START_TAG, USERS, range_tags
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.taste.vectors import activate_model, register_model
from aperture_dagster_tests.defs.shared import build_sensor, definitions_of
from aperture_dagster_tests.sensors.runs import add_run, look
from aperture_dagster_tests.shelf import user_row

FIRST_LIST_ASSETS = ("watch_history", "taste_profiles", "recommendations")


class Home:
    """A database with users and a library, and the users sensor that looks at it."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.database = Database(settings)
        self.instance = instance
        self.settings = settings
        self.cursor: str | None = None
        self.later = timedelta()
        self.restart()

    def restart(self) -> None:
        """Restart the program, as after a change of the settings."""
        self.clock = Clock(lambda: datetime.now(UTC) + self.later)
        self.sensor = build_sensor(self.settings, "users_sensor", loaded_at=self.clock.now())

    def users_are(self, *names: str, disabled: tuple[str, ...] = ()) -> None:
        """What the server lists; an id is the name in lower case."""
        rows = [user_row(name.lower()) | {"name": name, "is_disabled": name in disabled} for name in names]
        with self.database.transaction() as connection:
            write_users(connection, rows, still_there={row["user_id"] for row in rows}, key_for=partition_key)

    def library_is_embedded(self) -> None:
        """A model is complete and in use."""
        with self.database.transaction() as connection:
            register_model(connection, "model", 3)
            activate_model(connection, "model")

    def tick(self) -> Any:
        """One look of the sensor; what it asks of the partitions is done, as the daemon would."""
        parts = {"database": self.database, "clock": self.clock}
        data = look(self.sensor, self.instance, definitions_of(), self.cursor, **parts)
        self.cursor = data.cursor
        return data

    def first_lists(self) -> list[tuple[str, str]]:
        """The runs that one look starts, each from a first user to a last."""
        return [
            (tags["dagster/asset_partition_range_start"], tags["dagster/asset_partition_range_end"])
            for tags in (request.tags for request in self.tick().run_requests or ())
        ]

    def run_ends(self, status: str, first: str, last: str, job: str = "first_list") -> dg.DagsterRun:
        """A run for a range of users has this status, by the clock of now."""
        return add_run(self.instance, job, status, **{RANGE_START_TAG: first, RANGE_END_TAG: last})

    def begins(self, run: dg.DagsterRun) -> None:
        """The process of a run has started."""
        self.instance.report_dagster_event(
            dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, run.job_name), run.run_id
        )

    @property
    def partitions(self) -> list[str]:
        return list(self.instance.get_dynamic_partitions(USERS))

    def first_list_is_made(self, *keys: str) -> None:
        self.is_made(*keys, assets=FIRST_LIST_ASSETS)

    def is_made(self, *keys: str, assets: tuple[str, ...]) -> None:
        for asset in assets:
            for key in keys:
                self.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=key))


@pytest.fixture
def home(make_settings: Callable[..., Settings], instance: dg.DagsterInstance) -> Home:
    return Home(make_settings(), instance)


def test_without_users_it_says_what_to_run(home: Home):
    assert "sync_users" in home.tick().skip_message


@pytest.mark.parametrize("status", ["QUEUED", "STARTED"])
@pytest.mark.parametrize("job", ["first_list", "generate_recommendations"])
def test_nobody_gets_a_second_run_while_one_that_makes_their_list_is_unfinished(home: Home, status: str, job: str):
    home.library_is_embedded()
    home.users_are("Alma", "Bruno")
    assert home.first_lists() == [("Alma", "Bruno")]
    run = home.run_ends(status, "Alma", "Bruno", job)
    home.later = timedelta(days=1)
    assert home.first_lists() == []
    home.instance.delete_run(run.run_id)
    assert home.first_lists() == [("Alma", "Bruno")]


def test_a_list_follows_as_soon_as_its_users_history_has_been_read_and_does_not_read_it_again(home: Home):
    home.library_is_embedded()
    home.users_are("Alma", "Bruno", "Cleo", "Dora")
    reading = home.run_ends("NOT_STARTED", "Alma", "Cleo", "sync_watch_history")
    home.begins(reading)
    assert home.first_lists() == [("Dora", "Dora")], "nobody is reading hers"
    home.run_ends("STARTED", "Dora", "Dora")
    home.is_made("Alma", "Bruno", assets=("watch_history",))
    (request,) = home.tick().run_requests
    assert (request.tags[RANGE_START_TAG], request.tags[RANGE_END_TAG]) == ("Alma", "Bruno")
    made = {key.to_user_string() for key in request.asset_selection}
    assert made == {"shows_you_watch", "taste_profiles", "recommendations"}
    home.run_ends("QUEUED", "Alma", "Bruno")
    home.is_made("Cleo", assets=("watch_history",))
    assert home.first_lists() == [("Cleo", "Cleo")]


def test_who_could_not_be_read_with_the_others_is_read_for_their_first_list(home: Home):
    home.library_is_embedded()
    home.users_are("Alma", "Bruno")
    reading = home.run_ends("NOT_STARTED", "Alma", "Bruno", "sync_watch_history")
    home.begins(reading)
    home.is_made("Alma", assets=("watch_history",))
    home.instance.report_run_failed(reading)
    requests = {request.tags[RANGE_START_TAG]: request.asset_selection for request in home.tick().run_requests}
    assert requests.keys() == {"Alma", "Bruno"}
    assert requests["Bruno"] is None and len(requests["Alma"]) == 3


def test_a_run_that_makes_no_list_does_not_hold_up_a_first_list(home: Home):
    home.library_is_embedded()
    home.users_are("Alma")
    home.run_ends("STARTED", "Alma", "Alma", "sync_watching_libraries")
    assert home.first_lists() == [("Alma", "Alma")]


def test_a_first_list_that_failed_is_asked_for_again_after_waits_that_grow_until_it_is_there(home: Home):
    home.library_is_embedded()
    home.users_are("Alma", "Bruno")
    assert home.first_lists() == [("Alma", "Bruno")]
    for minutes in (1, 5, 15, 60, 180, 360, 360):
        home.run_ends("FAILURE", "Alma", "Bruno")
        home.later = timedelta(minutes=minutes, seconds=-10)
        assert home.first_lists() == [], minutes
        home.later = timedelta(minutes=minutes, seconds=1)
        assert home.first_lists() == [("Alma", "Bruno")], minutes
    home.first_list_is_made("Alma", "Bruno")
    assert home.first_lists() == []
    assert home.tick().skip_message == "Nobody is new."


def test_who_fails_again_keeps_nobody_else_from_their_list(home: Home):
    home.library_is_embedded()
    home.users_are("Alma", "Bruno", "Cleo")
    home.tick()
    home.run_ends("FAILURE", "Alma", "Cleo")
    # Bruno's history could not be read, so the later steps did not run for anybody.
    home.is_made("Alma", "Cleo", assets=("watch_history",))
    home.later = timedelta(minutes=1, seconds=1)
    assert home.first_lists() == [("Bruno", "Bruno")], "automation goes on with the others"
    home.later = timedelta(minutes=5, seconds=1)
    assert sorted(home.first_lists()) == [("Alma", "Alma"), ("Bruno", "Bruno"), ("Cleo", "Cleo")], "it did not"


def test_what_somebody_ended_by_hand_is_not_back_in_a_minute(home: Home):
    home.library_is_embedded()
    home.users_are("Alma")
    home.tick()
    home.run_ends("CANCELED", "Alma", "Alma")
    home.later = timedelta(hours=5)
    assert home.first_lists() == []


def test_newcomers_with_somebody_between_them_who_has_a_list_get_a_run_each(home: Home):
    home.users_are("Alma", "Bruno", "Cleo", "Dora")
    assert home.first_lists() == []
    home.first_list_is_made("Bruno")
    home.library_is_embedded()
    assert home.first_lists() == [("Alma", "Alma"), ("Cleo", "Dora")]


def test_who_has_a_list_gets_no_first_run_when_the_cursor_was_reset(home: Home):
    home.library_is_embedded()
    home.users_are("Alma", "Bruno")
    home.tick()
    home.first_list_is_made("Alma", "Bruno")
    home.cursor = None
    assert home.first_lists() == []


def test_a_first_list_waits_for_the_library_and_says_so(home: Home):
    home.users_are("Alma")
    assert "embeddings before the first list of Alma" in home.tick().skip_message
    assert home.partitions == ["Alma"]
    home.library_is_embedded()
    assert home.first_lists() == [("Alma", "Alma")]


def test_the_disabled_the_excluded_and_the_gone_have_no_partition(make_settings, instance: dg.DagsterInstance):
    home = Home(make_settings(exclude_users=("guest",)), instance)
    home.users_are("Alma", "Bruno", "Guest", "Greta", disabled=("Bruno",))
    home.tick()
    home.users_are("Alma", "Bruno", "Guest", disabled=("Bruno",))
    home.tick()
    assert home.partitions == ["Alma"]


def test_who_comes_back_gets_the_partition_and_a_new_first_list(home: Home):
    home.library_is_embedded()
    home.users_are("Alma", "Bruno")
    home.tick()
    home.first_list_is_made("Alma", "Bruno")
    home.users_are("Alma")
    assert home.first_lists() == []
    assert home.partitions == ["Alma"]
    home.users_are("Alma", "Bruno")
    assert home.first_lists() == [("Bruno", "Bruno")]
    assert home.partitions == ["Alma", "Bruno"]
    home.run_ends("FAILURE", "Bruno", "Bruno")
    assert home.first_lists() == []
    home.later = timedelta(minutes=5, seconds=1)
    assert home.first_lists() == [("Bruno", "Bruno")], "the list that is there is from before"
    home.first_list_is_made("Bruno")
    assert home.tick().skip_message == "Nobody is new."


@pytest.mark.parametrize(
    ("status", "tags"), [("QUEUED", {"dagster/partition": "Bruno"}), ("STARTED", range_tags("Alma", "Cleo"))]
)
def test_a_partition_is_not_removed_under_an_unfinished_run(home: Home, tags: dict[str, str], status: str):
    home.users_are("Alma", "Bruno", "Cleo")
    home.tick()
    home.users_are("Alma", "Cleo")
    run = add_run(home.instance, "generate_recommendations", status, **tags)
    home.tick()
    assert home.partitions == ["Alma", "Bruno", "Cleo"]
    home.instance.delete_run(run.run_id)
    home.tick()
    assert home.partitions == ["Alma", "Cleo"]


def test_a_run_for_something_else_protects_no_partition(home: Home):
    home.users_are("Alma", "Bruno", "Cleo")
    home.tick()
    home.users_are("Alma", "Bruno")
    add_run(home.instance, "generate_recommendations", "STARTED", **range_tags("2024-01-01", "2024-01-09"))
    home.tick()
    assert home.partitions == ["Alma", "Bruno"]


def test_after_a_clock_that_was_ahead_first_lists_are_tried_and_retried_in_their_time(home: Home):
    home.library_is_embedded()
    home.users_are("Ann", "Ben")
    home.tick()
    home.first_list_is_made("Ann", "Ben")
    # Ben leaves and comes back while the clock is ahead.
    home.later = timedelta(days=365)
    home.restart()
    home.tick()
    home.users_are("Ann")
    home.tick()
    home.users_are("Ann", "Ben")
    assert home.first_lists() == [("Ben", "Ben")]
    home.later = timedelta()
    assert home.first_lists() == [("Ben", "Ben")], "a list of today"
    home.run_ends("FAILURE", "Ben", "Ben")
    assert home.first_lists() == [], "it waits, although the program was started by the other clock"
    home.later = timedelta(minutes=7)
    assert home.first_lists() == [("Ben", "Ben")]
    home.first_list_is_made("Ben")
    home.later = timedelta()
    assert home.tick().skip_message == "Nobody is new."
    home.users_are("Ann", "Ben", "Cleo")
    assert home.first_lists() == [("Cleo", "Cleo")]
    home.run_ends("FAILURE", "Cleo", "Cleo")
    assert home.first_lists() == []
    home.later = -timedelta(hours=1)
    assert home.first_lists() == [("Cleo", "Cleo")], "a failure that is dated in the future is not waited for"
