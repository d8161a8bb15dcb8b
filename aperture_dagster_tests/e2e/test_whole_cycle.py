"""The whole graph: first lists, a second cycle without changes, and what changes of the world around it do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from aperture_dagster.build import all_jobs
from aperture_dagster.catalogue.parental import certified_age, within_limit
from aperture_dagster.defs.users import VERSION_TAG
from aperture_dagster.discovery.suggestions import candidate_table, why_suggested
from aperture_dagster.enrichment.omdb.source import OMDB
from aperture_dagster.maintenance.clock import future_dates, set_right
from aperture_dagster.partitions import USERS
from aperture_dagster.postgres.database import Database
from aperture_dagster.publishing.disk.queries import listed_works
from aperture_dagster.simulator.demo_world import load_demo_world
from aperture_dagster.simulator.world import Play, WorldTitle, WorldUser
from aperture_dagster.worklist.services import MeteredService
from aperture_dagster_tests.clocks import redate
from aperture_dagster_tests.household import (
    NO_BACKUP,
    Household,
    SetClock,
    failed_checks,
    metadata_of,
    rows_written,
    run_check,
)
from aperture_dagster_tests.marks import ANOTHER_CASE

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
                # The others are widely liked.
                assert sum(bool(row["because"]) for row in listed) >= 0.6 * len(listed), name
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
        assert newcomer["dagster/partition_row_count"] > 50
        assert "note" not in metadata_of(results.values(), "recommendations", "Alma")


@pytest.mark.nightly(
    reason="Three whole cycles.",
    instead="e2e/test_only_what_changed.py::test_a_run_computes_what_changed_and_leaves_the_rest_as_it_was",
)
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


# New ids of titles, and titles that a user may no longer see, take no history away


SERVER_IDS = "SELECT server_item_id FROM titles UNION ALL SELECT server_item_id FROM episodes"
ITEMS = (
    "SELECT item_id, work_id, title, removed_at FROM titles "
    "UNION ALL SELECT item_id, work_id, title, removed_at FROM episodes ORDER BY 1"
)
# What is known of users.
THEIRS = ("plays", "watch_state", "ratings", "taste_weights", "taste_profiles", "recommendations")
WATCHED = (
    "SELECT count(*) FROM recommendations r JOIN watch_state w USING (user_id, work_id) "
    # A film that was left early is listed again in the end.
    "WHERE w.played OR w.play_count > 1"
)
PER_USER = ("sync_watch_history", "generate_recommendations")


def theirs(home: Household) -> dict[str, Any]:
    """Return what is stored of all users."""
    return {table: rows for table, rows in home.snapshot().items() if table in THEIRS}


@pytest.mark.nightly(
    reason="Most of a whole cycle on each server.",
    instead="catalogue/test_catalogue.py::test_reassigned_ids_do_not_move_history",
)
@pytest.mark.parametrize("server", ["jellyfin", "emby"])
def test_new_server_ids_of_every_item_change_nothing_for_any_user(settled: Any, server: str):
    with settled(server=server) as (simulator, home, world):
        home.note_addresses()
        items, ids = home.rows(ITEMS), {row["server_item_id"] for row in home.rows(SERVER_IDS)}
        before = home.snapshot()
        assert before["plays"] and before["recommendations"] and before["top_picks"]
        for title in world.titles:
            simulator.state.reassign_item_ids(title.key)
        # The worst order: a full comparison of histories while the catalogue has only the old ids.
        result = home.must("sync_watch_history", users=home.everyone(), config={"watch_history": {"full": True}})
        assert metadata_of(result, "watch_history", "ada0")["marks_taken_back"] == 0
        home.must("generate_recommendations", users=home.everyone())
        assert home.value(WATCHED) == 0
        simulator.state.reset_counters()
        jobs = ("sync_movies", "sync_series", "enrich_metadata", "generate_embeddings")
        again = [home.must(job) for job in jobs] + [home.must(job, users=home.everyone()) for job in PER_USER]
        after = home.snapshot()
        assert home.rows(ITEMS) == items
        assert not ids & {row["server_item_id"] for row in home.rows(SERVER_IDS)}
        assert {name for name in before if before[name] != after[name]} <= {"titles", "episodes"}
        assert metadata_of(again, "embeddings")["embedded"] == 0
        assert simulator.state.requests("tmdb") == 0
        assert {asset for asset, _ in rows_written(again)} == {"movies", "series", "episodes"}


@pytest.mark.parametrize("server", ["jellyfin", pytest.param("emby", marks=ANOTHER_CASE)])
def test_items_that_a_user_may_no_longer_see_keep_their_marks_and_plays(settled: Any, server: str):
    with settled(server=server) as (simulator, home, _):
        ada = simulator.state.user_named("ada0").id
        before = theirs(home)

        def compare(libraries: list[str] | None) -> dict[str, Any]:
            simulator.state.allow_libraries("ada0", libraries)
            home.must("sync_users")
            result = home.must("sync_watch_history", partition="ada0", config={"watch_history": {"full": True}})
            return metadata_of(result, "watch_history", "ada0")

        for libraries in ([], None):
            assert compare(libraries)["marks_taken_back"] == 0
        assert theirs(home) == before
        # A mark removed within a visible library is removed here, too.
        (film,) = home.rows(
            "SELECT title FROM titles JOIN watch_state USING (item_id) "
            "WHERE user_id = :user AND played AND NOT favorite "
            "AND titles.work_id NOT IN (SELECT work_id FROM ratings WHERE user_id = :user) LIMIT 1",
            user=ada,
        )
        key = next(title.key for title in simulator.state.titles.values() if title.title == film["title"])
        simulator.state.mark_unplayed("ada0", key)
        assert compare(None)["marks_taken_back"] == 1
        assert theirs(home)["plays"] == before["plays"]


# After a clock that was ahead, `aperture clock` sets everything right


YEAR = timedelta(days=365)


@pytest.mark.nightly(
    reason="Two whole cycles.",
    instead="cli/test_clock.py",
)
def test_after_aperture_clock_every_job_works_as_if_the_clock_had_never_been_ahead(settled: Callable[..., Any]):
    clock = SetClock(datetime.now(UTC) + YEAR)
    with settled({"clock": clock}) as (simulator, home, world):
        counts, state = simulator.state.counters, simulator.state

        def skips(job: str) -> str | None:
            return next(one for one in all_jobs(home.settings) if one.name == job).why_skip(
                home.instance, home.settings, clock
            )

        redate(home.database, YEAR)
        clock.moment -= YEAR
        now = clock.moment
        with home.database.transaction() as connection:
            assert future_dates(connection, now=now)
            set_right(connection, now=now)
            assert future_dates(connection, now=now) == []

        # Titles are due, the quota of the day is there, and both are kept from now on.
        assert skips("enrich_metadata") is None
        counts.reset()
        home.must("enrich_metadata")
        titles = home.value("SELECT count(*) FROM fetches WHERE source = 'omdb' AND outcome = 'ok'")
        assert titles > 5 and counts.total("omdb") >= titles
        used, limit = MeteredService(OMDB, home.settings, home.database, clock).quota.usage()  # type: ignore[union-attr]
        assert counts.total("omdb") <= used < limit
        counts.reset()
        home.must("enrich_metadata")
        assert counts.total("omdb") == 0, "not again"

        # What was watched counts.
        assert skips("sync_watch_history") is None
        user = home.everyone()[0]
        name = home.value("SELECT name FROM users WHERE partition_key = :key", key=user)
        film = home.rows(
            "SELECT tmdb_id FROM titles WHERE media_type = 'movie' AND NOT EXISTS (SELECT 1 FROM watch_state w "
            "JOIN users u USING (user_id) WHERE w.work_id = titles.work_id AND u.name = :name) LIMIT 1",
            name=name,
        )[0]["tmdb_id"]
        key = next(one.key for one in world.titles if one.media_type == "movie" and one.tmdb_id == film)
        state.play(Play(name, key, now - timedelta(minutes=1)))
        synced = metadata_of(home.must("sync_watch_history", users=home.everyone()), "watch_history", user)
        assert synced["plays_logged"] == 1
        assert run_check(home, "household_overview", "is_fresh_for_every_user").passed

        # The list of today is the one that is shown.
        home.must("refresh_top_picks", partition=now.date().isoformat())
        home.rows("DELETE FROM top_picks WHERE day > :day AND rank = 1 RETURNING 1", day=now.date())
        with home.database.transaction() as connection:
            shown = listed_works(connection, "top_picks/movie", today=now.date())
        made = home.rows(
            "SELECT rank, work_id FROM top_picks WHERE day = :day AND media_type = 'movie' ORDER BY rank",
            day=now.date(),
        )
        assert made and shown == [(row["rank"], row["work_id"]) for row in made]

        # Recommendations follow, and no check finds anything.
        lists = home.must("generate_recommendations", users=home.everyone())
        assert failed_checks(lists) == []
