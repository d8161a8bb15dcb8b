"""A change is requested once, by itself, and for those whom it concerns; a look that found nothing starts nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationPlanned,
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.storage.tags import AUTOMATION_CONDITION_TAG

from aperture_dagster.automation import FROM_AUTOMATION, minutes_of
from aperture_dagster.build import all_jobs, build_definitions
from aperture_dagster.partitions import USERS
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster_tests.defs.shared import BLOCKING, checked, definitions_of, planned
from aperture_dagster_tests.instances import copy_instance, instance_in_memory
from aperture_dagster_tests.shelf import Shelf, film

# Dagster's own tester of conditions uses a beta feature.
pytestmark = pytest.mark.filterwarnings("ignore:Parameter `include_sources`")

SOURCES = ("users", "movies", "series", "episodes", "tmdb_metadata", "omdb_ratings", "mdblist_scores", "studio_logos")
PUBLISHED = ("studio_pictures",)
PER_USER = ("watch_history", "taste_profiles", "recommendations", "shows_you_watch")
EVERYBODY = ("Alma", "Bruno", "Clara")
Requests = dict[str, set[str | None]]


class Automation:
    """An instance in which things happen, and what the automation sensor requests at each tick."""

    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.definitions = definitions
        self.cursor = None
        self.now = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
        self.versions = count()
        instance.add_dynamic_partitions(USERS, list(EVERYBODY))

    def materialized(self, *assets: str, users: tuple[str, ...] | None = None, version: str | None = None) -> None:
        """These assets were materialized, whole or for these users, and differ from before unless a version is given.

        Their blocking checks passed.
        """
        for asset in assets:
            for partition in users if users is not None else (None,):
                tags = {"dagster/data_version": version or f"v{next(self.versions)}"}
                self.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=partition, tags=tags))
            if asset in BLOCKING:
                (made,) = self.instance.fetch_materializations(dg.AssetKey(asset), limit=1).records
                target = AssetCheckEvaluationTargetMaterializationData(
                    storage_id=made.storage_id, run_id=made.run_id, timestamp=made.timestamp
                )
                checked(self.instance, asset, passed=True, target=target)

    def begins(self, job: str, *assets: str) -> dg.DagsterRun:
        """A run of a job begins that is to make these assets."""
        definition = self.definitions.resolve_job_def(job)
        run = self.instance.create_run_for_job(definition, status=dg.DagsterRunStatus.STARTED)
        planned(self.instance, run, *assets)
        for asset in BLOCKING.keys() & set(assets):
            check = AssetCheckEvaluationPlanned(asset_key=dg.AssetKey(asset), check_name=BLOCKING[asset])
            event = dg.DagsterEvent(
                dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED.value, job, event_specific_data=check
            )
            self.instance.report_dagster_event(event, run.run_id)
        return run

    def everything_is_materialized(self) -> None:
        self.materialized(*SOURCES, *PUBLISHED, "enriched_metadata", "embeddings")
        for asset in PER_USER:
            self.materialized(asset, users=EVERYBODY)
        self.materialized("household_overview")

    def tick(self, later: timedelta = timedelta(seconds=30)) -> Requests:
        """What is requested now: assets, each with the partitions."""
        self.now += later
        # Checks have a test of their own.
        result = self.evaluate(
            self.now, dg.AssetSelection.all(include_sources=True) - dg.AssetSelection.all_asset_checks()
        )
        requested = {}
        for key in self.definitions.resolve_asset_graph().materializable_asset_keys:
            # What is published of logos follows the catalogue, too, and is no matter of these tests.
            if result.get_num_requested(key) and key.to_user_string() not in PUBLISHED:
                requested[key.to_user_string()] = set(result.get_requested_partitions(key))
        return requested

    def evaluate(self, at: datetime, of: dg.AssetSelection) -> Any:
        """Evaluate the conditions of these assets and checks, as the sensor does."""
        with users_read_once(self.instance):
            result = dg.evaluate_automation_conditions(self.definitions, self.instance, of, at, cursor=self.cursor)
        self.cursor = result.cursor
        return result

    def follow(self, *, limit: int = 10) -> list[Requests]:
        """Tick until nothing is requested; each time everything requested is materialized, with new content."""
        seen: list[Requests] = []
        while requested := self.tick():
            assert len(seen) < limit, f"no end to it: {seen}"
            seen.append(requested)
            for asset, partitions in requested.items():
                users = tuple(sorted(key for key in partitions if key is not None))
                self.materialized(asset, users=users or None)
        return seen

    def run(self, job: str, partition: str | None = None, tags: dict[str, str] | None = None) -> bool:
        """Really run a job; returns whether it succeeded."""
        definition = self.definitions.resolve_job_def(job)
        return definition.execute_in_process(
            instance=self.instance, partition_key=partition, tags=tags, raise_on_error=False
        ).success


@contextmanager
def users_read_once(instance: dg.DagsterInstance) -> Iterator[None]:
    """Read the partitions once: an evaluation reads them hundreds of times, and nobody joins or leaves during one."""
    users = instance.get_dynamic_partitions(USERS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instance, "get_dynamic_partitions", lambda partitions_def_name: users)
        yield


@pytest.fixture
def automation() -> Iterator[Automation]:
    with instance_in_memory() as instance:
        yield Automation(definitions_of(), instance)


@pytest.fixture
def running(settings: Settings) -> Iterator[Automation]:
    """An automation whose runs reach a database."""
    with instance_in_memory() as instance:
        yield Automation(build_definitions(settings), instance)


@pytest.fixture(scope="module")
def everything() -> Iterator[Automation]:
    """An automation that has seen that everything is materialized."""
    with instance_in_memory() as instance:
        automation = Automation(definitions_of(), instance)
        automation.everything_is_materialized()
        assert automation.tick() == {}
        yield automation


@pytest.fixture
def settled(automation: Automation, everything: Automation) -> Automation:
    """A copy of it: everything is materialized, and the automation has seen it."""
    copy_instance(everything.instance, automation.instance)
    automation.cursor, automation.now, automation.versions = everything.cursor, everything.now, count(1000)
    return automation


def test_on_a_new_home_what_the_server_knows_is_left_to_the_first_sync_and_sources_renew_lists_once(
    automation: Automation,
):
    assert automation.tick() == {}
    automation.materialized("users", "movies", "series", "episodes")
    assert automation.tick() == {}
    automation.materialized("enriched_metadata", "embeddings")
    automation.materialized("watch_history", "shows_you_watch", "taste_profiles", "recommendations", users=EVERYBODY)
    assert not {"embeddings", "taste_profiles", "recommendations"} & automation.tick().keys()
    # MDBList is done long before TMDb and OMDb.
    runs = [automation.begins("enrich_metadata", "tmdb_metadata", "omdb_ratings", "enriched_metadata")]
    runs.append(automation.begins("enrich_mdblist", "mdblist_scores"))
    automation.materialized("mdblist_scores", "enriched_metadata")
    automation.instance.report_run_canceled(runs.pop())
    assert "embeddings" not in automation.tick(), "TMDb is being asked"
    automation.materialized("tmdb_metadata", "omdb_ratings", "enriched_metadata")
    automation.instance.report_run_canceled(runs.pop())
    made = automation.follow()
    assert sum("embeddings" in one for one in made) == 1
    assert [one["recommendations"] for one in made if "recommendations" in one] == [set(EVERYBODY)]


def test_on_a_new_home_the_household_has_no_overview_before_anybody_has_a_list(automation: Automation):
    for key in EVERYBODY:
        automation.instance.delete_dynamic_partition(USERS, key)
    assert "household_overview" not in automation.tick(), "nobody is known"
    automation.instance.add_dynamic_partitions(USERS, list(EVERYBODY))
    automation.materialized("discovery_pool", "enriched_metadata", "embeddings")
    assert "household_overview" not in automation.tick(), "nobody has a list"
    automation.materialized("discovery_candidates", "recommendations", users=EVERYBODY)
    assert "household_overview" in automation.tick()


def test_nothing_new_requests_nothing(settled: Automation):
    # The same content again, of everything that is looked at.
    settled.materialized(*SOURCES, version="same")
    settled.materialized("watch_history", users=EVERYBODY, version="same")
    settled.follow()
    settled.materialized(*SOURCES, version="same")
    settled.materialized("watch_history", users=EVERYBODY, version="same")
    assert settled.tick() == {}


def test_a_changed_film_is_merged_then_embedded_then_moves_everybody(settled: Automation):
    settled.materialized("movies")
    assert settled.follow() == [
        {"enriched_metadata": {None}},
        {"embeddings": {None}},
        {"recommendations": set(EVERYBODY)},
    ]


def test_a_play_moves_the_taste_and_list_of_that_user_alone(settled: Automation):
    settled.materialized("watch_history", users=("Bruno",))
    assert settled.follow() == [
        {"taste_profiles": {"Bruno"}, "shows_you_watch": {"Bruno"}},
        {"recommendations": {"Bruno"}},
    ]


def test_ratings_from_trakt_move_the_taste_of_that_user_alone_and_are_not_waited_for(settled: Automation):
    """Nobody had any before: most users are not connected."""
    settled.materialized("trakt_ratings", users=("Bruno",), version="rated")
    assert settled.follow() == [{"taste_profiles": {"Bruno"}}, {"recommendations": {"Bruno"}}]


def test_a_changed_access_right_renews_lists_and_what_is_suggested_which_nothing_else_does_by_day(settled: Automation):
    settled.materialized("discovery_pool")
    settled.materialized("trakt_ratings", users=EVERYBODY)
    settled.follow()
    settled.materialized("users")
    renewed = ("recommendations", "shows_you_watch", "discovery_candidates")
    assert settled.follow() == [{asset: set(EVERYBODY) for asset in renewed}]
    settled.materialized("movies")
    assert not any("discovery_candidates" in one for one in settled.follow())


def test_a_new_episode_renews_the_shows_that_users_watch_and_nothing_else(settled: Automation):
    settled.materialized("episodes")
    assert settled.follow() == [{"shows_you_watch": set(EVERYBODY)}]


def test_what_a_first_run_makes_is_left_to_the_sensors(automation: Automation):
    automation.materialized(*SOURCES)
    automation.materialized("watch_history", users=("Clara",))
    for _ in range(2):
        made = automation.tick()
        assert not {"enriched_metadata", "embeddings", "taste_profiles", "shows_you_watch"} & made.keys()


def test_every_check_runs_with_its_asset_and_those_of_what_ages_once_a_day_as_well(automation: Automation):
    """A check with a condition, or one that a job leaves out, would be shown as not evaluated after its asset's run."""
    definitions = automation.definitions
    graph = definitions.resolve_asset_graph()
    assert not [key for key in graph.asset_check_keys if graph.get(key).automation_condition is not None]
    for job in all_jobs(load_settings()):
        layer = definitions.resolve_job_def(job.name).asset_layer
        assert layer.asset_graph.asset_check_keys >= {
            check for asset in job.assets for check in graph.get_check_keys_for_assets({dg.AssetKey(asset)})
        }, job.name
    # It waits for no materialization: that there is none may be what is wrong.
    schedule = definitions.resolve_schedule_def("run_daily_checks_schedule")
    assert (schedule.cron_schedule, schedule.job_name) == ("30 8 * * *", "run_daily_checks")
    daily = definitions.resolve_job_def("run_daily_checks").asset_layer.asset_graph
    assert {check.name for check in daily.asset_check_keys} == {
        "is_fresh_for_every_user",
        "suit_their_users",
        "crowd_is_usable",
        "is_recent_and_proven",
        "are_shown_completely",
        "is_fresh",
        "has_sources_that_answer",
        "reach_trakt_within_a_day",
        "have_working_connections",
    }


def test_new_logos_are_published(settled: Automation):
    settled.materialized("studio_logos")
    result = settled.evaluate(settled.now + timedelta(minutes=1), dg.AssetSelection.assets(*PUBLISHED))
    assert result.get_num_requested(dg.AssetKey("studio_pictures")) == 1


def test_what_is_written_to_the_media_server_waits_for_the_end_of_the_quiet_hours():
    with instance_in_memory() as instance:
        automation = Automation(definitions_of(quiet_hours="12:40-13:10"), instance)
        automation.everything_is_materialized()

        def requested(hour: int, minute: int) -> int:
            moment = datetime(2026, 3, 1, hour, minute, tzinfo=UTC)
            result = automation.evaluate(moment, dg.AssetSelection.assets(*PUBLISHED))
            return result.get_num_requested(dg.AssetKey("studio_pictures"))

        assert requested(12, 39) == requested(12, 41) == 0
        automation.materialized("studio_logos")
        assert requested(12, 42) == requested(13, 9) == 0
        assert requested(13, 10) == 0, "the last minute has passed since the look before"
        assert (requested(13, 11), requested(13, 12)) == (1, 0), "once, for all that changed"


@pytest.mark.parametrize(
    ("span", "minutes"), [("12:40-13:10", 30), ("22:30-06:00", 450), ("00:00-23:59", 1439), ("05:00-06:00", 60)]
)
def test_quiet_hours_tick_in_each_of_their_minutes(span: str, minutes: int):
    ticks = set()
    for cron in minutes_of(span):
        (first, last), hour = map(int, cron.split()[0].split("-")), int(cron.split()[1])
        ticks |= {60 * hour + minute for minute in range(first, last + 1)}
    start, end = (60 * int(part[:2]) + int(part[3:]) for part in span.split("-"))
    assert len(ticks) == minutes and start in ticks and end not in ticks and (end - 1) % 1440 in ticks


def test_a_newcomer_is_left_to_the_first_list_and_then_followed_like_the_others(settled: Automation):
    settled.instance.add_dynamic_partitions(USERS, ["Dmitri"])
    assert settled.tick() == {}
    settled.materialized("watch_history", users=("Dmitri",))
    assert settled.follow() == []
    settled.materialized("shows_you_watch", "taste_profiles", "recommendations", users=("Dmitri",))
    settled.follow()
    settled.materialized("watch_history", users=("Dmitri",))
    assert settled.follow() == [
        {"taste_profiles": {"Dmitri"}, "shows_you_watch": {"Dmitri"}},
        {"recommendations": {"Dmitri"}},
    ]


def test_a_newcomer_is_suggested_nothing_before_their_taste_is_known(settled: Automation):
    settled.materialized("discovery_pool")
    settled.follow()
    settled.instance.add_dynamic_partitions(USERS, ["Dmitri"])
    # Also an hour later, if the first list failed.
    assert [settled.tick(), settled.tick(timedelta(hours=1))] == [{}, {}]
    settled.materialized("taste_profiles", users=("Dmitri",))
    assert settled.tick()["discovery_candidates"] == {"Dmitri"}


def test_sources_that_are_asked_for_an_hour_hold_up_only_what_is_made_of_them(settled: Automation):
    settled.begins("enrich_metadata", "tmdb_metadata", "enriched_metadata")
    settled.materialized("taste_profiles", users=["Alma"])
    assert settled.tick() == {"recommendations": {"Alma"}}


def test_a_users_failure_is_not_retried_at_every_tick(running: Automation):
    users = EVERYBODY
    running.materialized(*SOURCES, "enriched_metadata", "embeddings")
    running.tick()
    running.materialized("watch_history", "shows_you_watch", "taste_profiles", "recommendations", users=users)
    running.materialized("household_overview")
    running.tick()
    running.materialized("watch_history", users=users)
    assert running.tick() == {"taste_profiles": set(users), "shows_you_watch": set(users)}
    running.materialized("shows_you_watch", users=users)
    span = {"dagster/asset_partition_range_start": users[0], "dagster/asset_partition_range_end": users[-1]}
    assert not running.run("generate_recommendations", tags=span), "no title has a vector"
    for _ in range(3):
        assert running.tick() == {}
    running.materialized("watch_history", users=users)
    assert "taste_profiles" in running.tick()


def test_a_source_that_fails_from_its_first_day_does_not_hold_back_the_view(make_settings: Callable[..., Settings]):
    nowhere = make_settings(omdb_api_key="key", omdb_url="http://127.0.0.1:1", http_attempts=1)
    Shelf(Database(nowhere)).films(film(1, imdb_id="tt1"))
    with instance_in_memory() as instance:
        automation = Automation(build_definitions(nowhere), instance)
        automation.materialized("users", "movies", "series", "episodes", "enriched_metadata")
        automation.tick()
        automation.materialized("mdblist_scores")
        assert not automation.run("enrich_metadata"), "OMDb cannot be reached"
        assert "enriched_metadata" in automation.tick(), "MDBList has been asked"


def test_runs_that_the_automation_starts_can_be_told_from_others(settled: Automation):
    """The condition relies on a tag that Dagster sets; a release that renames it would bring endless runs."""
    assert AUTOMATION_CONDITION_TAG == FROM_AUTOMATION
