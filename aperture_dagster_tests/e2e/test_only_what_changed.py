"""Tastes and lists are computed for those whose inputs have changed; what is made of equal inputs stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import Connection, text

from aperture_dagster.catalogue.people import users_of_partitions
from aperture_dagster.settings import Settings
from aperture_dagster.taste import changes
from aperture_dagster.taste.changes import find_changes, list_inputs, taste_inputs
from aperture_dagster.taste.crowd import table_in_use
from aperture_dagster.taste.recommendations import ranking_configs
from aperture_dagster.taste.vectors import active_model
from aperture_dagster_tests.household import Household, SetClock, materializations, metadata_of, rows_written

pytestmark = pytest.mark.e2e

JOB = "generate_recommendations"
ASSETS = ("taste_profiles", "recommendations")
ME = "bela1"
MINE = f"user_id = (SELECT user_id FROM users WHERE name = '{ME}')"
FILM = "(SELECT min(work_id) FROM present_titles WHERE media_type = 'movie')"
OTHERS = "the others"

Reasons = dict[str, set[str]]


class Looking:
    """Tells what would be computed in a household, and why: by ``ME`` and ``OTHERS``, who all have the same reasons."""

    def __init__(self, home: Household, clock: SetClock) -> None:
        self.home, self.clock = home, clock
        self.config = ranking_configs(home.settings)

    def reasons(self, connection: Connection, settings: Settings | None = None) -> tuple[Reasons, Reasons]:
        """Return the reasons to compute tastes, and to compute lists."""
        settings = settings or self.home.settings
        model = active_model(connection) or ""
        now = self.clock.now()
        tastes = taste_inputs(connection, settings, now=now)
        lists = list_inputs(connection, settings, now=now, model_key=model, config=self.config)
        return self._found(connection, "taste_profiles", tastes), self._found(connection, "recommendations", lists)

    def inputs(self, connection: Connection, of: Any = taste_inputs, **more: Any) -> dict[str, dict[str, str]]:
        """Return the inputs of each user's taste, or of what ``of`` tells them, by name."""
        inputs = of(connection, self.home.settings, now=self.clock.now(), **more)
        users = users_of_partitions(connection, self.home.everyone()).values()
        return {user.name: inputs(user) for user in users}

    def _found(self, connection: Connection, result: Any, inputs: Any) -> Reasons:
        users = users_of_partitions(connection, self.home.everyone()).values()
        found = find_changes(connection, result, users, inputs).reasons
        others = {found.get(user.user_id, ()) for user in users if user.name != ME}
        assert len(others) == 1, f"of the others, some differ: {others}"
        mine = next(user.user_id for user in users if user.name == ME)
        named = {ME: set(found.get(mine, ())), OTHERS: set(others.pop())}
        return {who: why for who, why in named.items() if why}

    @contextmanager
    def after(self, *statements: str) -> Iterator[Connection]:
        """Open a transaction in which some statements have changed something, which is undone at the end."""
        with self.home.database.connection() as connection:
            for statement in statements:
                assert connection.execute(text(statement)).rowcount, statement
            yield connection
            connection.rollback()


def everybody(*why: str) -> Reasons:
    return {ME: set(why), OTHERS: set(why)}


# A change, and why tastes and lists have to be computed after it.
HISTORY = ({ME: {"history"}}, {ME: {"history"}, OTHERS: {"household"}})
SEEN_BY_ALL: tuple[Reasons, Reasons] = (everybody("titles"), everybody("titles"))
IN_LISTS_ALONE: tuple[Reasons, Reasons] = ({}, everybody("titles"))
MY_ACCESS: tuple[Reasons, Reasons] = ({}, {ME: {"access"}})
CHANGES: dict[str, tuple[tuple[str, ...], tuple[Reasons, Reasons]]] = {
    "nothing": ((), ({}, {})),
    "a rewrite of the same": (("UPDATE watch_state SET updated_at = now()",), ({}, {})),
    "a play": ((f"UPDATE watch_state SET play_count = play_count + 3 WHERE NOT is_episode AND {MINE}",), HISTORY),
    "a date of a play": ((f"UPDATE watch_state SET last_played_at = '2001-01-01' WHERE {MINE}",), HISTORY),
    "a favourite": ((f"UPDATE watch_state SET favorite = NOT favorite WHERE {MINE}",), HISTORY),
    "a rating": (
        (
            "INSERT INTO ratings (user_id, source, work_id, item_id, rating, rated_at) "
            f"SELECT user_id, 'own', {FILM}, 0, 2, now() FROM users WHERE {MINE}",
        ),
        HISTORY,
    ),
    "a wish for more like a film": (
        (
            "INSERT INTO more_like_this (user_id, work_id, title, asked_at) "
            f"SELECT user_id, {FILM}, 'Wanted', now() FROM users WHERE {MINE}",
        ),
        HISTORY,
    ),
    "an episode of a series that I alone have seen": (
        (
            "INSERT INTO episodes (item_id, series_item_id, work_id, server_item_id, library_id, season, number, "
            "title) SELECT 99999, item_id, work_id, 'new', library_id, 7, 77, 'New' FROM titles WHERE work_id = "
            f"(SELECT min(work_id) FROM watch_state WHERE is_episode AND {MINE})",
        ),
        HISTORY,
    ),
    "a stored weight": (
        (f"UPDATE taste_weights SET weight = weight / 2 WHERE {MINE}",),
        ({ME: {"the result was altered"}}, {ME: {"taste"}, OTHERS: {"household"}}),
    ),
    "somebody who left": (
        (f"UPDATE users SET removed_at = now() WHERE {MINE}",),
        ({ME: {"history"}}, {ME: {"history", "taste"}, OTHERS: {"household"}}),
    ),
    "a new film": (
        (
            "INSERT INTO works (work_id, media_type) VALUES (99999, 'movie')",
            "INSERT INTO titles (item_id, work_id, media_type, server_item_id, library_id, title, genres, tags, "
            "studios) SELECT 99999, 99999, 'movie', 'new', min(library_id), 'New', '{}', '{}', '{}' FROM titles",
        ),
        (everybody("titles"), everybody("titles", "TMDb's lists")),
    ),
    "a film that is gone": (
        (f"UPDATE titles SET removed_at = now() WHERE work_id = {FILM}",),
        (everybody("titles"), everybody("titles", "TMDb's lists")),
    ),
    "genres": ((f"UPDATE enriched_metadata SET genres = '{{Opera}}' WHERE work_id = {FILM}",), SEEN_BY_ALL),
    "keywords": (
        (f"UPDATE enriched_metadata SET keywords = '{{tea}}' WHERE work_id = {FILM}",),
        (everybody("titles"), {}),
    ),
    "a title": (
        (f"UPDATE enriched_metadata SET title = 'Another' WHERE work_id = {FILM}",),
        ({}, {}),
    ),
    "the cast": ((f"UPDATE enriched_metadata SET \"cast\" = '{{Nobody}}' WHERE work_id = {FILM}",), IN_LISTS_ALONE),
    "a year": ((f"UPDATE enriched_metadata SET year = 1901 WHERE work_id = {FILM}",), IN_LISTS_ALONE),
    "votes": ((f"UPDATE enriched_metadata SET vote_count = 1234567 WHERE work_id = {FILM}",), IN_LISTS_ALONE),
    "an average": ((f"UPDATE enriched_metadata SET vote_average = 9.87 WHERE work_id = {FILM}",), IN_LISTS_ALONE),
    "a certificate": (
        (f"UPDATE enriched_metadata SET official_rating = 'XXX' WHERE work_id = {FILM}",),
        IN_LISTS_ALONE,
    ),
    "an awards text": ((f"UPDATE enriched_metadata SET awards = 'one more' WHERE work_id = {FILM}",), ({}, {})),
    "a text that was embedded": (
        (f"UPDATE embeddings SET text_hash = 'another' WHERE work_id = {FILM}",),
        ({}, everybody("vectors")),
    ),
    "another model": (
        (
            "INSERT INTO embedding_models (model_key, dimensions, activated_at) "
            "SELECT 'another', 256, max(activated_at) + interval '1 second' FROM embedding_models",
        ),
        ({}, everybody("vectors")),
    ),
    "what TMDb recommends from a film": (
        (f"UPDATE tmdb_metadata SET recommended_tmdb_ids = '{{1, 2, 3}}' WHERE work_id = {FILM}",),
        ({}, everybody("TMDb's lists")),
    ),
    "a parental limit": ((f"UPDATE users SET max_parental_rating = 12 WHERE {MINE}",), MY_ACCESS),
    "libraries": ((f"UPDATE users SET all_libraries = FALSE, library_ids = '{{}}' WHERE {MINE}",), MY_ACCESS),
    "blocked tags": ((f"UPDATE users SET blocked_tags = '{{scary}}' WHERE {MINE}",), MY_ACCESS),
    "a title that I hid": (
        (
            "INSERT INTO dismissals (user_id, work_id, media_type, title, dismissed_at) "
            f"SELECT user_id, {FILM}, 'movie', 'Hidden', now() FROM users WHERE {MINE}",
        ),
        ({}, {ME: {"hidden titles"}}),
    ),
    "a name": ((f"UPDATE users SET email = 'new@example.org' WHERE {MINE}",), ({}, {})),
}


def test_what_a_change_makes_necessary_and_for_whom(settled: Callable[..., Any]):
    clock = SetClock(datetime.now(UTC))
    with settled({"clock": clock}) as (_, home, _):
        home.must(JOB, users=home.everyone())
        look = Looking(home, clock)
        found, expected = {}, {}
        for name, (statements, reasons) in CHANGES.items():
            with look.after(*statements) as connection:
                found[name] = look.reasons(connection)
            expected[name] = reasons
        assert found == expected

        # A tag of a copy, or its folder, matters to those who may not see all copies.
        limited = f"UPDATE users SET blocked_tags = '{{scary}}' WHERE {MINE}"
        made = []
        for more in ((), (f"UPDATE titles SET tags = '{{scary}}' WHERE work_id = {FILM}",)):
            with look.after(limited, *more) as connection:
                made.append(
                    look.inputs(connection, list_inputs, model_key=active_model(connection), config=look.config)
                )
        assert [name for name in made[0] if made[0][name] != made[1][name]] == [ME]

        with look.after() as connection:
            # Time alone changes nothing: plays age by the last one of the user.
            clock.moment += timedelta(days=400)
            assert look.reasons(connection) == ({}, {})
        # A play that a wrong clock dated later than now has no date until then.
        clock.moment = datetime.now(UTC)
        dated = [f"UPDATE watch_state SET last_played_at = {when} WHERE {MINE}" for when in ("NULL", "now() + '1 day'")]
        with look.after(dated[0]) as connection:
            undated = look.inputs(connection)
        with look.after(dated[1]) as connection:
            assert look.inputs(connection) == undated
            clock.moment += timedelta(days=2)
            assert [name for name, inputs in look.inputs(connection).items() if inputs != undated[name]] == [ME]


def test_settings_a_crowd_and_another_version_of_the_program_are_inputs_too(
    settled: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
):
    clock = SetClock(datetime.now(UTC))
    with settled({"clock": clock}) as (_, home, _):
        rating = (
            "INSERT INTO ratings (user_id, source, work_id, item_id, rating, rated_at) "
            f"SELECT user_id, 'trakt', {FILM}, 0, 2, now() FROM users WHERE {MINE}"
        )
        with home.database.transaction() as connection:
            connection.execute(text(rating))
        home.must(JOB, users=home.everyone())
        look = Looking(home, clock)
        usual = look.config
        with look.after() as connection:
            assert look.reasons(connection) == ({}, {})
            ignoring = home.settings.model_copy(update={"trakt_sync_only": True})
            assert look.reasons(connection, ignoring) == HISTORY
            table = table_in_use(home.settings)
            table.parent.mkdir()
            table.write_bytes(b"what it says is read later")
            assert look.reasons(connection) == ({}, everybody("crowd"))
            table.unlink()
            look.config = {**usual, "movie": replace(usual["movie"], diversity=0.5)}
            assert look.reasons(connection) == ({}, everybody("settings"))
            look.config = usual
            monkeypatch.setattr(changes, "program_hash", lambda: "another")
            assert look.reasons(connection) == (everybody("program"), everybody("program"))


def test_a_run_computes_what_changed_says_why_and_leaves_the_rest_as_it_was(settled: Callable[..., Any]):
    with settled() as (_, home, _):
        users = home.everyone()
        home.must(JOB, users=users)
        before = stored(home)
        result = home.must(JOB, users=users)
        assert rows_written(result) == {}
        assert stored(home) == before
        for asset in ASSETS:
            assert set(why_computed(result, asset)) == set(users)
            assert set(why_computed(result, asset).values()) == {None}
            assert "unchanged_since" in metadata_of(result, asset, ME)
        assert "because" in metadata_of(result, "recommendations", ME)["films"], "the page still shows the list"
        assert metadata_of(result, "taste_profiles", ME)["liked"] > 0

        # A new rating: the taste of one user, and the list of those whom the run is for.
        film = home.value(f"SELECT min(work_id) AS work_id FROM recommendations WHERE media_type = 'movie' AND {MINE}")
        rate(home, film)
        result = home.must(JOB, partition=ME)
        assert metadata_of(result, "taste_profiles")["computed_because"] == "history"
        assert metadata_of(result, "recommendations")["computed_because"] == "history, taste"
        after = stored(home)
        assert {user for user in after if after[user] != before[user]} == {ME}
        assert film not in [row["work_id"] for row in after[ME]["recommendations"]]

        # At night, what one user watched reaches the others, whose tastes stay as they are.
        result = home.must(JOB, users=users)
        tastes, lists = (why_computed(result, asset) for asset in ASSETS)
        assert set(tastes.values()) == {None}
        assert lists == {user: None if user == ME else "household" for user in users}
        night = stored(home)
        assert night[ME] == after[ME]
        assert {user: of["taste_profiles"] for user, of in night.items()} == {
            user: of["taste_profiles"] for user, of in after.items()
        }

        # The lists are those that would be made if nothing were ever left out.
        again = home.must(JOB, users=users, config={asset: {"recompute": True} for asset in ASSETS})
        assert metadata_of(again, "taste_profiles", ME)["computed_because"] == "asked for"
        assert rows_written(again) == {} and stored(home) == night


def test_a_run_that_ended_between_taste_and_list_and_a_list_that_was_altered_are_made_good(settled: Callable[..., Any]):
    with settled() as (_, home, _):
        users = home.everyone()
        home.must(JOB, users=users)
        film = home.value(f"SELECT min(work_id) AS work_id FROM recommendations WHERE media_type = 'movie' AND {MINE}")
        rate(home, film)
        home.must(JOB, users=users, assets=["taste_profiles"])
        result = home.must(JOB, users=users)
        assert "unchanged_since" in metadata_of(result, "taste_profiles", ME)
        assert metadata_of(result, "recommendations", ME)["computed_because"] == "history, taste"
        whole = stored(home)

        home.rows(f"DELETE FROM recommendations WHERE rank = 2 AND {MINE} RETURNING 1")
        home.rows(
            "DELETE FROM taste_weights WHERE user_id = (SELECT user_id FROM users WHERE name = 'ada0') RETURNING 1"
        )
        result = home.must(JOB, users=users)
        assert metadata_of(result, "taste_profiles", "ada0")["computed_because"] == "the result was altered"
        assert metadata_of(result, "recommendations", ME)["computed_because"] == "the result was altered"
        assert stored(home, dates=False) == without_dates(whole)


def rate(home: Household, work_id: int) -> None:
    """Give a film the lowest rating."""
    home.rows(
        "INSERT INTO ratings (user_id, source, work_id, item_id, rating, rated_at) "
        f"SELECT user_id, 'own', :work, 0, 0.5, now() FROM users WHERE {MINE} RETURNING 1",
        work=work_id,
    )


def stored(home: Household, *, dates: bool = True) -> dict[str, dict[str, list[Any]]]:
    """Return the rows of tastes and lists by the name of their user."""
    tables = {"taste_profiles": "media_type", "taste_weights": "work_id", "recommendations": "media_type, rank"}
    found = {
        name: {
            table: home.rows(
                f"SELECT t.* FROM {table} t JOIN users USING (user_id) WHERE name = :name ORDER BY {order}", name=name
            )
            for table, order in tables.items()
        }
        for name in home.everyone()
    }
    return found if dates else without_dates(found)


def without_dates(found: dict[str, dict[str, list[Any]]]) -> dict[str, dict[str, list[Any]]]:
    dates = {"generated_at", "updated_at"}
    return {
        name: {
            table: [{key: value for key, value in row.items() if key not in dates} for row in rows]
            for table, rows in tables.items()
        }
        for name, tables in found.items()
    }


def why_computed(result: dg.ExecuteInProcessResult, asset: str) -> dict[str | None, str | None]:
    """Return why the result of each user was computed; None if nothing had changed."""
    return {
        one.partition: metadata_of(result, asset, one.partition).get("computed_because")
        for one in materializations(result)
        if one.asset_key == dg.AssetKey(asset)
    }
