"""USER and TITLE on the command line lead to exactly one, or to a message that says how to name it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert

from aperture_dagster.catalogue.references import KnownTitle
from aperture_dagster.catalogue.tables import titles, users, works
from aperture_dagster.cli.references import find_title, find_user
from aperture_dagster.discovery.tables import discovery_pool
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import execute, read_value
from aperture_dagster_tests.shelf import user_row


def add_work(connection: Any, media_type: str, **ids: Any) -> int:
    return connection.execute(insert(works).values(media_type=media_type, **ids).returning(works.c.work_id)).scalar()


def add_copy(connection: Any, work_id: int, item_id: int, title: str, **facts: Any) -> None:
    usual = {"media_type": "movie", "library_id": "1", "genres": [], "tags": [], "studios": []}
    row = {"item_id": item_id, "work_id": work_id, "server_item_id": str(item_id), "title": title}
    connection.execute(insert(titles).values(row | usual | facts))


@pytest.fixture
def library(database: Database) -> Database:
    """Two copies of a film, a series, two versions of Solaris of which one is in the pool, and a film without ids."""
    with database.transaction() as connection:
        matrix = add_work(connection, "movie", tmdb_id=603, imdb_id="tt0133093")
        add_copy(connection, matrix, 1, "Matrix", original_title="The Matrix", year=1999)
        add_copy(connection, matrix, 2, "Matrix (4K)", original_title="The Matrix", year=1999)
        bad = add_work(connection, "series", tmdb_id=1396, tvdb_id=81189)
        add_copy(connection, bad, 3, "Breaking Bad", year=2008, media_type="series")
        old = add_work(connection, "movie", tmdb_id=593)
        add_copy(connection, old, 4, "Solaris", year=1972)
        new = add_work(connection, "movie", tmdb_id=2103)
        pool = {"media_type": "movie", "tmdb_id": 2103, "imdb_id": "tt0307479", "title": "Solaris"}
        statement = insert(discovery_pool).values(
            work_id=new, wanted_at="2026-01-01", release_date="2002-11-27", **pool
        )  # fmt: skip
        connection.execute(statement)
        add_copy(connection, add_work(connection, "movie"), 5, "Home video")
        add_copy(connection, add_work(connection, "movie"), 6, "Home video")
    return database


def add_user(connection: Any, name: str, key: str | None = None) -> None:
    row = user_row(name) | {"user_id": f"id-{name}", "partition_key": key or name}
    connection.execute(insert(users).values(row))


def find(database: Database, text: str, **how: Any) -> KnownTitle:
    with database.transaction() as connection:
        return find_title(connection, text, **how)


def refusal(database: Database, text: str, **how: Any) -> tuple[int, list[str]]:
    with pytest.raises(OperatorError) as caught:
        find(database, text, **how)
    return caught.value.exit_code, caught.value.message.splitlines()


@pytest.mark.parametrize(
    ("text", "tmdb_id"),
    [
        ("the matrix", 603), ("Matrix (1999)", 603), ("tmdb:movie:603", 603), ("tt0133093", 603),
        ("tvdb:81189", 1396), ("tmdb:tv:1396", 1396), ("Solaris (2002)", 2103), ("imdb:tt0307479", 2103),
    ],
)  # fmt: skip
def test_a_title_is_found_in_the_library_and_in_the_pool(library: Database, text: str, tmdb_id: int):
    found = find(library, text)
    assert (found.ids.tmdb_id, found.in_library) == (tmdb_id, tmdb_id != 2103)


def test_several_matches_are_listed_in_a_form_that_names_each(library: Database):
    code, (_, *lines) = refusal(library, "Solaris")
    assert code == 2
    assert lines == ["tmdb:movie:593  Solaris (1972), in the library", "tmdb:movie:2103  Solaris (2002)"]
    assert [find(library, line).year for line in lines] == [1972, 2002]
    code, (_, *lines) = refusal(library, "home video")
    assert code == 2 and {find(library, line).title for line in lines} == {"Home video"}


def test_an_unknown_title_is_answered_with_the_nearest_names(library: Database):
    code, lines = refusal(library, "The Matrx")
    assert code == 1 and "Did you mean" in lines[0] and lines[1] == "tmdb:movie:603  Matrix (1999)"
    assert refusal(library, "Qqqqq")[0] == 1
    assert refusal(library, "tmdb:movie:x")[0] == 2


def test_an_unknown_id_becomes_a_work_once_and_only_on_demand(library: Database):
    assert refusal(library, "tmdb:movie:11")[0] == 1
    made = find(library, "tmdb:movie:11", create=True)
    assert made.title == "tmdb:movie:11" and not made.in_library
    assert find(library, "tmdb:movie:11") == find(library, "tmdb:movie:11", create=True)
    assert find(library, "tmdb:movie:11").work_id == made.work_id
    code, (sentence,) = refusal(library, "tt0076759", create=True)
    assert code == 1 and "imdb:movie:tt0076759" in sentence
    assert find(library, "imdb:movie:tt0076759", create=True).ids.imdb_id == "tt0076759"
    assert refusal(library, "work:999999", create=True)[0] == 1
    assert find(library, "tmdb:movie:603", create=True).title == "Matrix"
    with library.transaction() as connection:
        assert read_value(connection, "SELECT count(*) FROM works WHERE tmdb_id = 11 OR imdb_id = 'tt0076759'") == 2


def test_a_title_that_left_the_library_is_still_found(library: Database):
    with library.transaction() as connection:
        execute(connection, "UPDATE titles SET removed_at = now() WHERE item_id = 4")
    assert not find(library, "Solaris (1972)").in_library


def test_a_user_is_found_by_name_partition_key_or_id_and_former_users_last(database: Database):
    with database.transaction() as connection:
        for name, key in {"René": "René", "Ann": "Ann", "ann": "ann-2", "Bob": "Bob", "Gone": "Gone"}.items():
            add_user(connection, name, key)
        execute(connection, "UPDATE users SET removed_at = now() WHERE name = 'Gone' OR user_id = 'id-Bob'")
        add_user(connection, "bob", "bob-2")
        for text, user_id in {
            "rene": "id-René", "RENÉ": "id-René", "id-Ann": "id-Ann", "ann-2": "id-ann", "BOB": "id-bob",
            "gone": "id-Gone", "bob-2": "id-bob",
        }.items():  # fmt: skip
            assert find_user(connection, text).user_id == user_id
        with pytest.raises(OperatorError, match="Several users") as several:
            find_user(connection, "ann")
        assert several.value.exit_code == 2
        assert [line.split()[0] for line in several.value.message.splitlines()[1:]] == ["id-Ann", "id-ann"]
        with pytest.raises(OperatorError, match=r"Did you mean René") as unknown:
            find_user(connection, "renee")
        assert unknown.value.exit_code == 1
