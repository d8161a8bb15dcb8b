"""Every date that is written here is looked at."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import DateTime

from aperture_dagster.discovery.pool import lists_read, read_lists, write_list
from aperture_dagster.enrichment.queries import SuggestedPage
from aperture_dagster.maintenance.status import NOT_OURS, PLANNED, future_dates
from aperture_dagster.schema import metadata
from aperture_dagster_tests.shelf import NOW, Shelf

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
    limits = {"since": NOW - timedelta(hours=12), "now": NOW}
    page = SuggestedPage((), has_more=False)
    with shelf.open() as connection:
        for request, read_at in {"a": NOW - HOUR, "b": NOW + HOUR}.items():
            write_list(connection, request, "movie", page, now=read_at)
        assert lists_read(connection, **limits) == 1
        assert list(read_lists(connection, now=NOW)) == ["a"]
