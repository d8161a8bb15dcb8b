"""What follows from a change is asked for by itself, once, and for those whom it is about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from aperture_dagster.build import build_definitions
from aperture_dagster.partitions import USERS
from aperture_dagster.resources.providers import Database
from aperture_dagster.settings import Settings
from aperture_dagster_tests.storage.conftest import Shelf, film

# Dagster's own tester of conditions uses a beta feature.
pytestmark = pytest.mark.filterwarnings("ignore:Parameter `include_sources`")

SOURCES = (
    "users",
    "movies",
    "series",
    "episodes",
    "tmdb_metadata",
    "omdb_ratings",
    "mdblist_scores",
    "studio_logos",
    "studio_pictures",
)
PER_USER = ("watch_history", "taste_profiles", "recommendations")
EVERYBODY = ("Alma", "Bruno", "Clara")


class Automation:
    """An instance in which things happen, and what the automation asks for at each look."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.definitions = build_definitions(settings)
        self.cursor = None
        self.now = datetime.now(UTC)
        instance.add_dynamic_partitions(USERS, list(EVERYBODY))

    def made(self, *assets: str, users: tuple[str, ...] | None = None) -> None:
        """Somebody materialized these: whole, or for these users."""
        for asset in assets:
            for partition in users if users is not None else (None,):
                self.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=partition))

    def everything_is_made(self) -> None:
        self.made(*SOURCES, "enriched_metadata", "embeddings")
        for asset in PER_USER:
            self.made(asset, users=EVERYBODY)

    def look(self) -> dict[str, set[str | None]]:
        """What is asked for now: assets, each with the partitions."""
        self.now += timedelta(seconds=30)
        result = dg.evaluate_automation_conditions(
            self.definitions, self.instance, cursor=self.cursor, evaluation_time=self.now
        )
        self.cursor = result.cursor
        asked = {}
        for key in self.definitions.resolve_asset_graph().materializable_asset_keys:
            if result.get_num_requested(key):
                asked[key.to_user_string()] = set(result.get_requested_partitions(key))
        return asked

    def run(self, job: str, partition: str | None = None, tags: dict[str, str] | None = None) -> bool:
        """Really run a job; returns whether it succeeded."""
        definition = self.definitions.resolve_job_def(job)
        return definition.execute_in_process(
            instance=self.instance, partition_key=partition, tags=tags, raise_on_error=False
        ).success


@pytest.fixture
def automation(settings: Settings) -> Iterator[Automation]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Automation(settings, instance)


def test_nothing_is_asked_for_when_nothing_happened(automation: Automation):
    automation.everything_is_made()
    automation.look()
    for _ in range(3):
        assert automation.look() == {}


def test_an_empty_installation_asks_for_nothing_it_could_not_make(automation: Automation):
    for _ in range(2):
        assert automation.look() == {}


def test_a_new_film_is_merged_embedded_and_moves_everybody(automation: Automation):
    automation.everything_is_made()
    automation.look()
    automation.made("movies")
    assert automation.look() == {"enriched_metadata": {None}, "embeddings": {None}, "studio_pictures": {None}}
    automation.made("enriched_metadata", "embeddings")
    assert automation.look() == {"taste_profiles": set(EVERYBODY), "recommendations": set(EVERYBODY)}
    automation.made("taste_profiles", "recommendations", users=EVERYBODY)
    assert automation.look() == {}


def test_a_play_moves_the_taste_of_the_one_who_watched_alone(automation: Automation):
    automation.everything_is_made()
    automation.look()
    automation.made("watch_history", users=("Bruno",))
    assert automation.look() == {"taste_profiles": {"Bruno"}, "recommendations": {"Bruno"}}
    automation.made("taste_profiles", "recommendations", users=("Bruno",))
    assert automation.look() == {}


def test_what_is_missing_is_made_as_soon_as_it_can_be(automation: Automation):
    automation.made(*SOURCES)
    assert automation.look() == {"enriched_metadata": {None}, "embeddings": {None}}
    automation.made("enriched_metadata", "embeddings")
    assert automation.look() == {}, "nobody's history has been read"
    automation.made("watch_history", users=("Clara",))
    assert automation.look() == {"taste_profiles": {"Clara"}, "recommendations": {"Clara"}}


def test_new_logos_are_published(automation: Automation):
    automation.everything_is_made()
    automation.look()
    automation.made("studio_logos")
    assert automation.look() == {"studio_pictures": {None}}
    automation.made("studio_pictures")
    assert automation.look() == {}


def test_a_newcomer_is_served_without_the_others(automation: Automation):
    automation.everything_is_made()
    automation.look()
    automation.instance.add_dynamic_partitions(USERS, ["Dmitri"])
    assert automation.look() == {}
    automation.made("watch_history", users=("Dmitri",))
    assert automation.look() == {"taste_profiles": {"Dmitri"}, "recommendations": {"Dmitri"}}


def test_what_was_asked_for_is_not_asked_for_again_while_it_waits(automation: Automation):
    automation.everything_is_made()
    automation.look()
    automation.made("movies")
    assert "enriched_metadata" in automation.look()
    for _ in range(3):
        assert automation.look() == {}


def test_after_a_failure_the_next_change_tries_again_and_nothing_before_it(automation: Automation):
    automation.made(*SOURCES, "enriched_metadata")
    assert automation.look() == {"embeddings": {None}}
    assert not automation.run("generate_embeddings"), "there is nothing to embed"
    for _ in range(3):
        assert automation.look() == {}
    automation.made("enriched_metadata")
    assert automation.look() == {"embeddings": {None}}


@pytest.mark.parametrize("users", [("Bruno",), EVERYBODY])
def test_a_users_failure_is_not_retried_for_ever_either(automation: Automation, users: tuple[str, ...]):
    automation.made(*SOURCES, "enriched_metadata", "embeddings")
    automation.look()
    automation.made("watch_history", users=users)
    asked = {"taste_profiles": set(users), "recommendations": set(users)}
    assert automation.look() == asked
    span = {"dagster/asset_partition_range_start": users[0], "dagster/asset_partition_range_end": users[-1]}
    assert not automation.run("generate_recommendations", tags=span), "no title has a vector"
    for _ in range(3):
        assert automation.look() == {}
    automation.made("watch_history", users=users)
    assert automation.look() == asked


def test_looking_at_the_users_every_half_hour_moves_nobodys_list(automation: Automation):
    automation.everything_is_made()
    automation.look()
    automation.made("users")
    assert automation.look() == {}


def test_a_source_that_fails_from_its_first_day_does_not_hold_back_the_view(make_settings: Callable[..., Settings]):
    nowhere = make_settings(omdb_api_key="key", omdb_url="http://127.0.0.1:1", http_attempts=1)
    Shelf(Database(nowhere)).films(film(1, imdb_id="tt1"))
    with dg.DagsterInstance.ephemeral() as instance:
        automation = Automation(nowhere, instance)
        automation.made("users", "movies", "series", "episodes", "mdblist_scores")
        assert automation.look() == {}, "TMDb and OMDb have not had their turn yet"
        assert not automation.run("enrich_metadata"), "OMDb cannot be reached"
        asked = automation.look()
        assert {"enriched_metadata", "embeddings"} <= set(asked), "TMDb has been asked, and MDBList"
        automation.made("studio_logos", "studio_pictures")
        for _ in range(3):
            assert automation.look() == {}
