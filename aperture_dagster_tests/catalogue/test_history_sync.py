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
STATES = (
    "SELECT t.title, w.played, w.play_count, w.favorite, round(w.position_share::numeric, 2)::float8 AS share "
    "FROM watch_state w JOIN titles t USING (item_id) ORDER BY t.title"
)


class Reader:
    """One user's history on a stand-in, and in the database."""

    def __init__(self, shelf: Shelf, server: Any, state: Any) -> None:
        self.shelf, self.server, self.state = shelf, server, state
        shelf.sync(server)
        self.user = next(user.user_id for user in server.users().records if user.name == USER)
        shelf.users(self.user)

    def read(self, *, full: bool, hours: float = 0) -> int:
        """Read the history, as of ``hours`` from now; return the number of rows written."""
        clock = Clock(lambda: NOW + timedelta(hours=hours))
        reader = HistoryReader(self.server, self.shelf.database, clock, record_states)
        with self.shelf.open() as connection:
            user = next(user for user in read_users(connection) if user.user_id == self.user)
        return reader.read(user, full=full).rows_written

    def states(self) -> dict[str, dict[str, Any]]:
        return {row["title"]: row for row in self.shelf.rows(STATES)}


@pytest.fixture
def reader(
    shelf: Shelf, serve: Callable[..., AbstractContextManager[Any]], connect: Callable[..., Any]
) -> Iterator[Reader]:
    with serve(odd_world(NOW)) as (simulator, _):
        yield Reader(shelf, connect(simulator, page_size=2), simulator.state)


def test_a_second_sync_of_either_kind_writes_nothing(reader: Reader):
    assert reader.read(full=True)
    before = reader.shelf.rows("SELECT * FROM watch_state ORDER BY item_id")
    assert reader.read(full=True, hours=1) == 0
    assert reader.read(full=False, hours=2) == 0
    assert reader.shelf.rows("SELECT * FROM watch_state ORDER BY item_id") == before


def test_an_incremental_sync_stores_and_logs_a_new_play(reader: Reader):
    reader.read(full=True)
    plays = reader.shelf.value("SELECT count(*) FROM plays")
    reader.state.play(Play(USER, "movie:900000011", NOW + timedelta(hours=1)))
    reader.state.play(Play(USER, "series:900000000", NOW + timedelta(hours=1), season=2, episode=1))
    assert reader.read(full=False, hours=2) == 4
    assert reader.shelf.value("SELECT count(*) FROM plays") == plays + 2
    assert reader.shelf.value("SELECT max(played_at) FROM plays") == NOW + timedelta(hours=1)


def test_a_full_sync_finds_a_removed_mark_and_keeps_its_play(reader: Reader):
    reader.read(full=True)
    plays = reader.shelf.value("SELECT count(*) FROM plays")
    assert reader.states()["Two Copies"]["played"]
    reader.state.mark_unplayed(USER, "movie:900000102")
    reader.read(full=False, hours=2)
    assert reader.states()["Two Copies"]["played"], "a quick look cannot see it"
    assert reader.read(full=True, hours=24) == 1
    assert not reader.states()["Two Copies"]["played"]
    assert reader.shelf.value("SELECT count(*) FROM plays") == plays
