"""New ids of titles, and users who are renamed, disabled, removed or added again, keep their history."""

from __future__ import annotations

from typing import Any

import pytest

from aperture_dagster_tests.household import Household, metadata_of, rows_written

pytestmark = pytest.mark.e2e

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

AT_NIGHT = pytest.mark.nightly(
    reason="Several whole cycles on each server.", instead="the same test on the other server"
)


def theirs(home: Household) -> dict[str, Any]:
    """Return what is stored of all users."""
    return {table: rows for table, rows in home.snapshot().items() if table in THEIRS}


@pytest.mark.parametrize("server", ["jellyfin", pytest.param("emby", marks=AT_NIGHT)])
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


@pytest.mark.parametrize("server", ["jellyfin", pytest.param("emby", marks=AT_NIGHT)])
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
