"""A media server that does not read what is published for the first time, and what the nights after it make of that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.publishing.published import unfinished_libraries, unread_libraries
from aperture_dagster_tests.e2e.publishing import Publishing, at_night
from aperture_dagster_tests.e2e.test_publishing import ANNAS, BENS, SHOWS, shelf
from aperture_dagster_tests.household import failures

pytestmark = pytest.mark.e2e

ALL = {ANNAS, SHOWS, BENS}


def visible(place: Publishing) -> set[str]:
    return {name for user in ("anna", "ben") for name in place.views(user)} & ALL


def copies(place: Publishing) -> set[str]:
    rows = place.home.rows("SELECT server_item_id FROM item_versions WHERE is_published")
    return {row["server_item_id"] for row in rows}


def unread(place: Publishing, after: timedelta) -> list[str]:
    with place.home.database.transaction() as connection:
        return unread_libraries(connection, now=datetime.now(UTC) + after)


@pytest.mark.parametrize("server", ["jellyfin@12.0.0", *at_night("jellyfin@10.10.7", "jellyfin@10.11.11")])
def test_a_publication_that_the_server_did_not_read_in_time_is_verified_by_the_next_one(
    household: Any, tmp_path: Path, server: str
):
    with shelf(household, tmp_path, server=server, publish_as="symlink", wait_seconds=0.3) as place:
        place.state.set_scan_speed(1000)
        place.state.stall_scan(ANNAS, after=2)
        (reason,) = failures(place.publish()).values()
        assert "did not read" in reason and "Nothing of that is shown yet" in reason
        assert all(reason.count(name) == 1 for name in ALL) and len(reason) < 400
        assert visible(place) == set() and len(copies(place)) == 2
        # Status and check are patient with a slow server, but not for ever.
        assert unread(place, timedelta(hours=5)) == [] and set(unread(place, timedelta(hours=7))) == ALL
        # A clock that was ahead when they were placed silences neither.
        assert unread(place, timedelta(minutes=-5)) == [] and set(unread(place, timedelta(days=-2))) == ALL
        with place.home.database.transaction() as connection:
            long_before = datetime.now(UTC) - timedelta(days=2)
            assert len(unfinished_libraries(connection, "recommendations", now=long_before)) == len(ALL)
        # Somebody restarts the server, and it reads everything by itself.
        place.state.restart_server()
        place.state.start_scan()
        place.state.wait_for_scans()
        assert visible(place) == set()
        place.state.reset_counters()
        recorded = place.must_publish()
        assert not any(one.get("added") or one.get("changed") for one in recorded.values())
        assert place.state.counters.requests["jellyfin"].get("POST /Items/{itemId}/Refresh", 0) == 0
        assert visible(place) == ALL and unread(place, timedelta(days=9)) == []
        assert place.titles(ANNAS) == ["Film 3", "Film 1", "Film 5", "Film 2", "Film 4"]
        shown = [item for name in (ANNAS, BENS) for item in place.items(name).values()]
        shown += [*place.items(SHOWS, "Series,Episode").values()]
        assert {item.server_item_id for item in shown} <= copies(place)
        # What is watched there counts.
        place.home.must("sync_watch_history", users=place.home.everyone())
        for library, item_type, name in ((ANNAS, "Movie", "Film 5"), (SHOWS, "Episode", None)):
            items = place.items(library, item_type)
            item = items[name] if name else next(iter(items.values()))
            place.state.play_item("anna", item.server_item_id, 1.0, datetime.now(UTC))
        place.home.must("sync_watch_history", users=place.home.everyone())
        watched = place.home.rows(
            "SELECT coalesce(t.title, s.title) AS title FROM plays p JOIN users u USING (user_id) "
            "LEFT JOIN titles t USING (item_id) LEFT JOIN episodes e USING (item_id) "
            "LEFT JOIN titles s ON s.item_id = e.series_item_id WHERE u.name = 'anna' ORDER BY 1"
        )
        assert [row["title"] for row in watched] == ["Film 5", "Series 1"]
