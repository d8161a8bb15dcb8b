"""A newer schema keeps what an older one held."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from alembic import command
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Date,
    DateTime,
    Float,
    Integer,
    MetaData,
    Table,
    create_engine,
    insert,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from aperture_dagster.library.sources import TMDB, TMDB_COLLECTIONS
from aperture_dagster.settings import load_settings
from aperture_dagster.storage.connection import open_engine
from aperture_dagster.storage.migrate import alembic_config
from aperture_dagster.storage.work_list import due_items, enrol
from aperture_dagster_tests.storage.conftest import NOW

DAY = timedelta(days=1)
SOMETHING: dict[type, Any] = {
    ARRAY: [], JSONB: {}, Boolean: False, BigInteger: 0, Integer: 0, Float: 0.0, Date: NOW.date(), DateTime: NOW,
}  # fmt: skip


@contextmanager
def at_revision(url: str, revision: str) -> Iterator[Connection]:
    """A connection to a database with the schema of a revision."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()
        yield connection
        connection.commit()
    engine.dispose()


def put(connection: Connection, table: str, **values: Any) -> None:
    """A row of a table as it is at this revision; what must be there and does not matter is something."""
    columns = Table(table, MetaData(), autoload_with=connection).columns
    needed = {one.name: something(one) for one in columns if not one.nullable and one.server_default is None}
    connection.execute(insert(Table(table, MetaData(), autoload_with=connection)).values(needed | values))


def something(column: Column[Any]) -> Any:
    return next((value for kind, value in SOMETHING.items() if isinstance(column.type, kind)), column.name)


def rows(connection: Connection, statement: str) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(text(statement)).mappings()]


@pytest.fixture
def first_schema(empty: str) -> str:
    """A database of the first schema: six films, what TMDb said of them when, and two collections."""
    attempts = {
        1: ("ok", 0, -10 * DAY, 20 * DAY),
        2: ("ok", 0, -40 * DAY, -10 * DAY),
        3: ("ok", 0, -31 * DAY, -DAY),
        4: ("not_found", 0, None, 5 * DAY),
        5: ("error", 3, -50 * DAY, -DAY / 24),
    }
    with at_revision(empty, "0001") as connection:
        put(connection, "libraries", library_id="films", name="Films", collection_type="movies")
        for number in range(1, 7):
            # The second was found by its IMDb id.
            ids = {"tmdb_id": None if number == 2 else number, "imdb_id": f"tt{number}"}
            put(connection, "works", work_id=number, media_type="movie", **ids)
            put(
                connection, "titles", item_id=number, work_id=number, media_type="movie", library_id="films",
                server_item_id=f"film-{number}", title=f"Film {number}", added_at=NOW - number * DAY,
            )  # fmt: skip
        for number, (outcome, failures, fetched, due) in attempts.items():
            put(
                connection, "fetches", source="tmdb", work_id=number, outcome=outcome, attempts=failures,
                fetched_at=None if fetched is None else NOW + fetched, attempted_at=NOW - DAY, due_at=NOW + due,
                detail=None if outcome == "ok" else "what it said",
            )  # fmt: skip
            if outcome != "not_found":
                known = {"tmdb_id": 700 + number, "title": f"TMDb {number}", "keywords": ["heist"]}
                put(connection, "tmdb_metadata", work_id=number, collection_id=number % 2 + 90, **known)
        for number, days in ((90, 40), (91, 10)):
            put(connection, "tmdb_collections", collection_id=number, name="Saga", fetched_at=NOW - days * DAY)
        put(connection, "enriched_metadata", work_id=1, media_type="movie", title="Film 1", keywords=["heist"])
    return empty


def test_what_was_due_before_the_second_schema_is_due_after_it_and_all_answers_are_kept(first_schema: str):
    answers = "SELECT to_jsonb(m) - 'updated_at' AS row FROM tmdb_metadata m ORDER BY work_id"
    with at_revision(first_schema, "0001") as connection:
        before = rows(connection, answers)
    with open_engine(load_settings(database_url=first_schema)).begin() as connection:
        assert rows(connection, answers) == before and len(before) == 4
        assert enrol(connection, TMDB, now=NOW) == 1, "the film that nobody had asked about"
        due = due_items(connection, TMDB, now=NOW, limit=50)
        assert [item.name for item in due] == ["Film 6", "Film 2", "Film 3", "Film 5"]
        assert [item.failures for item in due] == [0, 0, 0, 3]
        assert [item.tmdb_id for item in due] == [6, 702, 3, 5], "what was found is not looked for again"
        later = due_items(connection, TMDB, now=NOW + 20 * DAY, limit=50)
        assert [item.name for item in later] == ["Film 6", "Film 2", "Film 3", "Film 5", "Film 4", "Film 1"]
        kept = rows(connection, "SELECT outcome, fetched_at, detail FROM fetches WHERE item = 5 AND kind = 'movie'")
        assert kept == [{"outcome": "error", "fetched_at": NOW - 50 * DAY, "detail": "what it said"}]


def test_collections_keep_the_day_of_their_refresh_and_the_view_its_rows(first_schema: str):
    with open_engine(load_settings(database_url=first_schema)).begin() as connection:
        assert enrol(connection, TMDB_COLLECTIONS, now=NOW) == 0
        assert [item.item for item in due_items(connection, TMDB_COLLECTIONS, now=NOW, limit=5)] == [90]
        later = due_items(connection, TMDB_COLLECTIONS, now=NOW + 20 * DAY, limit=5)
        assert [item.item for item in later] == [90, 91]
        (view,) = rows(connection, "SELECT title, keywords, streams, imdb_rating FROM enriched_metadata")
        assert view == {"title": "Film 1", "keywords": ["heist"], "streams": [], "imdb_rating": None}
        assert len(rows(connection, "SELECT 1 FROM tmdb_collections WHERE updated_at < now()")) == 2


def test_ratings_and_titles_of_an_older_home_are_kept(empty: str):
    """Findings S4 and S15: what a home of the third schema holds."""
    with at_revision(empty, "0003") as connection:
        put(connection, "users", user_id="ann", name="Ann")
        put(connection, "works", work_id=1, media_type="series")
        put(connection, "titles", item_id=1, work_id=1, media_type="series", server_item_id="show", removed_at=NOW)
        put(connection, "episodes", item_id=2, series_item_id=1, work_id=1, server_item_id="e1")
        for item, rating in ((1, 7.3), (2, None)):
            put(
                connection, "watch_state", user_id="ann", item_id=item, work_id=1, is_episode=item == 2, rating=rating,
                updated_at=NOW - item * DAY,
            )  # fmt: skip
    with open_engine(load_settings(database_url=empty)).begin() as connection:
        assert rows(connection, "SELECT item_id, server_item_id FROM titles UNION ALL "
                    "SELECT item_id, server_item_id FROM episodes ORDER BY 1") == [
            {"item_id": 1, "server_item_id": "show"}, {"item_id": 2, "server_item_id": "e1"}
        ]  # fmt: skip
        kept = {"user_id": "ann", "source": "server", "work_id": 1, "item_id": 1, "rating": 7.3,
                "rated_at": NOW - DAY}  # fmt: skip
        assert rows(connection, "SELECT * FROM ratings") == [kept]
        (change,) = rows(connection, "SELECT rating, previous, rated_at FROM rating_changes")
        assert change == {"rating": 7.3, "previous": None, "rated_at": NOW - DAY}
        assert len(rows(connection, "SELECT 1 FROM watch_state")) == 2
