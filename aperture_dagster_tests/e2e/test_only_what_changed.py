"""Tastes and lists are computed if what they are made from has changed; otherwise they stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import Connection, text

from aperture_dagster.catalogue.stored_users import users_of_partitions
from aperture_dagster.settings import Settings
from aperture_dagster.taste import changes
from aperture_dagster.taste.changes import find_changes, list_inputs, taste_inputs
from aperture_dagster.taste.crowd import table_in_use
from aperture_dagster.taste.recommendations import ranking_configs, read_places, resting
from aperture_dagster.taste.vectors import active_model
from aperture_dagster_tests.household import Household, SetClock, materializations, metadata_of, rows_written

pytestmark = pytest.mark.e2e

JOB = "generate_recommendations"
ASSETS = ("taste_profiles", "recommendations")
ME = "bela1"
MINE = f"user_id = (SELECT user_id FROM users WHERE name = '{ME}')"
FILM = "(SELECT min(work_id) FROM present_titles WHERE media_type = 'movie')"
TASTES_AND_LISTS, LISTS, NOTHING = (True, True), (False, True), (False, False)
SEEN_ELSEWHERE = (
    "INSERT INTO works (media_type, tmdb_id) VALUES ('movie', 999001)",
    "INSERT INTO discovery_pool (work_id, media_type, tmdb_id) SELECT work_id, media_type, tmdb_id FROM works "
    "WHERE tmdb_id = 999001",
    "INSERT INTO ratings (user_id, source, work_id, item_id, rating, rated_at) "
    f"SELECT user_id, 'own', work_id, 0, 9, now() FROM users, works WHERE {MINE} AND tmdb_id = 999001",
)
# A change by its name, and whether tastes and lists have to be computed after it.
CHANGES = {
    "nothing": ("SELECT 1", NOTHING),
    "a play": ("UPDATE watch_state SET play_count = 9, updated_at = clock_timestamp() WHERE {MINE}", TASTES_AND_LISTS),
    "an imported play": (
        "INSERT INTO plays (user_id, item_id, work_id, is_episode, play_count, completion, played_at, imported_from) "
        "SELECT user_id, 1, {FILM}, false, 1, 1, now(), 'a file' FROM users WHERE {MINE}",
        TASTES_AND_LISTS,
    ),
    "a rating": (
        "INSERT INTO ratings (user_id, source, work_id, item_id, rating, rated_at) "
        "SELECT user_id, 'own', {FILM}, 0, 2, now() FROM users WHERE {MINE}",
        TASTES_AND_LISTS,
    ),
    "a wish for more like a film": (
        "INSERT INTO more_like_this (user_id, work_id, title, asked_at) "
        "SELECT user_id, {FILM}, 'Wanted', now() FROM users WHERE {MINE}",
        TASTES_AND_LISTS,
    ),
    "a film that is gone": ("UPDATE titles SET removed_at = now() WHERE work_id = {FILM}", TASTES_AND_LISTS),
    "another fact": ("UPDATE enriched_metadata SET updated_at = clock_timestamp() WHERE work_id = {FILM}",
                     TASTES_AND_LISTS),
    "a copy of another": ("INSERT INTO item_versions VALUES ('copy', 99, 1, false)", TASTES_AND_LISTS),
    "somebody who left": ("UPDATE users SET removed_at = now() WHERE {MINE}", TASTES_AND_LISTS),
    "a stored weight": ("UPDATE taste_weights SET weight = weight / 2 WHERE {MINE}", TASTES_AND_LISTS),
    "a text that was embedded": ("UPDATE embeddings SET text_hash = 'another' WHERE work_id = {FILM}", LISTS),
    "another model": (
        "INSERT INTO embedding_models (model_key, dimensions, activated_at) "
        "SELECT 'another', 256, max(activated_at) + interval '1 second' FROM embedding_models",
        LISTS,
    ),
    "what TMDb recommends from a film": (
        "UPDATE tmdb_metadata SET updated_at = clock_timestamp() WHERE work_id = {FILM}", LISTS
    ),
    "a title that I hid": (
        "INSERT INTO dismissals (user_id, work_id, media_type, title, dismissed_at) "
        "SELECT user_id, {FILM}, 'movie', 'Hidden', now() FROM users WHERE {MINE}",
        LISTS,
    ),
    "a genre that I excluded": (
        "INSERT INTO member_choices (user_id, publish, newsletter, excluded_genres) "
        "SELECT user_id, true, false, '{{Drama}}' FROM users WHERE {MINE}",
        LISTS,
    ),
    "details of a film that was seen elsewhere, without a vector": (
        "UPDATE discovery_pool SET title = 'Elsewhere', fetched_at = now() WHERE tmdb_id = 999001", LISTS
    ),
    "a parental limit": ("UPDATE users SET max_parental_rating = 12 WHERE {MINE}", TASTES_AND_LISTS),
    "blocked tags": ("UPDATE users SET blocked_tags = '{{scary}}' WHERE {MINE}", TASTES_AND_LISTS),
    "a name": ("UPDATE users SET email = 'new@example.org', updated_at = clock_timestamp() WHERE {MINE}", NOTHING),
}  # fmt: skip


def looked(home: Household, connection: Connection, today: datetime, **changed: Any) -> tuple[bool, bool]:
    """Return whether any taste, and whether any list, would be computed with some settings or ranking."""
    settings: Settings = changed.get("settings", home.settings)
    users = [user.user_id for user in users_of_partitions(connection, home.everyone()).values()]
    rest = {user: resting(own, today.date()) for user, own in read_places(connection, users).items()}
    config = changed.get("config", ranking_configs(settings))
    lists = list_inputs(connection, settings, model_key=active_model(connection) or "", config=config, resting=rest)
    tastes = dict.fromkeys(users, taste_inputs(connection, settings))
    return (
        bool(find_changes(connection, "taste_profiles", tastes).due),
        bool(find_changes(connection, "recommendations", lists).due),
    )


def test_what_a_change_makes_necessary(
    settled: Callable[..., AbstractContextManager[Any]], monkeypatch: pytest.MonkeyPatch
):
    clock = SetClock(datetime.now(UTC))
    with settled({"clock": clock}) as (_, home, _):
        with home.database.transaction() as connection:
            for statement in SEEN_ELSEWHERE:
                connection.execute(text(statement))
        home.must(JOB, users=home.everyone())
        found = {}
        for name, (statement, _) in CHANGES.items():
            with home.database.connection() as connection:
                assert connection.execute(text(statement.format(MINE=MINE, FILM=FILM))).rowcount, name
                found[name] = looked(home, connection, clock.moment)
                connection.rollback()
        assert found == {name: expected for name, (_, expected) in CHANGES.items()}

        with home.database.connection() as connection:
            assert looked(home, connection, clock.moment + timedelta(hours=1)) == NOTHING, "time alone"
            assert looked(home, connection, clock.moment + timedelta(days=4)) == LISTS, "something begins to rest"
            ignoring = home.settings.model_copy(update={"trakt_sync_only": True})
            assert looked(home, connection, clock.moment, settings=ignoring) == TASTES_AND_LISTS
            usual = ranking_configs(home.settings)
            other = {**usual, "movie": replace(usual["movie"], diversity=0.5)}
            assert looked(home, connection, clock.moment, config=other) == LISTS
            table = table_in_use(home.settings)
            table.parent.mkdir()
            table.write_bytes(b"what it says is read later")
            assert looked(home, connection, clock.moment) == LISTS
            table.unlink()
            monkeypatch.setattr(changes, "program_hash", lambda: "another")
            assert looked(home, connection, clock.moment) == TASTES_AND_LISTS


def test_a_run_computes_what_changed_and_leaves_the_rest_as_it_was(settled: Callable[..., Any]):
    with settled() as (_, home, _):
        users = home.everyone()
        home.must(JOB, users=users)
        before = stored(home)
        result = home.must(JOB, users=users)
        assert rows_written(result) == {} and stored(home) == before
        for asset in ASSETS:
            assert unchanged(result, asset) == set(users)
        assert "because" in metadata_of(result, "recommendations", ME)["films"], "the page still shows the list"
        assert metadata_of(result, "taste_profiles", ME)["liked"] > 0

        # A new rating: the taste and the list of one user, whom the run is for.
        film = home.value(f"SELECT min(work_id) AS work_id FROM recommendations WHERE media_type = 'movie' AND {MINE}")
        rate(home, film)
        assert unchanged(home.must(JOB, partition=ME), "recommendations") == set()
        after = stored(home)
        assert {user for user in after if after[user] != before[user]} == {ME}
        assert film not in [row["work_id"] for row in after[ME]["recommendations"]]

        # At night, what one user watched reaches the others, whose tastes stay as they are.
        home.must(JOB, users=users)
        night = stored(home)
        assert night[ME] == after[ME]
        assert {user: of["taste_weights"] for user, of in night.items()} == {
            user: of["taste_weights"] for user, of in after.items()
        }

        # The lists are those that would be made if nothing were ever left out. The last digit of a score may differ: it
        # is rounded, and what is summed depends on how many users are computed together.
        whole = works(home)
        again = home.must(JOB, users=users, config={asset: {"recompute": True} for asset in ASSETS})
        assert unchanged(again, "recommendations") == set()
        assert works(home) == whole

        # A run that ended between taste and list, and results that were lost or altered, are made good.
        rate(home, home.value(f"SELECT min(work_id) AS work_id FROM recommendations WHERE {MINE}"))
        home.must(JOB, users=users, assets=["taste_profiles"])
        result = home.must(JOB, users=users)
        assert unchanged(result, "taste_profiles") == set(users) and unchanged(result, "recommendations") == set()
        whole = works(home)
        home.rows(f"DELETE FROM recommendations WHERE rank = 2 AND {MINE} RETURNING 1")
        home.rows(f"DELETE FROM taste_weights WHERE NOT {MINE} RETURNING 1")
        home.must(JOB, users=users)
        assert works(home) == whole


def rate(home: Household, work_id: int) -> None:
    """Give a title the lowest rating."""
    home.rows(
        "INSERT INTO ratings (user_id, source, work_id, item_id, rating, rated_at) "
        f"SELECT user_id, 'own', :work, 0, 0.5, now() FROM users WHERE {MINE} RETURNING 1",
        work=work_id,
    )


def stored(home: Household) -> dict[str, dict[str, list[Any]]]:
    """Return the rows of tastes and lists by the name of their user."""
    tables = {"taste_profiles": "media_type", "taste_weights": "work_id", "recommendations": "media_type, rank"}
    return {
        name: {
            table: home.rows(
                f"SELECT t.* FROM {table} t JOIN users USING (user_id) WHERE name = :name ORDER BY {order}", name=name
            )
            for table, order in tables.items()
        }
        for name in home.everyone()
    }


def works(home: Household) -> dict[str, dict[str, list[int]]]:
    """Return the works of weights and lists in their order, by the name of their user."""
    return {
        name: {table: [row["work_id"] for row in of[table]] for table in ("taste_weights", "recommendations")}
        for name, of in stored(home).items()
    }


def unchanged(result: dg.ExecuteInProcessResult, asset: str) -> set[str | None]:
    """Return the users whose result was not computed."""
    recorded = (one for one in materializations(result) if one.asset_key == dg.AssetKey(asset))
    return {one.partition for one in recorded if "unchanged_since" in one.metadata}
