"""Answers of the sources, the merged view, works on a list from outside, and the number of titles of each studio."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from aperture_dagster.enrichment.answers import SOURCE_TABLES, write_answers
from aperture_dagster.enrichment.enriched import coverage, unmerged_titles, write_enriched
from aperture_dagster.enrichment.listed import ListedTitle, ListPage, WorkIds, works_listed
from aperture_dagster.enrichment.merge import SERVER, MergePlan
from aperture_dagster.enrichment.sources import SOURCES, merge_plan
from aperture_dagster.enrichment.studios import gather_studios
from aperture_dagster.enrichment.tables import enriched_metadata, mdblist_scores, omdb_ratings
from aperture_dagster.postgres.bulk import WriteCounts
from aperture_dagster_tests.shelf import ACCEPTED, Shelf, film, tmdb_row


def row_of(table: Any, shelf: Shelf, number: int, **facts: Any) -> dict[str, Any]:
    """Return a row of a source's table, empty except for the given values."""
    lists = {"keywords", "streams"}
    names = [column.name for column in table.columns if column.name != "updated_at"]
    unknown = {name: [] if name in lists else None for name in names}
    return unknown | {"work_id": shelf.item(f"film-{number}")["work_id"]} | facts


def test_an_unchanged_answer_is_not_written(shelf: Shelf):
    shelf.films(film(1))
    row = tmdb_row(shelf, 1, credits={"cast": [{"name": "A", "order": 0}]}, recommendations={"results": [{"id": 5}]})
    with shelf.open() as connection:
        assert write_answers(connection, "tmdb", [row]).inserted == 1
        assert write_answers(connection, "tmdb", [row]).written == 0
        assert write_answers(connection, "tmdb", [row | {"popularity": 2.0}]).updated == 1


@pytest.mark.parametrize("batch", [2, 500])
def test_the_view_merges_all_works_from_every_source_in_batches_of_any_size_and_is_not_rewritten(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, batch: int
):
    monkeypatch.setattr("aperture_dagster.enrichment.enriched.MERGE_BATCH", batch)
    films = [film(n, overview="Server.", imdb_id=f"tt{n}") for n in range(4)]
    shelf.films(*films, film(50, tmdb_id=1, title="Copy"))
    with shelf.open() as connection:
        write_answers(connection, "tmdb", [tmdb_row(shelf, 1, keywords={"keywords": [{"name": "Heist"}]})])
        critics = row_of(omdb_ratings, shelf, 1, rotten_tomatoes=87, imdb_rating=8.5, awards="1 win.")
        write_answers(connection, "omdb", [critics])
        scores = row_of(mdblist_scores, shelf, 1, keywords=["heist", "vault"], rotten_tomatoes=80, letterboxd=4.1)
        write_answers(connection, "mdblist", [scores])
        assert unmerged_titles(connection) == 4
        assert write_enriched(connection, merge_plan())[0].inserted == 4
        assert write_enriched(connection, merge_plan())[0].written == 0
        assert unmerged_titles(connection) == 0
        known = coverage(connection)
    assert (known["works"], known["overview"], known["critics"], known["awards"]) == (4, 1, 0.25, 0.25)
    rows = {row["title"]: row for row in shelf.rows("SELECT * FROM enriched_metadata")}
    one = rows["Film 1"]
    assert (one["overview"], one["rotten_tomatoes"], one["letterboxd"], one["awards"]) == ("Said.", 87, 4.1, "1 win.")
    assert one["keywords"] == ["Heist", "vault"]
    expected = {"overview": "tmdb", "keywords": "tmdb+mdblist", "rotten_tomatoes": "omdb", "letterboxd": "mdblist"}
    assert expected.items() <= one["sources"].items()
    assert rows["Film 0"]["sources"]["overview"] == "server"
    assert set(one) == set(enriched_metadata.columns.keys())


def test_the_view_of_a_removed_work_is_kept(shelf: Shelf):
    shelf.films(film(1), film(2))
    with shelf.open() as connection:
        write_enriched(connection, merge_plan())
    shelf.films(film(1), rules=ACCEPTED)
    with shelf.open() as connection:
        assert write_enriched(connection, merge_plan())[0].written == 0
    assert shelf.value("SELECT count(*) FROM enriched_metadata") == 2


@pytest.fixture
def merged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the works that are merged."""
    works: list[int] = []
    usual = MergePlan.merge

    def merge(plan: MergePlan, rows: Any) -> Any:
        works.append(rows[SERVER]["work_id"])
        return usual(plan, rows)

    monkeypatch.setattr(MergePlan, "merge", merge)
    return works


def merge_of(shelf: Shelf) -> tuple[WriteCounts, int]:
    with shelf.open() as connection:
        return write_enriched(connection, merge_plan())


def test_only_works_whose_sources_changed_are_merged(shelf: Shelf, merged: list[int]):
    """Every work was merged, even without changes."""
    shelf.films(*(film(n) for n in range(1, 6)), film(50, tmdb_id=1, title="Copy"))
    works = {n: shelf.item(f"film-{n}")["work_id"] for n in range(1, 6)}
    assert merge_of(shelf)[0].inserted == 5
    merged.clear()
    assert merge_of(shelf)[0].written == 0
    assert merged == []
    with shelf.open() as connection:
        write_answers(connection, "tmdb", [tmdb_row(shelf, 2)])
        write_answers(connection, "omdb", [row_of(omdb_ratings, shelf, 3)])
        write_answers(connection, "mdblist", [row_of(mdblist_scores, shelf, 4, score=5)])
    shelf.films(*(film(n) for n in range(1, 5)), film(5, overview="New."), film(50, tmdb_id=1, title="Copy"))
    assert merge_of(shelf)[1] == 4
    assert sorted(merged) == sorted(works[n] for n in (2, 3, 4, 5))
    merged.clear()
    # The copy that stood for the work leaves: the other one does now. A row that goes is a change like any other.
    shelf.films(*(film(n) for n in range(2, 5)), film(5, overview="New."), film(50, tmdb_id=1, title="Copy"))
    shelf.do("DELETE FROM omdb_ratings")
    merge_of(shelf)
    assert sorted(merged) == sorted([works[1], works[3]])
    assert shelf.value("SELECT title FROM enriched_metadata WHERE work_id = :work", work=works[1]) == "Copy"


def test_an_answer_committed_late_is_merged(shelf: Shelf, merged: list[int]):
    """A watermark of times would miss rows that are written before it and committed after it."""
    shelf.films(film(1), film(2))
    row = tmdb_row(shelf, 1)
    with shelf.open() as late:
        write_answers(late, "tmdb", [row])
        late.execute(text("UPDATE tmdb_metadata SET updated_at = now() - interval '1 year'"))
        merge_of(shelf)
    merged.clear()
    assert merge_of(shelf)[0].updated == 1
    assert merged == [row["work_id"]]


def test_a_killed_merge_is_repeated(shelf: Shelf, merged: list[int]):
    """A work is only recorded as merged together with its merged row."""
    shelf.films(film(1), film(2))
    with contextlib.suppress(KeyboardInterrupt), shelf.open() as connection:
        write_enriched(connection, merge_plan())
        raise KeyboardInterrupt
    merged.clear()
    assert merge_of(shelf)[0].inserted == 2
    shelf.do("DELETE FROM enriched_metadata")
    assert merge_of(shelf)[0].inserted == 2, "nor is a row that is not there"


def test_changed_merge_rules_merge_everything_again(shelf: Shelf, merged: list[int], monkeypatch: pytest.MonkeyPatch):
    shelf.films(film(1), film(2))
    merge_of(shelf)
    merged.clear()
    monkeypatch.setattr("aperture_dagster.enrichment.merge.VERSION", 2)
    assert merge_of(shelf)[0].written == 0
    assert len(merged) == 2


LIBRARY = [WorkIds(1, 101, "tt1"), WorkIds(2, 102, "tt2"), WorkIds(3, None, "tt3"), WorkIds(4, 104), WorkIds(5)]


def page(*titles: tuple[int | None, str | None], has_more: bool = False) -> ListPage:
    return ListPage(tuple(ListedTitle(*one) for one in titles), has_more)


def found(*titles: tuple[int | None, str | None]) -> list[int]:
    return works_listed([page(*titles)], LIBRARY, wanted=10)[0]


def test_works_are_found_by_tmdb_id_and_then_by_imdb_id() -> None:
    assert found((104, None), (None, "tt3"), (101, None)) == [4, 3, 1]
    assert found((101, "tt2")) == [1], "the TMDb id comes first"
    assert found((999, "tt2")) == [2], "an id that is not in the library does not hide the other"
    assert found((999, None), (None, None), (None, "tt9")) == []


def test_a_work_is_listed_once_where_it_came_first() -> None:
    assert found((102, None), (101, None), (None, "tt2")) == [2, 1]


def test_of_two_works_with_the_same_id_the_first_is_found() -> None:
    library = [WorkIds(9, 101), WorkIds(7, 101)]
    assert works_listed([page((101, None))], library, wanted=5)[0] == [7]


def test_no_more_pages_are_taken_than_needed() -> None:
    taken = []

    def pages() -> Iterator[ListPage]:
        for number, tmdb_id in enumerate((101, 999, 102, 104)):
            taken.append(number)
            yield page((tmdb_id, None), has_more=True)

    assert works_listed(pages(), LIBRARY, wanted=2) == ([1, 2], 3)
    assert taken == [0, 1, 2]


def test_the_last_page_ends_the_list() -> None:
    pages = iter([page((101, None)), page((102, None))])
    assert works_listed(pages, LIBRARY, wanted=5) == ([1], 1)
    assert works_listed([], LIBRARY, wanted=5) == ([], 0)


A24: dict[str, Any] = {"id": 41077, "name": "A24", "logo_path": "/a24.png"}
MOSFILM: dict[str, Any] = {"id": 5120, "name": "Mosfilm", "logo_path": None}


def write_studios(shelf: Shelf, number: int, *companies: dict[str, Any]) -> None:
    """Write the TMDb metadata of a film with its studios."""
    with shelf.open() as connection:
        write_answers(connection, "tmdb", [tmdb_row(shelf, number, production_companies=list(companies))])


def gather(shelf: Shelf) -> tuple[int, int]:
    with shelf.open() as connection:
        written = gather_studios(connection)
    return written.inserted, written.updated


def studios(shelf: Shelf) -> dict[str, int]:
    return {row["name"]: row["titles"] for row in shelf.rows("SELECT name, titles FROM studio_logos")}


def test_a_studio_without_titles_is_kept_and_unchanged_ones_are_not_written(shelf: Shelf):
    shelf.films(film(1), film(2))
    write_studios(shelf, 1, A24, MOSFILM)
    write_studios(shelf, 2, A24)
    assert [gather(shelf), gather(shelf)] == [(2, 0), (0, 0)]
    assert studios(shelf) == {"A24": 2, "Mosfilm": 1}
    write_studios(shelf, 1, A24)
    assert gather(shelf) == (0, 1)
    assert studios(shelf) == {"A24": 2, "Mosfilm": 0}
    shelf.films(film(2), rules=ACCEPTED)
    assert gather(shelf) == (0, 1)
    assert studios(shelf) == {"A24": 1, "Mosfilm": 0}
    shelf.films(film(3), rules=ACCEPTED)
    assert gather(shelf) == (0, 1)
    assert gather(shelf) == (0, 0)
    assert studios(shelf) == {"A24": 0, "Mosfilm": 0}


def test_a_studio_that_returns_is_counted_again(shelf: Shelf):
    shelf.films(film(1))
    write_studios(shelf, 1, MOSFILM)
    gather(shelf)
    write_studios(shelf, 1)
    gather(shelf)
    write_studios(shelf, 1, MOSFILM | {"name": "Mosfilm Cinema Concern"})
    assert gather(shelf) == (0, 1)
    assert studios(shelf) == {"Mosfilm Cinema Concern": 1}


def test_every_source_of_titles_has_a_table_with_a_row_per_work():
    assert {name: table.name for name, table in SOURCE_TABLES.items()} == {one.name: one.table for one in SOURCES}
    for table in SOURCE_TABLES.values():
        assert list(table.primary_key.columns.keys()) == ["work_id"]
