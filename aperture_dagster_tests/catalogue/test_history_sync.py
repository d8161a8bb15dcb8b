"""Incremental and full syncs of a history from a simulated server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest

from aperture_dagster.catalogue.histories import HistoryReader
from aperture_dagster.catalogue.people import read_users
from aperture_dagster.model import Clock
from aperture_dagster.publishing.copies import record_states
from aperture_dagster.simulator.world import Play
from aperture_dagster.simulator.worlds import odd_world
from aperture_dagster_tests.shelf import NOW, Shelf

USER = "plain"


@pytest.fixture
def read(
    shelf: Shelf, serve: Callable[..., AbstractContextManager[Any]], connect: Callable[..., Any]
) -> Iterator[tuple[Callable[..., int], Any]]:
    """Yield a function that reads a user's history from a stand-in, and the stand-in's state.

    It reads as of ``hours`` from now, and returns the number of rows written.
    """
    with serve(odd_world(NOW)) as (simulator, _):
        server = connect(simulator, page_size=2)
        shelf.sync(server)
        shelf.users(next(user.user_id for user in server.users().records if user.name == USER))
        with shelf.open() as connection:
            (user,) = read_users(connection)

        def reading(*, full: bool, hours: float = 0) -> int:
            clock = Clock(lambda: NOW + timedelta(hours=hours))
            return HistoryReader(server, shelf.database, clock, record_states).read(user, full=full).rows_written

        yield reading, simulator.state


def test_each_look_at_a_history_writes_only_what_is_new_and_a_full_one_finds_removed_marks(shelf: Shelf, read: Any):
    reading, state = read

    def plays() -> int:
        return shelf.value("SELECT count(*) FROM plays")

    assert reading(full=True)
    before, logged = shelf.rows("SELECT * FROM watch_state ORDER BY item_id"), plays()
    assert reading(full=True, hours=1) == reading(full=False, hours=2) == 0
    assert shelf.rows("SELECT * FROM watch_state ORDER BY item_id") == before

    later = NOW + timedelta(hours=3)
    state.play(Play(USER, "movie:900000011", later))
    state.play(Play(USER, "series:900000000", later, season=2, episode=1))
    assert reading(full=False, hours=4) == 4
    assert (plays(), shelf.value("SELECT max(played_at) FROM plays")) == (logged + 2, later)

    marked = "SELECT played FROM watch_state JOIN titles t USING (item_id) WHERE t.title = 'Two Copies'"
    assert shelf.value(marked)
    state.mark_unplayed(USER, "movie:900000102")
    reading(full=False, hours=6)
    assert shelf.value(marked), "a quick look cannot see it"
    assert reading(full=True, hours=24) == 1
    assert not shelf.value(marked) and plays() == logged + 2
