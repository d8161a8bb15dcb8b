"""Syncs of the catalogue from simulated servers over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest

from aperture_dagster.catalogue.history.reader import HistoryReader
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.model import Clock
from aperture_dagster.publishing.copies.originals import record_states
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.world import Play
from aperture_dagster.simulator.worlds import ODD_TITLES, WorldSize, generate_world, odd_world
from aperture_dagster_tests.shelf import NOW, Shelf

Serve = Callable[..., AbstractContextManager[Any]]
SNAPSHOT = (
    "SELECT 'title' AS kind, item_id, work_id, server_item_id, title, updated_at, removed_at FROM titles UNION ALL "
    "SELECT 'episode', item_id, work_id, server_item_id, title, updated_at, removed_at FROM episodes ORDER BY item_id"
)


def written(results: dict[str, Any]) -> int:
    return sum(one.counts.written + one.removed + one.returned for one in results.values())


def test_odd_titles_are_stored_unchanged_and_the_second_sync_writes_nothing(
    shelf: Shelf, serve: Serve, connect: Callable[..., Any]
):
    with serve(odd_world(NOW)) as (simulator, _):
        server = connect(simulator, page_size=7)
        results = shelf.sync(server)
        stored = {row["title"]: row for row in shelf.rows("SELECT * FROM titles")}
        assert {name.strip() for name in ODD_TITLES} - {""} <= set(stored)
        odd = stored["It's \"Quoted\" 'n' `Ticked`"]
        assert odd["genres"] == ["Drama"]
        assert odd["tmdb_id"] == 900_000_001
        assert "with a tab\tand 'quotes'." in stored["Plain Film"]["overview"]
        twins = shelf.rows("SELECT work_id FROM titles WHERE title = 'Twins'")
        assert len({row["work_id"] for row in twins}) == 2
        copies = shelf.rows("SELECT work_id, item_id FROM titles WHERE title = 'Two Copies'")
        assert len(copies) == 2
        assert len({row["work_id"] for row in copies}) == 1
        assert shelf.value("SELECT count(*) FROM episodes") == 41
        assert results["episode"].orphaned_episodes == 0
        before = shelf.rows(SNAPSHOT)
        assert written(shelf.sync(server)) == 0
        assert shelf.rows(SNAPSHOT) == before


def test_answers_that_are_empty_garbled_or_shifted_remove_nothing(
    shelf: Shelf, serve: Serve, connect: Callable[..., Any]
):
    world = generate_world(WorldSize(movies=60, series=5, episodes=80, users=2, plays=0), seed=3, now=NOW)
    with serve(world) as (simulator, _):
        server = connect(simulator, page_size=10)
        shelf.sync(server)
        before = shelf.rows(SNAPSHOT)

        def sync_with(fault: FaultRule) -> dict[str, Any]:
            simulator.state.add_fault(fault)
            try:
                return shelf.sync(server)
            finally:
                simulator.state.clear_faults()
                assert shelf.rows(SNAPSHOT) == before

        with pytest.raises(Exception, match="500"):
            sync_with(FaultRule("jellyfin", "/Items", "status"))
        found = sync_with(FaultRule("jellyfin", "/Items", "empty_list"))
        assert all(one.refusal is not None for one in found.values())
        found = sync_with(FaultRule("jellyfin", "includeItemTypes=Movie", "wrong_type", field="Overview"))
        assert (found["movie"].removed, found["movie"].refusal) == (0, None)
        pages = server.titles

        def while_something_leaves(library: Any, kind: Any, listing: Any) -> Any:
            for number, page in enumerate(pages(library, kind, listing)):
                if number == 1 and kind == "movie":
                    simulator.state.remove_title("movie:900000000")
                yield page

        server.titles = while_something_leaves
        result = shelf.sync(server)["movie"]
        assert result.removed == 0
        assert result.incomplete_libraries == ["Movies"]
        server.titles = pages
        assert shelf.sync(server)["movie"].removed >= 1, "the next listing is whole, and tells what left"


# Histories


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
