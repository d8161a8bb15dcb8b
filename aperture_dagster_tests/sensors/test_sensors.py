"""Sensors: newcomers are served once, those who left go, and a failure is told in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from aperture_dagster.build import build_definitions
from aperture_dagster.defs.failures import operator_errors
from aperture_dagster.library.people import partition_key
from aperture_dagster.partitions import USERS
from aperture_dagster.resources.errors import ServiceRefused
from aperture_dagster.resources.providers import Database
from aperture_dagster.settings import Settings
from aperture_dagster.storage.people import write_users

FIRST_LIST_ASSETS = ("watch_history", "taste_profiles", "recommendations")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


class Home:
    """A database with users and a library, and the users sensor that looks at it."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.database = Database(settings)
        self.instance = instance
        self.definitions = build_definitions(settings)

    def users_are(self, *names: str, disabled: tuple[str, ...] = ()) -> None:
        """What the server lists; an id is the name in lower case."""
        rows = [
            {
                "user_id": name.lower(),
                "name": name,
                "email": None,
                "email_source": None,
                "is_administrator": False,
                "is_hidden": False,
                "is_disabled": name in disabled,
                "max_parental_rating": None,
                "all_libraries": True,
                "library_ids": [],
                "blocked_tags": [],
                "allowed_tags": [],
                "open_library_ids": [],
                "excluded_folders": [],
                "last_activity_at": None,
            }
            for name in names
        ]
        with self.database.transaction() as connection:
            write_users(connection, rows, still_there={row["user_id"] for row in rows}, key_for=partition_key)

    def library_is_embedded(self) -> None:
        """A model is complete and in use."""
        from aperture_dagster.storage.vectors import activate_model, register_model

        with self.database.transaction() as connection:
            register_model(connection, "model", 3)
            activate_model(connection, "model")

    def tick(self) -> Any:
        """One look of the sensor; what it asks of the partitions is done, as the daemon would."""
        repository = self.definitions.get_repository_def()
        with dg.build_sensor_context(
            instance=self.instance,
            instance_ref=self.instance.get_ref(),
            definitions=self.definitions,
            resources={"database": self.database},
        ) as context:
            data = repository.get_sensor_def("users_sensor").evaluate_tick(context)
        for request in data.dynamic_partitions_requests or ():
            if isinstance(request, dg.AddDynamicPartitionsRequest):
                self.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
            else:
                for key in request.partition_keys:
                    self.instance.delete_dynamic_partition(request.partitions_def_name, key)
        return data

    def launched(self) -> list[tuple[str | None, str | None]]:
        """The runs that one look asks for: partition and run key."""
        return [(request.partition_key, request.run_key) for request in self.tick().run_requests or ()]

    @property
    def partitions(self) -> list[str]:
        return list(self.instance.get_dynamic_partitions(USERS))

    def first_list_is_made(self, *keys: str) -> None:
        for asset in FIRST_LIST_ASSETS:
            for key in keys:
                self.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=key))


@pytest.fixture
def home(make_settings: Callable[..., Settings], instance: dg.DagsterInstance) -> Home:
    return Home(make_settings(), instance)


def test_without_users_it_says_what_to_run(home: Home):
    assert "sync_users" in home.tick().skip_message


def test_newcomers_get_a_partition_and_one_first_list_each(home: Home):
    home.library_is_embedded()
    home.users_are("Alma", "Bruno")
    assert home.launched() == [("Alma", "first-list:alma"), ("Bruno", "first-list:bruno")]
    assert home.partitions == ["Alma", "Bruno"]
    home.first_list_is_made("Alma", "Bruno")
    assert home.launched() == []


def test_a_newcomer_beside_others_is_the_only_one_served(home: Home):
    home.library_is_embedded()
    home.users_are("Alma")
    home.tick()
    home.first_list_is_made("Alma")
    home.users_are("Alma", "Bruno")
    assert home.launched() == [("Bruno", "first-list:bruno")]


def test_a_first_list_that_failed_is_asked_for_under_the_same_key_so_it_runs_once(home: Home):
    home.library_is_embedded()
    home.users_are("Alma")
    assert home.launched() == home.launched()


def test_a_newcomers_first_run_waits_for_the_library(home: Home):
    home.users_are("Alma")
    assert home.launched() == []
    assert home.partitions == ["Alma"]
    home.library_is_embedded()
    assert home.launched() == [("Alma", "first-list:alma")]


def test_the_disabled_the_excluded_and_the_gone_have_no_partition(make_settings, instance: dg.DagsterInstance):
    home = Home(make_settings(exclude_users=("guest",)), instance)
    home.users_are("Alma", "Bruno", "Guest", "Greta", disabled=("Bruno",))
    home.tick()
    home.users_are("Alma", "Bruno", "Guest", disabled=("Bruno",))
    home.tick()
    assert home.partitions == ["Alma"]


def test_who_left_loses_the_partition_and_who_comes_back_has_it_again(home: Home):
    home.library_is_embedded()
    home.users_are("Alma", "Bruno")
    home.tick()
    home.first_list_is_made("Alma", "Bruno")
    home.users_are("Alma")
    assert home.launched() == []
    assert home.partitions == ["Alma"]
    home.users_are("Alma", "Bruno")
    home.tick()
    assert home.partitions == ["Alma", "Bruno"]


@pytest.mark.parametrize(
    "tags",
    [
        {"dagster/partition": "Bruno"},
        {"dagster/asset_partition_range_start": "Alma", "dagster/asset_partition_range_end": "Bruno"},
    ],
    ids=["a run for the user", "a run for all"],
)
@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED])
def test_a_partition_is_not_removed_under_a_run_that_works_on_it(
    home: Home, tags: dict[str, str], status: dg.DagsterRunStatus
):
    home.users_are("Alma", "Bruno")
    home.tick()
    home.users_are("Alma")
    run = home.instance.add_run(dg.DagsterRun(job_name="generate_recommendations", status=status, tags=tags))
    home.tick()
    assert home.partitions == ["Alma", "Bruno"]
    home.instance.delete_run(run.run_id)
    home.tick()
    assert home.partitions == ["Alma"]


def test_a_run_for_somebody_else_keeps_nobody(home: Home):
    home.users_are("Alma", "Bruno")
    home.tick()
    home.users_are("Alma")
    home.instance.add_run(
        dg.DagsterRun(job_name="first_list", status=dg.DagsterRunStatus.STARTED, tags={"dagster/partition": "Alma"})
    )
    home.tick()
    assert home.partitions == ["Alma"]


def test_a_renamed_user_keeps_the_partition(home: Home):
    home.users_are("Alma")
    home.tick()
    with home.database.transaction() as connection:
        connection.exec_driver_sql("UPDATE users SET name = 'Alma Maria'")
    home.tick()
    assert home.partitions == ["Alma"]


def failure_of(settings: Settings, instance: dg.DagsterInstance, error: Exception) -> list[str]:
    """Fail a run with an error, let the sensor see it, and return the lines that it wrote."""

    @dg.op
    def failing(context) -> None:
        with operator_errors(context, settings):
            raise error

    @dg.job
    def failing_job() -> None:
        failing()

    result = failing_job.execute_in_process(instance=instance, raise_on_error=False)
    repository = build_definitions(settings).get_repository_def()
    sensor = repository.get_sensor_def("run_failure_sensor")
    event = next(event for event in result.all_events if event.event_type == dg.DagsterEventType.RUN_FAILURE)
    context = dg.build_run_status_sensor_context(
        sensor_name=sensor.name, dagster_event=event, dagster_instance=instance, dagster_run=result.dagster_run
    ).for_run_failure()
    sensor(context)  # type: ignore[operator]
    return (settings.home_path / "failures.log").read_text(encoding="utf-8").splitlines()


def test_a_failed_run_is_told_in_one_line_with_what_and_why(settings: Settings, instance: dg.DagsterInstance):
    (line,) = failure_of(settings, instance, ServiceRefused("TMDb refuses the key:\n set TMDB_API_KEY."))
    assert datetime.fromisoformat(line.split(" ")[0]) <= datetime.now(UTC)
    assert "failing_job" in line
    assert line.endswith("failed: failing: TMDb refuses the key: set TMDB_API_KEY.")


def test_a_failure_that_nobody_foresaw_is_one_line_too(settings: Settings, instance: dg.DagsterInstance):
    (line,) = failure_of(settings, instance, ZeroDivisionError("what\nnow"))
    assert "ZeroDivisionError: what now" in line


def test_failures_are_added_to_what_was_told_before(settings: Settings, instance: dg.DagsterInstance):
    failure_of(settings, instance, ServiceRefused("one"))
    assert len(failure_of(settings, instance, ServiceRefused("two"))) == 2


def test_no_secret_is_in_what_is_told(make_settings, instance: dg.DagsterInstance):
    settings = make_settings(media_server_api_key="s3cr3t-key", tmdb_api_key="t0p-s3cr3t")
    (line,) = failure_of(settings, instance, RuntimeError("GET /3/movie/1?api_key=t0p-s3cr3t with s3cr3t-key"))
    assert "s3cr3t" not in line
