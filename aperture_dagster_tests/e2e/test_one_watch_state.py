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

    def ask(self, path: str, **query: Any) -> Any:
        with self.place.writer() as writer:
            return writer.reader.transport.get_json(path, {"userId": self.user.id, **query})

    def continues(self) -> set[str]:
        """The ids of what Continue Watching shows."""
        return {one["Id"] for one in self.ask("/UserItems/Resume", mediaTypes="Video")["Items"]}

    def next_up(self) -> set[str]:
        return {one["Id"] for one in self.ask("/Shows/NextUp")["Items"]}

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
        anna.play(copy, 0.5, at)
        anna.sync()
        assert anna.has(original) == (False, 50, at)
        anna.renew("Film 6", "Film 5")
        assert anna.place.titles(ANNAS) == ["Film 6", "Film 5", "Film 3"]
        assert {copy.id, original.id} <= anna.continues()
        anna.play(original, 1.0, ago(minutes=1))
        anna.sync()
        assert anna.has(copy) == (True, 0, anna.has(original)[2])
        assert not {copy.id, original.id} & anna.continues()
        anna.renew("Film 6", "Film 4")
        assert anna.place.titles(ANNAS) == ["Film 6", "Film 4"]
        assert anna.place.home.value("SELECT count(*) FROM plays WHERE completion > 0.4") == 3


@separate
def test_before_a_copy_leaves_its_position_is_on_the_original(household: Any, tmp_path: Path, server: str):
    """Nobody reads the history in between, and it was untouched for longer than a title is kept."""
    with watching(household, tmp_path, server) as anna:
        at = ago(days=15)
        anna.play(anna.copy(3), 0.5, at)
        anna.renew("Film 6", "Film 5")
        assert anna.place.titles(ANNAS) == ["Film 6", "Film 5"]
        assert anna.has(anna.original(3)) == (False, 50, at)
        assert anna.continues() == {anna.original(3).id}


@separate
def test_next_up_moves_on_after_an_episode_on_a_copy(household: Any, tmp_path: Path, server: str):
    with watching(household, tmp_path, server) as anna:
        anna.play(anna.episode(1, 1, is_copy=True), 1.0, ago(hours=2))
        anna.play(anna.episode(1, 2, is_copy=True), 0.5, ago(hours=1))
        anna.sync()
        assert anna.has(anna.episode(1, 1, is_copy=False))[:2] == (True, 0)
        assert anna.episode(1, 2, is_copy=False).id in anna.next_up()
        assert anna.episode(1, 2, is_copy=False).id in anna.continues()
        anna.play(anna.episode(1, 2, is_copy=False), 1.0, ago(minutes=1))
        anna.sync()
        # The copy holds the season that she has just finished.
        assert anna.next_up() == {anna.episode(2, 1, is_copy=False).id}
        assert anna.continues() == set()


@separate
def test_what_was_played_on_an_original_marks_its_copies_and_nobody_elses(household: Any, tmp_path: Path, server: str):
    with watching(household, tmp_path, server) as anna:
        ben, film = anna.place.state.user_named("ben"), anna.original(3)
        anna.play(film, 1.0, ago(hours=2))
        anna.play(anna.original(1), 0.3, ago(hours=1))
        active = {name: anna.place.state.user_named(name).last_activity for name in ("anna", "ben")}
        anna.sync()
        assert anna.has(anna.copy(3)) == anna.has(film)
        assert anna.has(anna.copy(1)) == anna.has(anna.original(1))
        assert {anna.place.state.user_named(name).last_activity for name in ("anna", "ben")} == set(active.values())
        assert not any(data.played or data.position for data in ben.data.values())
        # A copy that comes later has the state from the start.
        anna.renew("Film 8", "Film 3")
        assert anna.has(anna.copy(8)) == anna.has(anna.original(8))
        anna.place.state.reset_counters()
        anna.sync()
        anna.place.publish_now()
        assert anna.place.changes() == 0


def test_the_later_play_wins_and_an_older_one_undoes_nothing(household: Any, tmp_path: Path):
    with watching(household, tmp_path) as anna:
        # Begun on the copy, then finished on the original, and the other way round.
        anna.play(anna.copy(3), 0.5, ago(hours=5))
        anna.play(anna.original(3), 1.0, ago(hours=4))
        anna.play(anna.original(1), 1.0, ago(hours=5))
        anna.play(anna.copy(1), 0.4, ago(hours=4))
        # What has no date is older than anything.
        anna.place.state.mark_played("anna", "movie:5", bare=True)
        anna.play(anna.copy(5), 0.4, ago(hours=3))
        anna.sync()
        for item in (anna.copy(3), anna.original(3)):
            assert anna.has(item)[:2] == (True, 0)
        assert anna.has(anna.original(1)) == (True, 40, anna.has(anna.copy(1))[2]), "it goes on, and was seen once"
        assert anna.has(anna.original(5)) == (True, 40, anna.has(anna.copy(5))[2])
        # A state that is older than what both have, such as of a server that was restored.
        data = anna.user.edit(anna.copy(3))
        data.last_played, data.position = ago(days=9).timestamp(), 20 * TICKS
        anna.user.set_played(anna.copy(3), False)
        anna.sync()
        for item in (anna.copy(3), anna.original(3)):
            assert anna.has(item)[:2] == (True, 0)


@pytest.mark.parametrize("is_sent", [False, True])
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


def test_favourites_go_both_ways(household: Any, tmp_path: Path):
    with watching(household, tmp_path) as anna:
        (series,) = anna.place.state.catalogue.top_items("series:901")
        shown = anna.place.state.catalogue.find(anna.place.items(SHOWS, "Series")["Series 1"].server_item_id)
        for item in (anna.copy(3), anna.original(5), shown):
            anna.user.edit(item).favorite = True
        anna.sync()
        for item in (anna.original(3), anna.copy(5), series):
            assert anna.user.of(item).favorite
        assert not anna.user.of(series).played
        anna.user.edit(anna.original(3)).favorite = False
        anna.place.home.must("sync_watch_history", users=anna.place.home.everyone(), config=FULL)
        assert not anna.user.of(anna.copy(3)).favorite


FULL = {"watch_history": {"full": True}}


def test_a_mark_that_is_taken_back_stays_taken_back(household: Any, tmp_path: Path):
    with watching(household, tmp_path) as anna:
        for number in (3, 5):
            anna.play(anna.copy(number), 1.0, ago(hours=number))
        anna.sync()
        # What copies and originals agreed on is not forgotten while the copies are there.
        anna.renew("Film 5", "Film 3", "Film 6")
        anna.user.mark_unplayed(anna.original(3))
        anna.user.mark_unplayed(anna.copy(5))
        for _ in range(2):
            anna.place.home.must("sync_watch_history", users=anna.place.home.everyone(), config=FULL)
        assert not anna.has(anna.original(3))[0] and not anna.has(anna.copy(3))[0]
        # A copy that the server has lost and read again would look the same.
        assert anna.has(anna.original(5))[0] and not anna.has(anna.copy(5))[0]
        again = ago(minutes=1)
        anna.play(anna.original(5), 1.0, again)
        anna.sync()
        assert anna.has(anna.copy(5)) == (True, 0, again)


@pytest.mark.parametrize("server", ["jellyfin@10.10.7", *at_night("emby")])
def test_nothing_is_written_where_the_server_shares_what_was_watched(household: Any, tmp_path: Path, server: str):
    with watching(household, tmp_path, server, publish_as="symlink") as anna:
        anna.play(anna.copy(3), 0.5, ago(hours=1))
        anna.place.state.reset_counters()
        anna.sync()
        assert anna.place.changes() == 0
        anna.renew("Film 6", "Film 5")
        assert anna.place.titles(ANNAS) == ["Film 6", "Film 5", "Film 3"]
        requests = anna.place.state.counters.requests
        assert not [name for one in requests.values() for name in one if "UserData" in name or "PlayedItems" in name]


def test_nothing_is_shared_if_that_is_switched_off(household: Any, tmp_path: Path):
    with watching(household, tmp_path, share_watch_state=False) as anna:
        anna.play(anna.copy(3), 1.0, ago(hours=1))
        anna.sync()
        anna.renew("Film 6", "Film 5")
        assert not anna.has(anna.original(3))[0]
