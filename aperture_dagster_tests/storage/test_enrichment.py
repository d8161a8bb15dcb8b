"""The work list of all sources, and the merged view."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from aperture_dagster.resources.tmdb import read_title
from aperture_dagster.storage.enrichment import (
    collections_due,
    count_due,
    coverage,
    due_titles,
    failed_titles,
    outcomes,
    unmerged_titles,
    write_collection,
    write_enriched,
    write_fetches,
    write_tmdb,
)
from aperture_dagster_tests.storage.conftest import ACCEPTED, NOW, Shelf, film

HOUR = timedelta(hours=1)


def due(shelf: Shelf, limit: int = 100) -> list[str]:
    with shelf.open() as connection:
        titles = due_titles(connection, "tmdb", now=NOW, limit=limit)
        if limit >= 100:
            assert count_due(connection, "tmdb", now=NOW) == len(titles)
    return [title.title for title in titles]


def attempt(shelf: Shelf, number: int, hours: float, **facts: Any) -> None:
    """Note an attempt that makes a film due so many hours from now."""
    row: dict[str, Any] = {
        "work_id": shelf.item(f"film-{number}")["work_id"],
        "outcome": "ok",
        "attempts": 0,
        "fetched_at": NOW,
        "attempted_at": NOW,
        "due_at": NOW + hours * HOUR,
        "detail": None,
    }
    with shelf.open() as connection:
        write_fetches(connection, "tmdb", [row | facts])


def tmdb_row(shelf: Shelf, number: int, **facts: Any) -> dict[str, Any]:
    answer = {"id": number, "title": f"TMDb {number}", "overview": "Said.", "vote_average": 7, "vote_count": 3} | facts
    return read_title(answer, "movie").as_row(shelf.item(f"film-{number}")["work_id"])


def test_who_was_never_asked_comes_first_the_newest_first_and_then_the_stalest(shelf: Shelf):
    added = {n: film(n, added_at=NOW - n * HOUR) for n in range(6)}
    shelf.films(*added.values(), film(6, added_at=None))
    attempt(shelf, 0, hours=-5)
    attempt(shelf, 1, hours=-50)
    attempt(shelf, 2, hours=5)
    attempt(shelf, 3, hours=0)
    assert due(shelf) == ["Film 4", "Film 5", "Film 6", "Film 1", "Film 0", "Film 3"]
    assert due(shelf, limit=2) == ["Film 4", "Film 5"]


def test_other_sources_have_their_own_list(shelf: Shelf):
    shelf.films(film(1))
    attempt(shelf, 1, hours=5)
    with shelf.open() as connection:
        assert len(due_titles(connection, "omdb", now=NOW, limit=5)) == 1


def test_what_left_the_library_is_not_asked_about(shelf: Shelf):
    shelf.films(film(1), film(2))
    shelf.films(film(1), rules=ACCEPTED)
    assert due(shelf) == ["Film 1"]


def test_two_copies_are_asked_about_once(shelf: Shelf):
    shelf.films(film(1), film(2, tmdb_id=1))
    assert due(shelf) == ["Film 1"]


def test_an_id_that_was_found_is_used_again_and_failures_are_known(shelf: Shelf):
    shelf.films(film(1, tmdb_id=None, imdb_id="tt1"))
    with shelf.open() as connection:
        write_tmdb(connection, [tmdb_row(shelf, 1) | {"tmdb_id": 4711}])
    attempt(shelf, 1, hours=-1, outcome="error", attempts=3)
    with shelf.open() as connection:
        (title,) = due_titles(connection, "tmdb", now=NOW, limit=5)
    assert (title.tmdb_id, title.imdb_id, title.failures, title.media_type) == (4711, "tt1", 3, "movie")


def test_a_failure_keeps_the_date_of_the_last_good_answer(shelf: Shelf):
    shelf.films(film(1))
    attempt(shelf, 1, hours=1)
    attempt(shelf, 1, hours=1, outcome="error", attempts=1, fetched_at=None, detail="answered 500")
    row = shelf.rows("SELECT outcome, attempts, fetched_at, detail FROM fetches")[0]
    assert row == {"outcome": "error", "attempts": 1, "fetched_at": NOW, "detail": "answered 500"}
    with shelf.open() as connection:
        assert outcomes(connection, "tmdb")[0]["outcome"] == "error"
        assert failed_titles(connection, "tmdb")[0]["detail"] == "answered 500"
        write_fetches(connection, "tmdb", [])


def test_what_waits_is_told_apart_from_what_is_done(shelf: Shelf):
    shelf.films(*(film(n) for n in range(4)))
    attempt(shelf, 0, hours=1)
    with shelf.open() as connection:
        assert {row["outcome"]: row["titles"] for row in outcomes(connection, "tmdb")} == {"waiting": 3, "ok": 1}


def test_what_a_source_said_again_is_not_written(shelf: Shelf):
    shelf.films(film(1))
    row = tmdb_row(shelf, 1, credits={"cast": [{"name": "A", "order": 0}]}, recommendations={"results": [{"id": 5}]})
    with shelf.open() as connection:
        assert write_tmdb(connection, [row]).inserted == 1
        assert write_tmdb(connection, [row]).written == 0
        assert write_tmdb(connection, [row | {"popularity": 2.0}]).updated == 1


def test_the_view_merges_all_and_is_not_written_again(shelf: Shelf):
    shelf.films(*(film(n, overview="Server.") for n in range(3)), film(50, tmdb_id=1, title="Copy"))
    with shelf.open() as connection:
        write_tmdb(connection, [tmdb_row(shelf, 1)])
        assert unmerged_titles(connection) == 3
        assert write_enriched(connection).inserted == 3
        assert write_enriched(connection).written == 0
        assert unmerged_titles(connection) == 0
        known = coverage(connection)
    assert known["works"] == 3
    assert known["overview"] == 1
    rows = {row["title"]: row for row in shelf.rows("SELECT * FROM enriched_metadata")}
    assert rows["Film 1"]["overview"] == "Said."
    assert rows["Film 1"]["sources"]["overview"] == "tmdb"
    assert rows["Film 0"]["sources"]["overview"] == "server"


def test_the_view_has_every_work_whatever_the_size_of_a_batch(shelf: Shelf, monkeypatch: Any):
    monkeypatch.setattr("aperture_dagster.storage.enrichment.MERGE_BATCH", 7)
    shelf.films(*(film(n) for n in range(1, 30)))
    with shelf.open() as connection:
        assert write_enriched(connection).inserted == 29


def test_a_view_of_what_left_the_library_stays_as_it_was(shelf: Shelf):
    shelf.films(film(1), film(2))
    with shelf.open() as connection:
        write_enriched(connection)
    shelf.films(film(1), rules=ACCEPTED)
    with shelf.open() as connection:
        assert write_enriched(connection).written == 0
    assert shelf.value("SELECT count(*) FROM enriched_metadata") == 2


def test_a_collection_is_due_once_and_again_when_it_is_old(shelf: Shelf):
    shelf.films(film(1), film(2))
    saga = {"id": 9, "name": "Saga"}
    with shelf.open() as connection:
        write_tmdb(connection, [tmdb_row(shelf, n, belongs_to_collection=saga) for n in (1, 2)])
        assert collections_due(connection, older_than=NOW) == [9]
        row = {"collection_id": 9, "name": "Saga", "overview": None, "poster_path": None, "backdrop_path": None}
        write_collection(connection, row | {"part_tmdb_ids": [1, 2]}, now=NOW)
        assert collections_due(connection, older_than=NOW) == []
        assert collections_due(connection, older_than=NOW + HOUR) == [9]
