"""Bulk writes of few and many rows: only differences are written, and any text is accepted."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection

from aperture_dagster.catalogue.tables import libraries, works
from aperture_dagster.enrichment.answers import write_answers
from aperture_dagster.enrichment.tables import tmdb_metadata
from aperture_dagster.facts import facts
from aperture_dagster.postgres import bulk
from aperture_dagster.postgres.bulk import FEW_ROWS, WriteCounts, upsert
from aperture_dagster.postgres.database import Database
from aperture_dagster_tests.shelf import Shelf

ODD_TEXTS = [
    "", " ", "'", '"', "\\", "\\N", "\\.", "\t", "\n", "\r\n", "a\tb\nc\\nd", "NULL", "null", "{}", "{a,b}", "[]", "%s",
    "%(x)s", ":name", "'); DROP TABLE libraries;--", "🎬👩‍👩‍👧", "\u202eفيلم", "e\u0301", "\u200b", "x" * 100_000,
    "\x01\x1f\x7f",
]  # fmt: skip


@pytest.fixture(params=[0, 1_000], ids=["by COPY", "as parameters"])
def shelf(database: Database, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """A database whose rows are written in one of the two ways."""
    monkeypatch.setattr(bulk, "FEW_ROWS", request.param)
    return Shelf(database)


def library(key: str, name: str, kind: str | None = "movies") -> dict[str, Any]:
    return {"library_id": key, "name": name, "collection_type": kind}


def write(connection: Connection, *rows: dict[str, Any]) -> WriteCounts:
    return upsert(connection, libraries, rows)


def test_only_new_and_changed_rows_are_written(shelf: Shelf):
    with shelf.open() as connection:
        assert write(connection, library("a", "A"), library("b", "B")) == WriteCounts(inserted=2)
    before = {row["library_id"]: row["updated_at"] for row in shelf.rows("SELECT * FROM libraries")}
    with shelf.open() as connection:
        counts = write(connection, library("a", "A"), library("b", "Changed"), library("c", "C"))
    assert counts == WriteCounts(inserted=1, updated=1)
    assert counts.written == 2
    after = {row["library_id"]: row["updated_at"] for row in shelf.rows("SELECT * FROM libraries")}
    assert after["a"] == before["a"], "what is equal keeps its date"
    assert after["b"] > before["b"]
    with shelf.open() as connection:
        assert write(connection, library("a", "A"), library("b", "Changed")).written == 0


def test_null_is_compared_like_any_other_value(shelf: Shelf):
    with shelf.open() as connection:
        write(connection, library("a", "A", None))
        assert write(connection, library("a", "A", None)).written == 0
        assert write(connection, library("a", "A", "movies")).updated == 1
        assert write(connection, library("a", "A", None)).updated == 1


def test_the_last_of_two_rows_with_the_same_key_wins(shelf: Shelf):
    with shelf.open() as connection:
        assert write(connection, library("a", "first"), library("a", "last")).inserted == 1
    assert shelf.value("SELECT name FROM libraries") == "last"


def test_text_is_stored_unchanged(shelf: Shelf):
    rows = [library(f"{number}", value) for number, value in enumerate(ODD_TEXTS)]
    with shelf.open() as connection:
        write(connection, *rows)
        assert write(connection, *rows).written == 0
    stored = {row["library_id"]: row["name"] for row in shelf.rows("SELECT * FROM libraries")}
    assert [stored[f"{number}"] for number in range(len(ODD_TEXTS))] == ODD_TEXTS


@pytest.mark.parametrize(
    ("given", "kept"),
    [("be\x00fore", "before"), ("be\ud800fore", "before"), ("be\x00fore\ud800after🎬", "beforeafter🎬")],
)
def test_characters_that_postgresql_cannot_store_are_removed(shelf: Shelf, given: str, kept: str):
    with shelf.open() as connection:
        write(connection, library("a", given), library("b", "usual", None))
        assert write(connection, library("a", given)).written == 0
    assert shelf.value("SELECT name FROM libraries WHERE library_id = 'a'") == kept


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"a": [1, "x\x00", {"b": float("nan")}]}, {"a": [1, "x", {"b": None}]}),
        ([], []),
        ("just text \ud83c", "just text "),
        ({"quotes": "'\"\\", "ключ\x00": "🎬"}, {"quotes": "'\"\\", "ключ": "🎬"}),
        (1.5, 1.5),
        (True, True),
    ],
)
def test_json_is_stored_unchanged(shelf: Shelf, given: Any, kept: Any):
    with shelf.open() as connection:
        upsert(connection, facts, [{"name": "x", "value": given}])
        again = upsert(connection, facts, [{"name": "x", "value": given}])
    assert again.written == 0
    assert shelf.value("SELECT value FROM facts") == kept


def test_unstorable_values_inside_lists_and_objects_are_cleaned(shelf: Shelf):
    with shelf.open() as connection:
        upsert(connection, works, [{"work_id": 1, "media_type": "movie"}], columns=("work_id", "media_type"))
        row: dict[str, Any] = dict.fromkeys(
            column.name for column in tmdb_metadata.columns if column.name != "updated_at"
        )
        row |= {"work_id": 1, "tmdb_id": 1, "vote_average": float("nan"), "popularity": float("inf")}
        lists = ("genres", "keywords", "directors", "creators", "writers", "composers", "cinematographers")
        row |= {
            name: ["a\x00b", "\ud800", '{"x",', "NULL", "", 'back\\slash\\"\n']
            for name in (*lists, "countries", "languages")
        }
        row |= {"cast": [{"name": "N\x00", "character": "\udfff"}], "companies": [], "networks": []}
        row |= {"recommended_tmdb_ids": [2**40, 1], "similar_tmdb_ids": []}
        assert write_answers(connection, "tmdb", [row]).inserted == 1
        assert write_answers(connection, "tmdb", [row]).written == 0
    stored = shelf.rows("SELECT * FROM tmdb_metadata")[0]
    assert stored["genres"] == ["ab", "", '{"x",', "NULL", "", 'back\\slash\\"\n']
    assert stored["cast"] == [{"name": "N", "character": ""}]
    assert stored["vote_average"] is None
    assert stored["popularity"] == float("inf")
    assert stored["recommended_tmdb_ids"] == [2**40, 1]


def test_more_rows_than_the_parameter_limit_are_written(database: Database):
    shelf = Shelf(database)
    rows = [library(f"{number}", f"Library {number}") for number in range(30_000)]
    with shelf.open() as connection:
        assert write(connection, *rows[:FEW_ROWS]) == WriteCounts(inserted=FEW_ROWS)
        assert write(connection, *rows[: FEW_ROWS + 1]) == WriteCounts(inserted=1)
        assert write(connection, *rows).inserted == len(rows) - FEW_ROWS - 1
        rows[5000]["name"] = "other"
        assert write(connection, *rows) == WriteCounts(updated=1)
