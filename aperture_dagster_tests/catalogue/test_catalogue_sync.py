"""Syncs of the catalogue from simulated servers over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest

from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.worlds import ODD_TITLES, WorldSize, generate_world, odd_world
from aperture_dagster.taste.histories import read_histories
from aperture_dagster_tests.shelf import NOW, Shelf

Serve = Callable[..., AbstractContextManager[Any]]
SNAPSHOT = (
    "SELECT 'title' AS kind, item_id, work_id, server_item_id, title, updated_at, removed_at FROM titles UNION ALL "
    "SELECT 'episode', item_id, work_id, server_item_id, title, updated_at, removed_at FROM episodes ORDER BY item_id"
)


def written(results: dict[str, Any]) -> int:
    return sum(one.counts.written + one.removed + one.returned for one in results.values())


@pytest.fixture
def small() -> Any:
    return generate_world(WorldSize(movies=60, series=5, episodes=80, users=2, plays=60), seed=3, now=NOW)


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


@pytest.mark.parametrize("kind", ["empty_list", "status"])
def test_an_empty_answer_removes_nothing(
    shelf: Shelf, serve: Serve, connect: Callable[..., Any], small: Any, kind: Any
):
    with serve(small) as (simulator, _):
        server = connect(simulator)
        shelf.sync(server)
        before = shelf.rows(SNAPSHOT)
        simulator.state.add_fault(FaultRule("jellyfin", "/Items", kind))
        if kind == "status":
            with pytest.raises(Exception, match="500"):
                shelf.sync(server)
        else:
            assert all(one.refusal is not None for one in shelf.sync(server).values())
        assert shelf.rows(SNAPSHOT) == before


def test_shifting_pages_remove_nothing(shelf: Shelf, serve: Serve, connect: Callable[..., Any], small: Any):
    with serve(small) as (simulator, _):
        server = connect(simulator, page_size=10)
        shelf.sync(server)
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


def test_a_garbled_item_is_not_removed(shelf: Shelf, serve: Serve, connect: Callable[..., Any], small: Any):
    with serve(small) as (simulator, _):
        server = connect(simulator)
        shelf.sync(server)
        simulator.state.add_fault(FaultRule("jellyfin", "includeItemTypes=Movie", "wrong_type", field="Overview"))
        result = shelf.sync(server)["movie"]
        assert (result.removed, result.refusal) == (0, None)
        assert shelf.value("SELECT count(*) FROM titles WHERE removed_at IS NOT NULL") == 0


def test_new_ids_of_everything_keep_items_works_and_histories(
    shelf: Shelf, serve: Serve, connect: Callable[..., Any], small: Any
):
    history = "SELECT user_id, item_id, work_id, played, play_count, last_played_at FROM watch_state ORDER BY 1, 2"
    log = "SELECT user_id, item_id, work_id, played_at, play_count FROM plays ORDER BY 1, 2, 4"
    with serve(small) as (simulator, _):
        server = connect(simulator)
        shelf.sync(server)
        users = [user.user_id for user in server.users().records]
        shelf.users(*users)
        for user in users:
            assert shelf.read_history(server, user, NOW)
        ids = "SELECT item_id, work_id FROM titles UNION ALL SELECT item_id, work_id FROM episodes ORDER BY 1"
        before = shelf.rows(ids), shelf.rows(history), shelf.rows(log)
        server_ids = {row["server_item_id"] for row in shelf.rows("SELECT server_item_id FROM titles")}
        for title in small.titles:
            simulator.state.reassign_item_ids(title.key)
        results = shelf.sync(server)
        assert results["movie"].recognised + results["series"].recognised == len(server_ids)
        assert results["episode"].recognised == 80
        assert not server_ids & {row["server_item_id"] for row in shelf.rows("SELECT server_item_id FROM titles")}
        for user in users:
            assert shelf.read_history(server, user, NOW + timedelta(hours=1)) == 0
        assert (shelf.rows(ids), shelf.rows(history), shelf.rows(log)) == before


def test_including_a_library_again_after_forty_days_does_not_double_history(
    shelf: Shelf, serve: Serve, connect: Callable[..., Any], small: Any
):
    """Every title of it came back as a new one, and its plays were counted again."""
    log = "SELECT user_id, item_id, work_id, played_at, play_count FROM plays ORDER BY 1, 2, 4"
    with serve(small) as (simulator, _):
        server = connect(simulator)
        shelf.sync(server)
        users = [user.user_id for user in server.users().records]
        shelf.users(*users)

        def histories(now: Any) -> Any:
            for user in users:
                shelf.read_history(server, user, now)
            with shelf.open() as connection:
                known = read_histories(connection).drop(columns="episodes_total")
            return known.sort_values(["user_id", "work_id"]).to_dict("records"), shelf.rows(log)

        before = histories(NOW)
        assert before[1]
        for _ in range(2):
            shelf.sync(server, exclude=["Movies", "TV Shows"])
            for table in ("titles", "episodes"):
                shelf.do(f"UPDATE {table} SET removed_at = removed_at - interval '40 days'")
        shelf.sync(server)
        assert str(histories(NOW + timedelta(days=40))) == str(before)
