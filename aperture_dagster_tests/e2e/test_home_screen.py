"""What the home screens of members show of published libraries, on both versions of Jellyfin."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.partitions import RANGE_END_TAG, RANGE_START_TAG
from aperture_dagster.popularity.stored_picks import replace_top_picks
from aperture_dagster.publishing.server.publication import KINDS
from aperture_dagster_tests.e2e.home_screen import HomeScreen
from aperture_dagster_tests.e2e.publishing import Publishing
from aperture_dagster_tests.e2e.test_publishing import ANNAS, SHOWS, film, series, shelf
from aperture_dagster_tests.household import SetClock
from aperture_dagster_tests.marks import at_night
from aperture_dagster_tests.sensors.runs import look
from aperture_dagster_tests.shelf import pick_rows

pytestmark = pytest.mark.e2e
both_versions = pytest.mark.parametrize("server", [*at_night("jellyfin@10.11.11"), "jellyfin@12.0.0"])


def rewritten(place: Publishing, before: dict[str, tuple[int, int]]) -> list[str]:
    """The names of the files that were there before and are others now."""
    now = place.files()
    return sorted(path.rpartition("/")[2] for path in now.keys() & before.keys() if now[path] != before[path])


@both_versions
def test_the_row_of_a_library_is_always_in_the_order_of_the_list_and_a_play_costs_no_file_more(
    household: Any, tmp_path: Path, server: str
):
    titles = [*(film(number) for number in range(1, 13)), *(series(number, 4) for number in range(1, 6))]
    with shelf(household, tmp_path, *titles, server=server) as place:
        anna = HomeScreen(place, "anna")

        def publish(films: list[int], shows: list[int]) -> None:
            place.state.advance(180)
            place.recommend("anna", *(f"Film {number}" for number in films))
            place.recommend("anna", *(f"Series {number}" for number in shows), media_type="series")
            place.publish_now()
            assert anna.row(ANNAS) == [f"Film {number}" for number in films]
            assert anna.row(SHOWS) == [f"Series {number}" for number in shows]

        publish([3, 1, 5, 2, 4, 6], [1, 2, 3, 4])
        # After a play one leaves, and a new one comes last.
        before = place.files()
        publish([1, 5, 2, 4, 6, 7], [2, 3, 4, 5])
        assert rewritten(place, before) == ["movie.nfo"] * 5 + ["tvshow.nfo"] * 3, "nothing but the ranks"
        # A new one in the middle, and one that overtakes others.
        before = place.files()
        publish([1, 8, 6, 5, 2, 4, 7], [2, 1, 3, 5, 4])
        changed = rewritten(place, before)
        assert changed.count("movie.nfo") == 5 and changed.count("tvshow.nfo") == 3
        assert len(changed) == 5 + 3 + 2, "and the dates of two episodes of the one that overtook another"
        # All at once, and restored from what the database knows.
        publish([12, 11, 10, 9, 8, 7, 6], [5, 4, 3, 2, 1])
        before = place.files()
        place.state.advance(180)
        place.publish_now()
        assert place.files() == before


WATCHING = "Shows You Watch - anna"
TOP_FILMS, TOP_SERIES = "Top Picks - Movies", "Top Picks - Series"


class Evening:
    """Anna in front of her television, with all kinds of lists on her media server."""

    def __init__(self, place: Publishing) -> None:
        self.place, self.home = place, HomeScreen(place, "anna")

    def prepare(self) -> None:
        """Publish each kind of list: what she watches is on *Shows You Watch*."""
        for number in (1, 2):
            self.play(self.original("series:905", number), 1.0, hours_ago=48 - number)
        self.place.home.must("sync_watch_history", users=self.place.home.everyone())
        self.place.home.must("sync_watching_libraries", users=self.place.home.everyone())
        self.picks("movie", "Film 6", "Film 7", "Film 8")
        self.picks("series", "Series 3", "Series 4")
        self.publish([3, 1, 5, 2], [1, 2])

    def picks(self, media_type: Any, *titles: str) -> None:
        rows = self.place.home.rows("SELECT title, work_id, item_id FROM present_titles")
        known, day = {row["title"]: row for row in rows}, datetime.now(UTC).date()
        with self.place.home.database.transaction() as connection:
            replace_top_picks(connection, day, media_type, _of_type(day, [known[one] for one in titles], media_type))

    def publish(self, films: list[int], shows: list[int]) -> None:
        self.place.state.advance(180)
        self.place.recommend("anna", *(f"Film {number}" for number in films))
        self.place.recommend("anna", *(f"Series {number}" for number in shows), media_type="series")
        with self.place.publication() as publication:
            published = publication.publish(KINDS)
        assert [one.error for one in published.outcomes if one.error is not None] == []

    def original(self, key: str, episode: int | None = None) -> Any:
        (item,) = self.place.state.catalogue.top_items(key)
        return item if episode is None else item.numbered(1).episodes[episode - 1]

    def copy(self, library: str, title: str, episode: int | None = None) -> Any:
        items = self.place.items(library, "Movie" if episode is None else "Series")
        item = self.place.state.catalogue.find(items[title].server_item_id)
        if episode is None:
            return item
        return next(one for one in item.numbered(1).episodes if one.episode == episode)

    def play(self, item: Any, completion: float, *, hours_ago: float = 0.0) -> None:
        self.place.state.play_item("anna", item.id, completion, datetime.now(UTC) - timedelta(hours=hours_ago))

    def look(self) -> None:
        """Read what is new, as a run does that the sensor starts within a minute after a play."""
        self.place.home.must("sync_watch_history", users=self.place.home.everyone())

    def sees(self, *, continues: list[str], next_up: list[str]) -> None:
        """Assert what the two rows offer: each title once, and the original."""
        assert self.home.continues() == [(one, False) for one in sorted(continues)]
        assert self.home.next_up() == [(one, False) for one in sorted(next_up)]

    def holds(self, item: Any) -> tuple[bool, int, bool]:
        """Whether an item is marked as played, how many minutes into it she is, and whether it has a date."""
        data = self.home.user.of(item)
        return data.played, data.position // (60 * 10_000_000), data.last_played is not None


def _of_type(day: date, works: list[Any], media_type: str) -> list[dict[str, Any]]:
    return [{**row, "media_type": media_type} for row in pick_rows(day, works)]


NOTHING = (False, 0, False)


@both_versions
def test_after_any_play_each_title_is_once_on_the_home_screen_and_where_a_client_can_go_on(
    household: Any, tmp_path: Path, server: str
):
    titles = [
        *(film(number) for number in range(1, 10)),
        *(series(number, 4, runtime_minutes=50) for number in range(1, 6)),
    ]
    lists = ["top_picks_libraries", "shows_you_watch_libraries"]
    with shelf(household, tmp_path, *titles, server=server, also=lists) as place:
        anna = Evening(place)
        settings = anna.home.user.configuration.get("LatestItemsExcludes", [])
        anna.prepare()
        continues: list[str] = []
        next_up = ["Series 5 S1E3"]
        anna.sees(continues=continues, next_up=next_up)
        assert anna.home.row(ANNAS) == ["Film 3", "Film 1", "Film 5", "Film 2"]
        assert anna.home.row(TOP_FILMS) == ["Film 6", "Film 7", "Film 8"]
        assert anna.home.row(TOP_SERIES) == ["Series 3", "Series 4"]
        assert anna.home.row(WATCHING) == [], "Next Up has what it holds"
        assert place.titles(WATCHING, "Series") == ["Series 5"]

        # Half a film: on a copy of her picks, and of Top Picks.
        half, half_pick = anna.copy(ANNAS, "Film 3"), anna.copy(TOP_FILMS, "Film 6")
        anna.play(half, 0.5)
        anna.play(half_pick, 0.4)
        anna.look()
        continues += ["Film 3", "Film 6"]
        anna.sees(continues=continues, next_up=next_up)
        assert [anna.holds(one) for one in (half, half_pick)] == [NOTHING] * 2
        assert anna.holds(anna.original("movie:3")) == (False, 50, True)

        # A whole film on either.
        whole, whole_pick = anna.copy(ANNAS, "Film 1"), anna.copy(TOP_FILMS, "Film 7")
        anna.play(whole, 1.0)
        anna.play(whole_pick, 1.0)
        anna.look()
        anna.sees(continues=continues, next_up=next_up)
        assert anna.holds(anna.original("movie:1"))[0] and anna.holds(anna.original("movie:7"))[0]
        assert anna.holds(whole) == NOTHING
        assert anna.holds(whole_pick) == (True, 0, True), "everybody sees Top Picks, with a tick if they were seen"
        assert anna.home.row(TOP_FILMS) == ["Film 6", "Film 8"]

        # Half an episode, then all of it, where it is next.
        for completion, more, later in ((0.5, ["Series 5 S1E3"], []), (1.0, [], ["Series 5 S1E4"])):
            anna.play(anna.copy(WATCHING, "Series 5", 3), completion)
            anna.look()
            next_up = later
            anna.sees(continues=continues + more, next_up=next_up)
            assert anna.holds(anna.copy(WATCHING, "Series 5", 3)) == NOTHING

        # Half an episode, and a whole one, in her picks and in Top Picks.
        for library, begun, finished in ((SHOWS, 1, 2), (TOP_SERIES, 3, 4)):
            anna.play(anna.copy(library, f"Series {begun}", 1), 0.5)
            anna.play(anna.copy(library, f"Series {finished}", 1), 1.0)
            anna.look()
            continues.append(f"Series {begun} S1E1")
            next_up.append(f"Series {finished} S1E2")
            anna.sees(continues=continues, next_up=next_up)
            for number in (begun, finished):
                assert anna.holds(anna.copy(library, f"Series {number}", 1)) == NOTHING, "a series has no state there"

        # On the originals.
        anna.play(anna.original("movie:8"), 0.3)
        anna.play(anna.original("movie:6"), 1.0)
        anna.play(anna.original("series:902", 2), 1.0)
        anna.look()
        continues = [*(one for one in continues if one != "Film 6"), "Film 8"]
        next_up = [*(one for one in next_up if "Series 2" not in one), "Series 2 S1E3"]
        anna.sees(continues=continues, next_up=next_up)
        assert anna.holds(half_pick) == (True, 0, True), "the tick follows"
        place.state.mark_unplayed("anna", "movie:6")
        place.home.must("sync_watch_history", users=place.home.everyone(), config=_full())
        assert anna.holds(half_pick) == NOTHING, "and goes with the mark"

        # An episode that was begun by mistake: a minute of it.
        anna.play(anna.copy(TOP_SERIES, "Series 3", 3), 0.02)
        assert ("Series 3 S1E1", True) in anna.home.next_up()
        anna.look()
        anna.sees(continues=continues, next_up=next_up)

        # While a film is being played on its copy, a publication leaves it alone.
        playing = anna.copy(ANNAS, "Film 5")
        place.state.begin_play("anna", playing.id, 0.3)
        anna.look()
        anna.publish([2, 4, 9], [1, 2])
        assert place.titles(ANNAS) == ["Film 2", "Film 4", "Film 9", "Film 5"]
        assert anna.holds(playing) == (False, 30, True) and anna.holds(anna.original("movie:5")) == NOTHING
        assert anna.home.continues() == sorted([*((one, False) for one in continues), ("Film 5", True)])
        place.state.end_play("anna", 0.6)
        anna.look()
        continues.append("Film 5")
        anna.sees(continues=continues, next_up=next_up)
        assert anna.holds(anna.original("movie:5"))[1] == 60
        anna.publish([2, 4, 3, 9], [1, 2])
        assert place.titles(ANNAS) == ["Film 2", "Film 4", "Film 9"], "what is in progress is in Continue Watching"
        assert anna.home.row(ANNAS) == ["Film 2", "Film 4", "Film 9"]
        anna.sees(continues=continues, next_up=next_up)

        with place.publication() as publication:
            publication.unpublish()
        assert anna.home.user.configuration.get("LatestItemsExcludes", []) == settings
        anna.sees(continues=continues, next_up=next_up)


def _full() -> dict[str, Any]:
    return {"watch_history": {"full": True}}


@pytest.mark.nightly(
    reason="A household with published lists of its own.",
    instead="e2e/test_one_watch_state.py"
    "::test_what_is_watched_on_a_copy_is_on_the_original_alone_and_nothing_is_lost_when_copies_leave",
)
@both_versions
def test_a_play_on_a_copy_is_on_the_original_after_one_look_of_the_sensor_and_its_run(
    household: Any, tmp_path: Path, server: str
):
    """With lists that the product made: what was begun has left them, and is where she can go on."""
    titles = [*(film(number) for number in range(1, 10)), *(series(number, 4) for number in range(1, 4))]
    with shelf(household, tmp_path, *titles, server=server) as place:
        anna, home, clock = Evening(place), place.home, SetClock(datetime.now(UTC))
        anna.play(anna.original("movie:9"), 1.0, hours_ago=48)
        home.must("sync_watch_history", users=home.everyone())
        home.must("generate_embeddings")
        home.must("generate_recommendations", users=home.everyone())
        home.must("sync_libraries", users=home.everyone())
        sensor, cursor = home.definitions.resolve_sensor_def("plays_sensor"), None

        def a_look() -> Any:
            nonlocal cursor
            clock.moment += timedelta(minutes=1)
            data = look(sensor, home.instance, home.definitions, cursor, database=home.database, clock=clock)
            cursor = data.cursor
            return data

        a_look()
        first, *_ = anna.home.row(ANNAS)
        show, *_ = anna.home.row(SHOWS)
        anna.play(anna.copy(ANNAS, first), 0.5)
        anna.play(anna.copy(SHOWS, show, 1), 1.0)
        place.state.advance(180)
        (asked,) = a_look().run_requests
        assets = [key.to_user_string() for key in asked.asset_selection]
        home.must("follow_plays", users=[asked.tags[RANGE_START_TAG], asked.tags[RANGE_END_TAG]], assets=assets)
        anna.sees(continues=[first], next_up=[f"{show} S1E2"])
        assert first not in place.titles(ANNAS) and show not in anna.home.row(SHOWS)
        assert anna.home.row(ANNAS) == place.titles(ANNAS), "and the row is in the order of the list"
