"""Every date that is written here is looked at."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import DateTime

from aperture_dagster.library.listed import SuggestedPage
from aperture_dagster.sources.tmdb import TMDB
from aperture_dagster.storage.discovery import (
    POOL_SOURCE,
    details_requested,
    lists_read,
    read_list,
    read_lists,
    write_list,
)
from aperture_dagster.storage.future import NOT_OURS, PLANNED, future_dates
from aperture_dagster.storage.tables import metadata
from aperture_dagster.storage.work_list import write_fetches
from aperture_dagster_tests.storage.conftest import NOW, Shelf

HOUR = timedelta(hours=1)


def test_rows_are_counted_by_their_latest_date_of_ours(shelf: Shelf):
    ahead = NOW + timedelta(days=2)
    services = "INSERT INTO services (service, answered_at, failing_since) VALUES (:name, :now, :since)"
    shelf.do(services, name="a", now=NOW, since=ahead)
    shelf.do(services, name="b", now=NOW, since=None)
    columns = "key, category, subject, sentence, page, first_seen, last_seen, count, report_after"
    waiting = f"INSERT INTO alert_problems ({columns})"
    shelf.do(f"{waiting} VALUES ('a', 'run', '', '', '', :now, :now, 1, :ahead)", now=NOW, ahead=ahead)
    with shelf.open() as connection:
        (found,) = [one for one in future_dates(connection, now=NOW) if one.what in ("services", "alert_problems")]
    assert (found.what, found.rows, found.latest) == ("services", 1, ahead)


def test_what_is_left_out_is_a_column_of_some_table():
    columns = {one.name for table in metadata.sorted_tables for one in table.columns if isinstance(one.type, DateTime)}
    assert columns > NOT_OURS | PLANNED


def test_what_was_asked_at_a_date_in_the_future_is_not_taken_from_todays_limits(shelf: Shelf):
    began, limits = NOW - timedelta(hours=12), {"since": NOW - timedelta(hours=12), "now": NOW}
    page = SuggestedPage((), has_more=False)
    with shelf.open() as connection:
        for request, read_at in {"a": NOW - HOUR, "b": NOW + HOUR}.items():
            write_list(connection, request, "movie", page, now=read_at)
        source = replace(TMDB, name=POOL_SOURCE)
        rows = [
            {
                "kind": "movie", "item": item, "outcome": "ok", "attempts": 0, "fetched_at": at, "attempted_at": at,
                "due_at": at + timedelta(days=30), "found_id": None, "detail": None,
            }
            for item, at in enumerate([NOW - HOUR, NOW + HOUR])
        ]  # fmt: skip
        write_fetches(connection, source, rows)
        assert lists_read(connection, **limits) == details_requested(connection, **limits) == 1
        assert [one.read_today for one in read_lists(connection, today=began, **limits).values()] == [True]
        one = read_list(connection, "b", today=began, now=NOW)
        assert one is not None and not one.read_today
