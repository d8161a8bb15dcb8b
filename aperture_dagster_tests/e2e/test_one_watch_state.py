"""Originals and published copies share what was watched, where the server does not share it itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.media_server.jellyfin import JellyfinWriter
from aperture_dagster_tests.e2e.publishing import Publishing, at_night
from aperture_dagster_tests.e2e.test_publishing import ANNAS, SHOWS, shelf
from aperture_dagster_tests.killing import killed_at
from aperture_dagster_tests.marks import ANOTHER_CASE

pytestmark = pytest.mark.e2e

TICKS = 60 * 10_000_000
"""A minute."""
separate = pytest.mark.parametrize("server", ["jellyfin@12.0.0", *at_night("jellyfin@10.11.11")])


def ago(**how: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - timedelta(**how)


class Watching:
    """Anna in front of her media server."""

    def __init__(self, place: Publishing) -> None:
        self.place = place
        self.user = place.state.user_named("anna")

    def original(self, number: int) -> Any:
        (item,) = self.place.state.catalogue.top_items(f"movie:{number}")
        return item

    def copy(self, number: int) -> Any:
        catalogue, item_id = self.place.state.catalogue, self.place.items(ANNAS)[f"Film {number}"].server_item_id
        return catalogue.find(item_id) or catalogue.at_number(item_id)

    def episode(self, season: int, number: int, *, is_copy: bool) -> Any:
        if is_copy:
            with self.place.writer() as writer:
                listed = writer.library_items(self.place.libraries()[SHOWS], "Episode")
            (found,) = (one for one in listed if (one.season, one.number) == (season, number))
            return self.place.state.catalogue.find(found.server_item_id)
        (series,) = self.place.state.catalogue.top_items("series:901")
        return next(one for one in series.numbered(season).episodes if one.episode == number)

    def play(self, item: Any, completion: float, at: datetime) -> None:
        self.place.state.play_item("anna", item.id, completion, at)

    def has(self, item: Any) -> tuple[bool, int, datetime | None]:
        """Whether the item is played, how many minutes into it she is, and when she last played it."""
        data = self.user.of(item)
        at = datetime.fromtimestamp(data.last_played, UTC) if data.last_played is not None else None
        return data.played, data.position // TICKS, at

    def continues(self) -> set[str]:
        """The ids of what is in progress."""
        items = self.place.state.catalogue.every_item()
        return {items[slot].id for slot, data in self.user.data.items() if data.position}

    def sync(self) -> None:
        self.place.home.must("sync_watch_history", users=self.place.home.everyone())

    def renew(self, *titles: str) -> None:
        self.place.state.advance(180)
        self.place.recommend("anna", *titles)
        self.place.publish_now()


@contextmanager
def watching(household: Any, tmp_path: Path, server: str = "jellyfin@12.0.0", **how: Any) -> Iterator[Watching]:
    with shelf(household, tmp_path, server=server, **how) as place:
        place.publish_now()
        anna = Watching(place)
        # Without any play, every look would be a full one.
        anna.play(anna.original(8), 1.0, ago(days=30))
        anna.sync()
        yield anna


@separate
def test_half_a_film_on_a_copy_is_on_the_original_and_stays_in_the_list_until_it_is_finished(
    household: Any, tmp_path: Path, server: str
):
    with watching(household, tmp_path, server) as anna:
        copy, original, at = anna.copy(3), anna.original(3), ago(hours=1)
        active = anna.place.state.user_named("ben").last_activity
        anna.play(copy, 0.5, at)
        anna.play(anna.original(1), 0.3, at)
        anna.sync()
        assert anna.has(original) == (False, 50, at)
        assert anna.has(anna.copy(1)) == anna.has(anna.original(1)), "and the other way round"
        anna.renew("Film 6", "Film 8")
        assert anna.place.titles(ANNAS) == ["Film 6", "Film 8", "Film 3", "Film 1"]
        assert {copy.id, original.id} <= anna.continues()
        assert anna.has(anna.copy(8)) == anna.has(anna.original(8)), "what comes later has the state from the start"
        anna.play(original, 1.0, ago(minutes=1))
        anna.sync()
        assert anna.has(copy) == (True, 0, anna.has(original)[2])
        assert not {copy.id, original.id} & anna.continues()
        ben = anna.place.state.user_named("ben")
        assert not any(data.played or data.position for data in ben.data.values()) and ben.last_activity == active
        anna.place.state.reset_counters()
        anna.sync()
        assert anna.place.changes() == 0


@separate
def test_before_a_copy_leaves_its_position_is_on_the_original(household: Any, tmp_path: Path, server: str):
    """Nobody reads the history in between, and it was untouched for longer than a title is kept."""
    with watching(household, tmp_path, server) as anna:
        at = ago(days=15)
        anna.play(anna.copy(3), 0.5, at)
        anna.renew("Film 6", "Film 5")
        assert anna.place.titles(ANNAS) == ["Film 6", "Film 5"]
        assert anna.has(anna.original(3)) == (False, 50, at)


@separate
def test_an_episode_on_a_copy_counts_for_the_original_and_a_favourite_is_one_on_both(
    household: Any, tmp_path: Path, server: str
):
    with watching(household, tmp_path, server) as anna:
        (series,) = anna.place.state.catalogue.top_items("series:901")
        shown = anna.place.state.catalogue.find(anna.place.items(SHOWS, "Series")["Series 1"].server_item_id)
        for item in (shown, anna.original(5)):
            anna.user.edit(item).favorite = True
        anna.play(anna.episode(1, 1, is_copy=True), 1.0, ago(hours=2))
        anna.play(anna.episode(1, 2, is_copy=True), 0.5, ago(hours=1))
        anna.sync()
        assert anna.has(anna.episode(1, 1, is_copy=False))[:2] == (True, 0)
        assert anna.has(anna.episode(1, 2, is_copy=False)) == anna.has(anna.episode(1, 2, is_copy=True))
        assert anna.user.of(series).favorite and anna.user.of(anna.copy(5)).favorite
        anna.play(anna.episode(1, 2, is_copy=False), 1.0, ago(minutes=1))
        anna.sync()
        assert anna.has(anna.episode(1, 2, is_copy=True))[:2] == (True, 0) and anna.continues() == set()


@pytest.mark.parametrize("is_sent", [True, pytest.param(False, marks=ANOTHER_CASE)])
def test_a_run_that_is_killed_around_a_write_is_continued(household: Any, tmp_path: Path, is_sent: bool):
    with watching(household, tmp_path) as anna:
        anna.play(anna.copy(3), 0.5, ago(hours=1))
        with killed_at([(JellyfinWriter, "set_user_data")], 2 if is_sent else 1):
            assert not anna.place.home.run("sync_watch_history", users=anna.place.home.everyone()).success
        assert anna.has(anna.original(3))[1] == (50 if is_sent else 0)
        # She goes back on the copy, under the date of the same play.
        anna.user.edit(anna.copy(3)).position = 20 * TICKS
        anna.place.state.reset_counters()
        anna.sync()
        assert [anna.has(one)[:2] for one in (anna.copy(3), anna.original(3))] == [(False, 20)] * 2
        sent = anna.place.state.counters.requests["jellyfin"]["POST /UserItems/{item_id}/UserData"]
        assert sent == 1
        assert anna.place.home.rows("SELECT 1 FROM shared_states WHERE pending IS NOT NULL") == []


@pytest.mark.parametrize(
    ("server", "how"),
    [
        ("jellyfin@12.0.0", {"share_watch_state": False}),
        pytest.param("jellyfin@10.10.7", {"publish_as": "symlink"}, marks=ANOTHER_CASE),
        pytest.param("emby", {"publish_as": "symlink"}, marks=ANOTHER_CASE),
    ],
)
def test_nothing_is_written_where_the_server_shares_what_was_watched_or_sharing_is_off(
    household: Any, tmp_path: Path, server: str, how: dict[str, Any]
):
    with watching(household, tmp_path, server, **how) as anna:
        anna.play(anna.copy(3), 0.5, ago(hours=1))
        anna.place.state.reset_counters()
        anna.sync()
        assert anna.place.changes() == 0
        anna.renew("Film 6", "Film 5")
        assert anna.place.titles(ANNAS) == ["Film 6", "Film 5", "Film 3"]
        requests = anna.place.state.counters.requests
        assert not [name for one in requests.values() for name in one if "UserData" in name or "PlayedItems" in name]
