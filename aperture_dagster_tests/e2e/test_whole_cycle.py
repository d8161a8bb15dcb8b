"""The whole graph on the demo: first lists, a second cycle without changes, and reactions to changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from aperture_dagster.catalogue.access import certified_age, within_limit
from aperture_dagster.defs.users import VERSION_TAG
from aperture_dagster.discovery.suggestions import candidate_table, why_suggested
from aperture_dagster.partitions import USERS
from aperture_dagster.postgres.database import Database
from aperture_dagster.simulator.demo_world import load_demo_world
from aperture_dagster.simulator.world import Play, WorldTitle, WorldUser
from aperture_dagster_tests.household import NO_BACKUP, Household, failed_checks, metadata_of, rows_written

pytestmark = pytest.mark.e2e

TOUCHED = "SELECT work_id FROM watch_state WHERE user_id = :user AND (played OR play_count > 0 OR position_share > 0)"


def lists_of(home: Household) -> dict[str, list[str]]:
    """Return the recommended films of every user by name."""
    return {row["name"]: home.titles_for(row["name"]) for row in home.rows("SELECT name FROM users")}


@pytest.mark.nightly(
    reason="A whole cycle of the largest household: sixteen seconds of processor time.",
    instead="e2e/test_demo_and_up.py::test_a_demo_publishes_every_list_and_shows_them_without_the_configured_database",
)
def test_a_first_cycle_gives_every_user_a_full_list_with_reasons_or_says_why_there_are_none(household):
    world = load_demo_world(now=datetime.now(UTC))
    active = {user.name: user for user in world.users if not user.is_disabled}
    with household(world) as (_, home):
        results = home.cycle()
        assert [check for result in results.values() for check in failed_checks(result)] == []
        assert [name for name, check in home.daily_checks().items() if not check.passed] == [NO_BACKUP]
        users = {row["name"]: row for row in home.rows("SELECT * FROM users")}
        library = home.rows(
            "SELECT work_id, media_type, official_rating FROM titles JOIN works USING (work_id, media_type)"
        )
        for name, facts in active.items():
            user = users[name]["user_id"]
            listed = home.rows("SELECT * FROM recommendations WHERE user_id = :user", user=user)
            touched = {row["work_id"] for row in home.rows(TOUCHED, user=user)}
            works = {row["work_id"] for row in listed}
            assert not works & touched, name
            weighed = {
                row["work_id"]
                for row in home.rows("SELECT work_id FROM taste_weights WHERE user_id = :user", user=user)
            }
            allowed = [row for row in library if within_limit(row["official_rating"], facts.max_parental_rating)]
            assert works <= {row["work_id"] for row in allowed}, name
            for kind in ("movie", "series"):
                ranks = sorted(row["rank"] for row in listed if row["media_type"] == kind)
                left = {row["work_id"] for row in allowed if row["media_type"] == kind} - touched
                assert ranks == list(range(1, min(50, len(left)) + 1)), (name, kind)
            assert {one for row in listed for one in row["because"]} <= weighed, name
            if len(weighed) >= 10:
                assert sum(bool(row["because"]) for row in listed) >= 0.8 * len(listed), name
        with Database(home.settings).transaction() as connection:
            outside = {name: candidate_table(connection, users[name]["user_id"], country="US") for name in active}
        owned = home.rows(
            "SELECT w.media_type, w.tmdb_id FROM work_ids w WHERE work_id IN (SELECT work_id FROM present_titles)"
        )
        here = {(row["media_type"], row["tmdb_id"]) for row in owned}
        pool = home.rows("SELECT media_type, tmdb_id, certifications FROM discovery_pool")
        ages = {
            (row["media_type"], row["tmdb_id"]): certified_age(row["certifications"] or {}, ("US",)) for row in pool
        }
        for name, facts in active.items():
            keys = [(row["media_type"], row["tmdb_id"]) for row in outside[name]]
            assert {kind for kind, _ in keys} == {"movie", "series"} and len(set(keys)) == len(keys), name
            assert not set(keys) & here, name
            assert all(row["title"] and row["year"] and why_suggested(row) for row in outside[name]), name
            assert all(0 <= row["score"] <= 1 for row in outside[name])
            if facts.max_parental_rating is not None:
                limits = [ages[key] for key in keys]
                assert all(age is not None and age <= facts.max_parental_rating for age in limits), name
        disabled = [user.name for user in world.users if user.is_disabled]
        assert disabled and not any(home.titles_for(name) for name in disabled)
        films = [tuple(titles[:10]) for name, titles in lists_of(home).items() if name in active]
        assert len(set(films)) == len(films), "no two users have the same first ten"
        newcomer = metadata_of(results.values(), "recommendations", "Lena")
        assert "Too little history" in newcomer["note"]
        assert newcomer["dagster/row_count"] > 50
        assert "note" not in metadata_of(results.values(), "recommendations", "Alma")


def test_a_second_cycle_writes_requests_and_embeds_nothing_and_what_is_new_gets_its_place(settled):
    with settled() as (simulator, home, world):
        home.note_addresses()
        before = home.snapshot()
        dates = home.rows("SELECT user_id, media_type, rank, generated_at FROM recommendations ORDER BY 1, 2, 3")
        simulator.state.reset_counters()
        again = home.cycle()
        assert rows_written(again.values()) == {}
        assert simulator.state.requests("tmdb") == 0
        assert metadata_of(again.values(), "embeddings")["embedded"] == 0
        assert home.snapshot() == before
        assert (
            home.rows("SELECT user_id, media_type, rank, generated_at FROM recommendations ORDER BY 1, 2, 3") == dates
        )

        # A new film and a new user.
        simulator.state.reset_counters()
        film = WorldTitle(
            "movie:new", "movie", "The Newcomer", year=2024, genres=("Drama",), overview="Everybody waited for it.",
            vote_average=9.5, vote_count=100_000, popularity=500.0, tmdb_id=999_000_001, imdb_id="tt999000001",
        )  # fmt: skip
        simulator.state.add_title(film)
        simulator.state.add_user(WorldUser("newcomer"))
        simulator.state.play(Play("newcomer", world.titles[3].key, datetime.now(UTC) - timedelta(days=1)))
        jobs = ("sync_users", "sync_movies", "enrich_metadata", "generate_embeddings")
        results = {job: home.must(job) for job in jobs}
        assert simulator.state.requests("tmdb", "/movie/") == 1
        assert metadata_of(results.values(), "movies")["added"] == 1
        assert metadata_of(results.values(), "embeddings")["embedded"] == 1
        assert "newcomer" in home.instance.get_dynamic_partitions(USERS)
        home.must("first_list", partition="newcomer")
        assert len(home.titles_for("newcomer")) == 50
        home.must("generate_recommendations", users=home.everyone())
        assert any("The Newcomer" in titles for titles in lists_of(home).values())


# The page of the household


JOB = "refresh_household_overview"


def version_of(home: Household) -> str:
    """Return the version of the event that the page of the household shows."""
    event = home.instance.get_latest_materialization_event(dg.AssetKey("household_overview"))
    assert event is not None and event.asset_materialization is not None
    return (event.asset_materialization.tags or {})[VERSION_TAG]


def test_the_page_of_the_household_shows_everybodys_lists_and_is_new_only_if_something_changed(settled):
    with settled() as (_, home, _):
        first = home.must(JOB)
        page = metadata_of(first, "household_overview")
        assert list(page)[:2] == ["status", "watch_first"], "what a person wants to know first"
        everybody = len(home.everyone())
        assert f"{everybody} of {everybody} users have a list." in page["status"]
        assert "Since " in page["status"] and "lists changed" in page["status"]
        rows = [record.data for record in page["watch_first"].records]
        assert [(row["user"], row["film"].rpartition(" (")[0]) for row in rows] == [
            (user, home.titles_for(user)[0]) for user in home.everyone()
        ]
        assert page["dagster/row_count"] == len(home.everyone())
        assert sum(len(str(value)) for value in page.values()) < 20_000, "events are kept"
        version = version_of(home)
        home.must(JOB)
        assert version_of(home) == version
        home.rows("DELETE FROM recommendations WHERE user_id = (SELECT min(user_id) FROM users) RETURNING 1")
        assert "; none has been made for " in metadata_of(home.must(JOB), "household_overview")["status"]
        assert version_of(home) != version
