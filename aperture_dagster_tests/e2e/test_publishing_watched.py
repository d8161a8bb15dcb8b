"""Shows You Watch as a library: what comes next in each series, in the order in which they were watched."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.simulator.world import Play, World, WorldUser
from aperture_dagster_tests.e2e.publishing import Publishing, at_night, publishing
from aperture_dagster_tests.e2e.test_publishing import series

pytestmark = pytest.mark.e2e

LIBRARY = "Shows You Watch - anna"
NOW = datetime.now(UTC)


def watched(number: int, *episodes: int, season: int = 1, hours_ago: float) -> list[Play]:
    at = NOW - timedelta(hours=hours_ago)
    return [
        Play("anna", f"series:{900 + number}", at + timedelta(minutes=one), season=season, episode=one)
        for one in episodes
    ]


def publish(place: Publishing) -> None:
    place.home.must("sync_watch_history", users=place.home.everyone())
    place.home.must("sync_watching_libraries", users=place.home.everyone())


def episodes(place: Publishing) -> dict[str, list[tuple[int | None, int | None]]]:
    """The episodes of each series as the server shows them."""
    with place.writer() as writer:
        items = writer.library_items(place.libraries()[LIBRARY], "Series,Episode")
    names = {one.server_item_id: one.name for one in items if one.item_type == "Series"}
    found: dict[str, list[tuple[int | None, int | None]]] = {name: [] for name in names.values()}
    for one in items:
        if one.item_type == "Episode" and one.series_item_id is not None:
            found[names[one.series_item_id]].append((one.season, one.number))
    return {name: sorted(found[name]) for name in found}


@pytest.mark.parametrize("server", [*at_night("jellyfin@10.10.7", "jellyfin@12.0.0"), "emby"])
def test_a_series_begins_with_the_next_unwatched_episode(household: Any, tmp_path: Path, server: str):
    running = {"status": "Returning Series", "runtime_minutes": 40}
    world = World(
        "watching",
        [series(1, 5, 9, specials=2, **running), series(2, 4, **running), series(3, 3, **running)],
        [WorldUser("anna"), WorldUser("ben")],
        [*watched(1, 1, 2, 3, hours_ago=30), *watched(2, 1, 2, hours_ago=3)],
    )
    with publishing(household, world, tmp_path, server=server, also=["shows_you_watch_libraries"]) as place:
        place.synced()
        publish(place)
        assert place.titles(LIBRARY, "Series") == ["Series 2", "Series 1"]
        ten = [(1, 4), (1, 5), *((2, number) for number in range(1, 9))]
        assert episodes(place) == {"Series 2": [(1, 3), (1, 4)], "Series 1": ten}
        assert LIBRARY in place.views("anna") and LIBRARY not in place.views("ben")
        before = place.raw_items(LIBRARY, "Episode")
        place.state.advance(180)
        for play in watched(1, 4, hours_ago=0):
            place.state.play(play)
        publish(place)
        assert place.titles(LIBRARY, "Series") == ["Series 1", "Series 2"]
        assert episodes(place) == {"Series 2": [(1, 3), (1, 4)], "Series 1": [*ten[1:], (2, 9)]}
        after = place.raw_items(LIBRARY, "Episode")
        kept = before.keys() & after.keys()
        assert len(kept) > 5
        for name in kept:
            assert after[name]["Id"] == before[name]["Id"]
            assert after[name]["DateCreated"] == before[name]["DateCreated"]
