"""The work lists of the sources: order of due items, and recorded attempts."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from aperture_dagster.enrichment.answers import write_answers
from aperture_dagster.enrichment.mdblist.source import MDBLIST
from aperture_dagster.enrichment.omdb.source import OMDB
from aperture_dagster.enrichment.tmdb.logos import TMDB_IMAGES
from aperture_dagster.enrichment.tmdb.source import TMDB
from aperture_dagster.worklist.due import Outcome, due_after, ttl_for
from aperture_dagster.worklist.fetches import (
    ask_again,
    count_due,
    due_items,
    enrol,
    forget,
    request_again,
    write_fetches,
)
from aperture_dagster.worklist.source import Source
from aperture_dagster.worklist.summary import count_stale, not_fetched, outcome_summary
from aperture_dagster_tests.shelf import ACCEPTED, NOW, Shelf, film, tmdb_row

HOUR = timedelta(hours=1)


def due(shelf: Shelf, limit: int = 100, source: Source = TMDB) -> list[str]:
    with shelf.open() as connection:
        enrol(connection, source, now=NOW)
        titles = due_items(connection, source, now=NOW, limit=limit)
        if limit >= 100:
            assert count_due(connection, source, now=NOW) == len(titles)
    return [title.name for title in titles]


def attempt(shelf: Shelf, number: int, hours: float, source: Source = TMDB, **facts: Any) -> None:
    """Record an attempt that makes a film due ``hours`` from now."""
    row: dict[str, Any] = {
        "kind": "movie",
        "item": shelf.item(f"film-{number}")["work_id"],
        "outcome": "ok",
        "attempts": 0,
        "fetched_at": NOW,
        "attempted_at": NOW,
        "due_at": NOW + hours * HOUR,
        "found_id": None,
        "language": None,
        "detail": None,
    }
    with shelf.open() as connection:
        write_fetches(connection, source, [row | facts])


def test_named_items_come_first_then_new_ones_then_those_wanted_again_newest_first_then_the_overdue(shelf: Shelf):
    shelf.films(*(film(number, added_at=NOW - number * HOUR) for number in range(8)))
    with shelf.open() as connection:
        enrol(connection, TMDB, now=NOW)
    attempt(shelf, 1, 100, language="en-US")
    attempt(shelf, 2, -5, language="en-US")
    attempt(shelf, 3, 100, language="de-DE")
    attempt(shelf, 4, 100, language="de-DE")
    attempt(shelf, 5, 100, outcome="error", language="de-DE")
    attempt(shelf, 6, 100)
    attempt(shelf, 7, 100, language="en-US")
    with shelf.open() as connection:
        named = [shelf.item("film-7")["work_id"]]
        assert request_again(connection, TMDB, named, request="a run", now=NOW) == 1
        assert request_again(connection, TMDB, named, request="a run", now=NOW) is None
        items = due_items(connection, TMDB, now=NOW, limit=10, language="en-US")
        assert [item.name for item in items] == [f"Film {number}" for number in (7, 0, 3, 4, 2)]
        assert count_due(connection, TMDB, now=NOW, language="en-US") == 5
        # Whoever does not ask for a language wants none.
        assert count_due(connection, TMDB, now=NOW) == 3
        # All: those that were fetched, the newest first, after the new ones; what failed is tried now.
        assert request_again(connection, TMDB, None, request="another", now=NOW) == 6
        items = due_items(connection, TMDB, now=NOW, limit=10, language="en-US")
        assert [item.name for item in items] == [f"Film {number}" for number in (7, 0, 1, 2, 3, 4, 5, 6)]
        assert count_due(connection, OMDB, now=NOW) == 0, "another source"


def test_new_items_come_first_newest_first_then_the_most_overdue(shelf: Shelf):
    added = {n: film(n, added_at=NOW - n * HOUR) for n in range(6)}
    shelf.films(*added.values(), film(6, added_at=None))
    attempt(shelf, 0, hours=-5)
    attempt(shelf, 1, hours=-50)
    attempt(shelf, 2, hours=5)
    attempt(shelf, 3, hours=0)
    assert due(shelf) == ["Film 4", "Film 5", "Film 6", "Film 1", "Film 0", "Film 3"]
    assert due(shelf, limit=2) == ["Film 4", "Film 5"]


def test_new_items_are_added_to_an_existing_list(shelf: Shelf):
    shelf.films(film(1))
    assert due(shelf) == ["Film 1"]
    attempt(shelf, 1, hours=5)
    shelf.films(film(1), film(2))
    with shelf.open() as connection:
        assert enrol(connection, TMDB, now=NOW) == 1
        assert enrol(connection, TMDB, now=NOW) == 0
    assert due(shelf) == ["Film 2"]


def test_items_in_progress_are_not_returned_again(shelf: Shelf):
    shelf.films(film(1), film(2))
    with shelf.open() as connection:
        enrol(connection, TMDB, now=NOW)
        first = due_items(connection, TMDB, now=NOW, limit=1)
        second = due_items(connection, TMDB, now=NOW, limit=5, busy=[first[0].key])
    assert len(second) == 1 and second[0].key != first[0].key


def test_removed_items_are_not_due_and_keep_their_row(shelf: Shelf):
    shelf.films(film(1), film(2))
    assert len(due(shelf)) == 2
    attempt(shelf, 2, hours=5)
    shelf.films(film(1), rules=ACCEPTED)
    assert due(shelf) == ["Film 1"]
    shelf.films(film(1), film(2))
    assert due(shelf) == ["Film 1"]


def test_items_removed_before_their_first_request_leave_the_list_until_they_return(shelf: Shelf):
    shelf.films(film(1), film(2))
    due(shelf)
    shelf.films(film(1), rules=ACCEPTED)
    assert due(shelf) == ["Film 1"]
    assert shelf.value("SELECT count(*) FROM fetches") == 1
    shelf.films(film(1), film(2))
    assert sorted(due(shelf)) == ["Film 1", "Film 2"]


def test_an_item_in_progress_does_not_exclude_another_kind_with_the_same_number(shelf: Shelf):
    shelf.do(
        "INSERT INTO studio_logos (kind, studio_id, name, titles, logo_path) "
        "VALUES ('company', 1, 'A company', 1, '/a.png'), ('network', 1, 'A network', 1, '/b.png')"
    )
    with shelf.open() as connection:
        enrol(connection, TMDB_IMAGES, now=NOW)
        items = due_items(connection, TMDB_IMAGES, now=NOW, limit=5, busy=[("company", 1)])
    assert [item.name for item in items] == ["A network"]


def test_two_copies_are_one_item(shelf: Shelf):
    shelf.films(film(1), film(2, tmdb_id=1))
    assert due(shelf) == ["Film 1"]


def test_only_titles_with_an_id_that_the_source_knows_are_due(shelf: Shelf):
    shelf.films(film(1, tmdb_id=1, imdb_id=None), film(2, tmdb_id=2, imdb_id="tt2"), film(3, tmdb_id=None))
    assert due(shelf, source=OMDB) == ["Film 2"]
    assert sorted(due(shelf, source=MDBLIST)) == ["Film 1", "Film 2"]
    with shelf.open() as connection:
        assert {row["outcome"]: row["items"] for row in outcome_summary(connection, OMDB)} == {"waiting": 1, "no_id": 2}
        # TMDb knows one more id: from then on OMDb can be asked.
        write_answers(connection, "tmdb", [tmdb_row(shelf, 1, imdb_id="tt1")])
    assert sorted(due(shelf, source=OMDB)) == ["Film 1", "Film 2"]


def test_an_id_that_a_search_found_is_kept_when_the_request_fails(shelf: Shelf):
    shelf.films(film(1, tmdb_id=None, imdb_id="tt1"))
    attempt(shelf, 1, hours=-1, outcome="error", attempts=3, found_id=4711)
    attempt(shelf, 1, hours=-1, outcome="error", attempts=4)
    with shelf.open() as connection:
        (title,) = due_items(connection, TMDB, now=NOW, limit=5)
    assert (title.tmdb_id, title.imdb_id, title.failures, title.kind) == (4711, "tt1", 4, "movie")


def test_titles_whose_ids_changed_are_due_and_searched_again(shelf: Shelf):
    shelf.films(film(1, tmdb_id=None, imdb_id="tt1"))
    attempt(shelf, 1, hours=5, found_id=4711)
    with shelf.open() as connection:
        ask_again(connection, [shelf.item("film-1")["work_id"]])
        (row,) = connection.exec_driver_sql("SELECT found_id, due_at <= now() FROM fetches").all()
    assert tuple(row) == (None, True)


def test_a_failure_keeps_the_date_of_the_last_good_answer(shelf: Shelf):
    shelf.films(film(1))
    attempt(shelf, 1, hours=1)
    attempt(shelf, 1, hours=1, outcome="error", attempts=1, fetched_at=None, detail="answered 500")
    row = shelf.rows("SELECT outcome, attempts, fetched_at, detail FROM fetches")[0]
    assert row == {"outcome": "error", "attempts": 1, "fetched_at": NOW, "detail": "answered 500"}
    with shelf.open() as connection:
        assert outcome_summary(connection, TMDB)[0]["outcome"] == "error"
        assert not_fetched(connection, TMDB)[0]["detail"] == "answered 500"
        write_fetches(connection, TMDB, [])


def test_waiting_items_are_counted_apart_from_done_ones(shelf: Shelf):
    shelf.films(*(film(n) for n in range(4)))
    due(shelf)
    attempt(shelf, 0, hours=1)
    with shelf.open() as connection:
        rows = outcome_summary(connection, TMDB)
    assert {row["outcome"]: (row["items"], row["share"]) for row in rows} == {"waiting": (3, 0.75), "ok": (1, 0.25)}


@pytest.mark.parametrize(("hours", "stale"), [(1, 0), (-71, 0), (-73, 1)])
def test_an_answer_is_stale_when_it_is_overdue_by_more_than_the_grace(shelf: Shelf, hours: float, stale: int):
    shelf.films(film(1), film(2))
    attempt(shelf, 1, hours=hours)
    attempt(shelf, 2, hours=-500, outcome="not_found")
    with shelf.open() as connection:
        assert count_stale(connection, TMDB, now=NOW, grace_days=3) == (stale, 1)


def test_what_is_forgotten_leaves_the_lists_of_other_sources_alone(shelf: Shelf):
    shelf.films(film(1), film(2))
    sources = (TMDB, MDBLIST)
    before = [len(due(shelf, source=source)) for source in sources]
    with shelf.open() as connection:
        forget(connection, TMDB.name, [shelf.item("film-1")["work_id"]])
        after = [len(due_items(connection, source, now=NOW, limit=5)) for source in sources]
    assert (before, after) == ([2, 2], [1, 2])


# When a title is asked for again


MAY = datetime(2026, 5, 1, tzinfo=UTC)


def wait(outcome: Outcome, failures: int = 0) -> timedelta:
    return due_after(outcome, failures=failures, now=MAY, ttl=timedelta(days=30)) - MAY


def test_a_good_answer_is_good_for_its_time_and_what_was_not_found_is_looked_for_again_in_thirty_days():
    assert wait("ok") == wait("not_found") == timedelta(days=30)


def test_an_error_is_tried_again_after_an_hour_doubling_to_a_day():
    hours = [wait("error", failures) / timedelta(hours=1) for failures in (1, 2, 3, 4, 5, 6, 7)]
    assert hours == [1, 2, 4, 8, 16, 24, 24]


@pytest.mark.parametrize("failures", [0, 1000, 32767])
def test_no_number_of_failures_leaves_the_span_of_an_hour_to_a_day(failures: int):
    assert timedelta(hours=1) <= wait("error", failures) <= timedelta(hours=24)


@pytest.mark.parametrize(
    ("released", "year", "days"),
    [
        (date(2027, 1, 1), 2027, 7),
        (date(2026, 4, 30), 2026, 7),
        (date(2025, 5, 2), 2025, 7),
        (date(2025, 5, 1), 2025, 30),
        (date(1950, 1, 1), 2026, 30),
        (None, 2026, 7),
        (None, 2025, 7),
        (None, 2024, 30),
        (None, 0, 30),
        (None, 99_999, 7),
        (None, None, 30),
    ],
)
def test_a_title_younger_than_a_year_is_asked_for_more_often(released: date | None, year: int | None, days: int):
    ttl = ttl_for(released, year, now=MAY, ttl=timedelta(days=30), young_ttl=timedelta(days=7))
    assert ttl == timedelta(days=days)
