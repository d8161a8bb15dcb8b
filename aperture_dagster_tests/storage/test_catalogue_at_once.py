"""Concurrent syncs of the same library."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from aperture_dagster.resources.media_server.records import ServerTitle
from aperture_dagster_tests.storage.conftest import Shelf, film

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def merge_at_once(shelf: Shelf, *listed: list[ServerTitle]) -> None:
    """Merge listings in concurrent threads, and block writes to works until all threads wait or are done.

    If they did not wait for each other, all of them would have looked for known films by then, and found none.
    """
    with ThreadPoolExecutor(len(listed)) as pool:
        with ExitStack() as hold_up:
            connection = hold_up.enter_context(shelf.open())
            connection.exec_driver_sql("LOCK TABLE works IN EXCLUSIVE MODE")
            merges = [pool.submit(shelf.films, *films) for films in listed]
            deadline = time.monotonic() + 240
            while shelf.value(WAITING) < len(listed):
                assert time.monotonic() < deadline and not any(merge.done() for merge in merges)
                time.sleep(0.01)
        for merge in merges:
            merge.result(30)


def test_concurrent_syncs_insert_new_films_and_works_once(shelf: Shelf):
    films = [film(number) for number in range(1, 6)]
    merge_at_once(shelf, films, films)
    assert shelf.value("SELECT count(*) FROM titles") == shelf.value("SELECT count(*) FROM works") == 5


def test_copies_found_by_concurrent_syncs_share_a_work(shelf: Shelf):
    merge_at_once(shelf, [film(1)], [film(1), film(2, tmdb_id=1)])
    assert shelf.value("SELECT count(*) FROM works") == 1
    assert shelf.item("film-1")["work_id"] == shelf.item("film-2")["work_id"]
