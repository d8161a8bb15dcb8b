"""Notes of requests: the week's limit holds without any other lock."""

from __future__ import annotations

from datetime import timedelta

from aperture_dagster.catalogue.identity import ProviderIds
from aperture_dagster.catalogue.works import works_for
from aperture_dagster.discovery.suggestions import (
    WEEK,
    StoredRequest,
    begin_request,
    read_request,
    requested_in_week,
    withdraw_request,
    write_request,
)
from aperture_dagster_tests.shelf import NOW, Shelf


def note(work_id: int, **columns: object) -> StoredRequest:
    usual = {"state": "sending", "requested_at": NOW}
    return StoredRequest("ann", work_id, "movie", work_id, "A film", **usual | columns)  # pyright: ignore[reportArgumentType]


def works(shelf: Shelf, count: int) -> list[int]:
    shelf.users("ann")
    with shelf.open() as connection:
        return [one for one in works_for(connection, "movie", [ProviderIds(n + 1) for n in range(count)]) if one]


def test_only_requests_that_may_exist_count_for_the_week(shelf: Shelf):
    made = works(shelf, 6)
    old = NOW - WEEK - timedelta(minutes=1)
    rows = [
        note(made[0]), note(made[1], state="declined", request_id=1), note(made[2], state="declined"),
        note(made[3], state="refused", request_id=2), note(made[4], state="pending", request_id=3),
        note(made[5], state="available", request_id=4, requested_at=old),
    ]  # fmt: skip
    with shelf.open() as connection:
        for row in rows:
            write_request(connection, row)
        assert requested_in_week(connection, "ann", now=NOW) == 3
        assert requested_in_week(connection, "ann", now=NOW - timedelta(hours=1)) == 1, "what is dated in the future"


def test_taking_back_a_note_restores_what_was_there(shelf: Shelf):
    first, second = works(shelf, 2)
    before = note(first, state="declined", request_id=7, detail="No.")
    with shelf.open() as connection:
        write_request(connection, before)
        for work_id, previous in ((first, before), (second, None)):
            assert begin_request(connection, note(work_id), per_week=None)
            withdraw_request(connection, note(work_id), previous)
            assert read_request(connection, "ann", work_id) == previous
