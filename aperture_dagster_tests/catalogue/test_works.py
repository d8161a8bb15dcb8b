"""Works of titles that other services know: found by any id, created once, never guessed."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, select

from aperture_dagster.catalogue.identity import ProviderIds
from aperture_dagster.catalogue.tables import titles, works
from aperture_dagster.catalogue.works import works_for
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import read_value

MATRIX = ProviderIds(603, "tt0133093")


@pytest.fixture
def library(database: Database) -> dict[str, int]:
    """Two films and a series, whose TMDb number is that of the first film."""
    rows = {
        "matrix": {"media_type": "movie", "tmdb_id": 603, "imdb_id": "tt0133093"},
        "alien": {"media_type": "movie", "tmdb_id": 348, "imdb_id": "tt0078748"},
        "series": {"media_type": "series", "tmdb_id": 603, "imdb_id": None, "tvdb_id": 77},
    }
    found: dict[str, int] = {}
    with database.transaction() as connection:
        for number, (name, row) in enumerate(rows.items()):
            statement = insert(works).values(row).returning(works.c.work_id)
            found[name] = connection.execute(statement).scalar_one()
            copy = {"item_id": number, "work_id": found[name], "media_type": row["media_type"], "title": name}
            lists = {"genres": [], "tags": [], "studios": [], "library_id": "1", "server_item_id": name}
            connection.execute(insert(titles).values(copy | lists))
    return found


def ids_of(database: Database, work_id: int | None) -> ProviderIds:
    with database.transaction() as connection:
        row = connection.execute(select(works).where(works.c.work_id == work_id)).one()
    return ProviderIds(row.tmdb_id, row.imdb_id, row.tvdb_id)


def ask(database: Database, media_type: str, *ids: ProviderIds) -> list[int | None]:
    with database.transaction() as connection:
        return works_for(connection, media_type, ids)  # pyright: ignore[reportArgumentType]


def test_any_id_finds_the_librarys_work_of_that_type(database: Database, library: dict[str, int]):
    asked = (MATRIX, ProviderIds(603), ProviderIds(imdb_id="tt0078748"), ProviderIds(348, "tt0078748", 5))
    assert ask(database, "movie", *asked) == [library[name] for name in ("matrix", "matrix", "alien", "alien")]
    assert ask(database, "series", ProviderIds(603), ProviderIds(tvdb_id=77)) == [library["series"]] * 2


def test_ids_that_point_to_two_works_or_to_none_are_refused(database: Database, library: dict[str, int]):
    assert ask(database, "movie", ProviderIds(603, "tt0078748"), ProviderIds()) == [None, None]
    with database.transaction() as connection:
        assert read_value(connection, "SELECT count(*) FROM works") == len(library)


def test_an_unknown_title_becomes_one_work_and_gains_ids_that_come_later(database: Database, library: dict[str, int]):
    first, same, other = ask(database, "movie", ProviderIds(11), ProviderIds(11, "tt11"), ProviderIds(12))
    assert first == same and first not in library.values() and other not in (first, None)
    assert ask(database, "movie", ProviderIds(imdb_id="tt11")) == [first]
    assert ids_of(database, first) == ProviderIds(11, "tt11")


def test_ids_of_the_librarys_works_come_from_the_library_alone(database: Database, library: dict[str, int]):
    assert (
        ask(database, "movie", ProviderIds(348, "tt0078748", 5), ProviderIds(603, "tt9999999"))[0] == library["alien"]
    )
    assert ids_of(database, library["alien"]) == ProviderIds(348, "tt0078748")
    assert ids_of(database, library["matrix"]) == MATRIX


def test_the_librarys_work_wins_over_one_without_copies(database: Database, library: dict[str, int]):
    with database.transaction() as connection:
        connection.execute(insert(works).values(media_type="movie", imdb_id="tt55"))
        connection.execute(works.update().where(works.c.work_id == library["alien"]).values(imdb_id="tt55"))
    assert ask(database, "movie", ProviderIds(imdb_id="tt55")) == [library["alien"]]
