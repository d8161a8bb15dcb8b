"""What is watched on published copies counts for the originals; where the server does not share it, it moves there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.media_server.jellyfin.writer import JellyfinWriter
from aperture_dagster.simulator.world import Play, World, WorldUser
from aperture_dagster_tests.e2e.publishing import Publishing, publishing
from aperture_dagster_tests.e2e.reading import read_histories, read_server
from aperture_dagster_tests.e2e.test_publishing import ANNAS, SHOWS, series, shelf
from aperture_dagster_tests.household import materializations, metadata_of
from aperture_dagster_tests.killing import killed_at
from aperture_dagster_tests.marks import ANOTHER_CASE, at_night

pytestmark = pytest.mark.e2e

BEGUN = """
    SELECT 1 FROM watch_state JOIN work_names USING (work_id) JOIN users u USING (user_id)
    WHERE u.name = 'anna' AND title = 'Film 8' AND position_share > 0"""
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
def test_what_is_watched_on_a_copy_is_on_the_original_alone_and_nothing_is_lost_when_copies_leave(
    household: Any, tmp_path: Path, server: str
):
    with watching(household, tmp_path, server) as anna:
        (series,) = anna.place.state.catalogue.top_items("series:901")
        shown = anna.place.state.catalogue.find(anna.place.items(SHOWS, "Series")["Series 1"].server_item_id)
        for item in (shown, anna.copy(5)):
            anna.user.edit(item).favorite = True
        anna.play(anna.episode(1, 1, is_copy=True), 1.0, ago(hours=2))
        copy, original, at = anna.copy(3), anna.original(3), ago(hours=1)
        anna.play(anna.episode(1, 2, is_copy=True), 0.5, at)
        ben = anna.place.state.user_named("ben")
        active = ben.last_activity
        anna.play(copy, 0.5, at)
        anna.play(anna.original(1), 0.3, at)
        anna.sync()
        assert anna.has(original) == (False, 50, at)
        assert anna.has(anna.original(1)) == (False, 30, at)
        assert anna.has(anna.episode(1, 1, is_copy=False))[:2] == (True, 0)
        assert anna.has(anna.episode(1, 2, is_copy=False)) == (False, 22, at)
        for one in (copy, anna.copy(1), *(anna.episode(1, n, is_copy=True) for n in (1, 2))):
            assert anna.has(one) == (False, 0, None) and anna.user.of(one).play_count == 0, one.name
        assert anna.user.of(series).favorite and anna.user.of(anna.original(5)).favorite
        assert not anna.user.of(shown).favorite and not anna.user.of(anna.copy(5)).favorite
        anna.place.state.reset_counters()
        anna.sync()
        assert anna.place.changes() == 0
        anna.renew("Film 6", "Film 3", "Film 8")
        assert anna.place.titles(ANNAS) == ["Film 6", "Film 8"], "Continue Watching has the other one"
        # An older play of a copy, which was not seen before, overwrites nothing.
        anna.play(anna.original(6), 0.8, ago(minutes=5))
        anna.play(anna.copy(6), 0.2, ago(minutes=30))
        anna.sync()
        assert anna.has(anna.original(6))[1] == 80 and anna.has(anna.copy(6))[1] == 0
        # Before a copy leaves, its position is on the original: nobody reads the history in between.
        anna.play(anna.copy(8), 0.5, ago(minutes=1))
        left = anna.copy(8)
        anna.renew("Film 5", "Film 4")
        assert anna.place.titles(ANNAS) == ["Film 5", "Film 4"]
        assert anna.has(anna.original(8))[1] == 50 and anna.has(left) == (False, 0, None)
        assert not any(data.played or data.position for data in ben.data.values()) and ben.last_activity == active
        # What she takes back, no copy of the past remembers.
        anna.place.state.mark_unplayed("anna", "movie:8")
        read_histories(anna.place.home, full=True)
        assert anna.place.home.rows(BEGUN) == []
        anna.renew("Film 8", "Film 5")
        anna.sync()
        assert anna.has(anna.original(8))[:2] == (False, 0)


@pytest.mark.parametrize(
    ("step", "occurrence"),
    [
        ("set_user_data", 1),
        pytest.param("forget_play", 1, marks=ANOTHER_CASE),
        pytest.param("forget_play", 2, marks=ANOTHER_CASE),
    ],
)
def test_a_run_that_is_killed_around_a_write_is_repeated_and_ends_the_same(
    household: Any, tmp_path: Path, step: str, occurrence: int
):
    with watching(household, tmp_path) as anna:
        anna.play(anna.copy(3), 0.5, at := ago(hours=1))
        anna.play(anna.copy(5), 1.0, at)
        with killed_at([(JellyfinWriter, step)], occurrence):
            assert not anna.place.home.run("sync_watch_history", users=anna.place.home.everyone()).success
        for _ in range(2):
            anna.sync()
            assert [anna.has(anna.original(n)) for n in (3, 5)] == [(False, 50, at), (True, 0, at)]
            assert [anna.has(anna.copy(n)) for n in (3, 5)] == [(False, 0, None)] * 2
            assert anna.user.of(anna.original(5)).play_count == 1
        log = [row["title"] for row in anna.place.home.rows(LOG)]
        assert log == ["Film 3", "Film 5"], "each play is logged once"


def test_a_play_that_goes_on_after_it_was_moved_is_not_lost(household: Any, tmp_path: Path):
    """The television was paused for so long that the server took it for stopped."""
    with watching(household, tmp_path) as anna:
        copy, original = anna.copy(3), anna.original(3)
        anna.place.state.begin_play("anna", copy.id, 0.5)
        anna.place.state.sessions.clear()
        anna.sync()
        assert anna.has(original)[1] == 50 and anna.has(copy) == (False, 0, None)
        anna.user.report_position(copy, 0.8)
        anna.sync()
        assert anna.has(original)[1] == 80 and anna.has(copy)[1] == 0
        anna.user.report_position(copy, 1.0)
        anna.sync()
        assert anna.has(original)[:2] == (True, 0) and anna.has(copy)[:2] == (False, 0)


def test_what_the_server_does_not_show_on_the_original_stays_on_the_copy(
    household: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with watching(household, tmp_path) as anna:
        anna.play(anna.copy(3), 0.5, ago(hours=1))
        with monkeypatch.context() as patched:
            patched.setattr(JellyfinWriter, "set_user_data", lambda *_: None)
            anna.sync()
        assert anna.has(anna.copy(3))[1] == 50, "a key that writes to somebody else, or a server that forgets"
        anna.sync()
        assert [anna.has(one)[1] for one in (anna.original(3), anna.copy(3))] == [50, 0]


@pytest.mark.parametrize(
    ("server", "how"),
    [
        ("jellyfin@10.10.7", {"publish_as": "symlink"}),
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
        anna.renew("Film 6", "Film 3", "Film 5")
        assert anna.place.titles(ANNAS) == ["Film 6", "Film 5"]
        requests = anna.place.state.counters.requests
        assert not [name for one in requests.values() for name in one if "UserData" in name or "PlayedItems" in name]


# Copies whose ids on the server were never recorded


two_servers = pytest.mark.parametrize("server", ["jellyfin@12.0.0", *at_night("jellyfin@10.11.11", "emby")])
SEPARATE = {"publish_as": "symlink"}
"""Copies with a watch state of their own on each server."""
TOP_PICKS = "Top Picks - Movies"
MANIFEST = ("published_entries", "published_libraries", "published_lists", "published_access")
LOG = """
    SELECT coalesce(t.title, s.title || format(' S%sE%s', e.season, e.number)) AS title,
    round(p.completion::numeric, 1)::float8 AS completion FROM plays p JOIN users u USING (user_id)
    LEFT JOIN titles t USING (item_id) LEFT JOIN episodes e USING (item_id)
    LEFT JOIN titles s ON s.item_id = e.series_item_id
    WHERE u.name = 'anna' AND p.played_at > now() - interval '1 day' ORDER BY 1, 2"""
WATCHED = [
    {"title": "Film 3", "completion": 0.5},
    {"title": "Film 5", "completion": 1.0},
    {"title": "Series 1 S1E2", "completion": 1.0},
]


def publish_without_ids(place: Publishing) -> None:
    """Publish, but as a run that ended before the server had read what it placed."""
    place.publish_now()
    # Without any play, every look would be a full one.
    place.state.play(Play("anna", "movie:8", datetime.now(UTC) - timedelta(days=2)))
    read_histories(place.home)
    forget_ids(place)


def forget_ids(place: Publishing) -> None:
    assert place.home.rows("DELETE FROM item_versions WHERE is_published RETURNING 1")


def watch(place: Publishing) -> None:
    """Anna finishes a film and an episode on their copies, and watches half of another film."""
    films = place.items(ANNAS)
    with place.writer() as writer:
        episodes = writer.library_items(place.libraries()[SHOWS], "Episode")
    (episode,) = (one for one in episodes if (one.season, one.number) == (1, 2))
    for item, completion in ((films["Film 5"], 1.0), (films["Film 3"], 0.5), (episode, 1.0)):
        place.state.play_item("anna", item.server_item_id, completion, datetime.now(UTC))


def read(place: Publishing) -> int:
    """Read what is new of the histories; return how many requests that took."""
    place.state.reset_counters()
    assert read_histories(place.home)["anna"].compared is False
    return sum(sum(counts.values()) for counts in place.state.counters.requests.values())


@two_servers
def test_plays_on_copies_with_unknown_ids_count_for_the_originals(household: Any, tmp_path: Path, server: str):
    with shelf(household, tmp_path, server=server, **SEPARATE) as place:
        publish_without_ids(place)
        watch(place)
        asked = read(place)
        assert place.home.rows(LOG) == WATCHED
        recorded = place.home.rows("SELECT server_item_id FROM item_versions WHERE is_published ORDER BY 1")
        assert len(recorded) == 3
        assert read(place) == asked, "it took no request to find out"
        assert place.home.rows(LOG) == WATCHED
        # By ids that are known now.
        copy = place.items(ANNAS)["Film 3"].server_item_id
        place.state.play_item("anna", copy, 1.0, datetime.now(UTC))
        read(place)
        again = [WATCHED[0], {"title": "Film 3", "completion": 1.0}, *WATCHED[1:]]
        assert place.home.rows(LOG) == again

        # Without what the manifest knew either, as after the restore of a backup from before the publication.
        forget_ids(place)
        for table in MANIFEST:
            place.home.rows(f"DELETE FROM {table} RETURNING 1")
        place.state.play_item("anna", place.items(ANNAS)["Film 1"].server_item_id, 1.0, datetime.now(UTC))
        read(place)
        assert place.home.rows(LOG) == [{"title": "Film 1", "completion": 1.0}, *again]


@pytest.mark.nightly(
    reason="A household with published lists of its own.",
    instead="e2e/test_one_watch_state.py::test_plays_on_copies_with_unknown_ids_count_for_the_originals",
)
@two_servers
def test_plays_on_copies_with_unknown_ids_are_kept_when_the_copies_disappear(
    household: Any, tmp_path: Path, server: str
):
    """Nobody reads the histories in between."""
    with shelf(household, tmp_path, server=server, **SEPARATE) as place:
        place.recommend("anna", "Film 3", "Film 1", "Film 5")
        publish_without_ids(place)
        watch(place)
        with place.publication() as publication:
            published = publication.unpublish()
        assert not [one.error for one in published.outcomes if one.error is not None]
        assert ANNAS not in place.libraries() and place.home.rows(LOG) == WATCHED
        read(place)
        assert place.home.rows(LOG) == WATCHED


def test_a_user_who_was_deleted_on_the_server_costs_nobody_a_library_of_everybody(household: Any, tmp_path: Path):
    with shelf(household, tmp_path, also=["top_picks_libraries"], server="jellyfin@12.0.0", **SEPARATE) as place:
        place.pick("Film 3", "Film 1")
        place.publish_top_picks()
        film = place.items(TOP_PICKS)["Film 3"]
        place.state.play_item("anna", film.server_item_id, 1.0, datetime.now(UTC))
        place.state.advance(180)
        place.pick("Film 1")
        place.state.remove_user("ben")
        with place.publication() as publication:
            published = publication.publish(["top_picks"])
        assert [one.error for one in published.outcomes if one.error is not None] == []
        assert TOP_PICKS in place.libraries()
        assert [row["title"] for row in place.home.rows(LOG)] == ["Film 3"]


# Shows You Watch as a library: what comes next, in the order in which it was watched


LIBRARY = "Shows You Watch - anna"
NOW = datetime.now(UTC)


def watched(number: int, *episodes: int, season: int = 1, hours_ago: float, user: str = "anna") -> list[Play]:
    at = NOW - timedelta(hours=hours_ago)
    return [
        Play(user, f"series:{900 + number}", at + timedelta(minutes=one), season=season, episode=one)
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


@pytest.mark.nightly(
    reason="Several nights, each with a list that is published.",
    instead="e2e/test_publishing.py::test_the_next_season_follows_when_one_was_watched_wherever_that_was",
)
@pytest.mark.parametrize("server", [*at_night("jellyfin@10.10.7", "jellyfin@12.0.0"), "emby"])
def test_a_series_begins_with_the_next_unwatched_episode_and_every_night_is_recorded(
    household: Any, tmp_path: Path, server: str
):
    running = {"status": "Returning Series", "runtime_minutes": 40}
    world = World(
        "watching",
        [series(1, 5, 9, specials=2, **running), series(2, 4, **running), series(3, 3, **running)],
        [WorldUser("anna"), WorldUser("ben")],
        [*watched(1, 1, 2, 3, hours_ago=30), *watched(2, 1, 2, hours_ago=3), *watched(2, 1, hours_ago=9, user="ben")],
    )
    with publishing(household, world, tmp_path, server=server, also=["shows_you_watch_libraries"]) as place:
        read_server(place.home, histories=True)
        # What ben watched before is known.
        place.state.change_user("ben", max_parental_rating=3)
        place.home.must("sync_users")
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
        # Otherwise, what is current would be reported as out of date after two nights without a change.
        result = place.home.must("sync_watching_libraries", users=place.home.everyone(), scheduled=True)
        recorded = {(one.asset_key.to_user_string(), one.partition) for one in materializations(result)}
        for asset in ("shows_you_watch", "shows_you_watch_libraries"):
            assert {(asset, user) for user in ("anna", "ben")} <= recorded
        shown = {user: metadata_of(result, "shows_you_watch", user) for user in ("anna", "ben")}
        assert {user: one["dagster/partition_row_count"] for user, one in shown.items()} == {"anna": 2, "ben": 0}
        first = shown["anna"]["series"].records[0].data
        assert (first["title"], first["next episode"], first["behind"]) == ("Series 1", "S01E05", 10)
