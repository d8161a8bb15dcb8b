"""Wrong clocks, odd dates and time zones: no play is lost, logged twice or hides later ones."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aperture_dagster.simulator.world import Play
from aperture_dagster.simulator.worlds import WorldSize, generate_world
from aperture_dagster_tests.e2e.reading import read_server
from aperture_dagster_tests.household import Household, SetClock, metadata_of

pytestmark = pytest.mark.e2e


HOUR = timedelta(hours=1)
USER = "ada0"
LOG = (
    "SELECT t.title, p.played_at, p.play_count, p.completion FROM plays p JOIN users u USING (user_id) "
    "JOIN titles t USING (item_id) WHERE u.name = 'ada0' ORDER BY p.played_at, t.title"
)
MARK = "SELECT watermark FROM history_syncs JOIN users USING (user_id) WHERE name = 'ada0'"


class History:
    """One user's history on a server, read by real runs at any time."""

    def __init__(self, simulator: Any, home: Household, clock: SetClock, films: dict[str, str]) -> None:
        self.simulator, self.home, self.clock = simulator, home, clock
        self.films = iter(films.items())
        self.expected: Counter[str] = Counter()

    def new_film(self) -> str:
        """Return the title of a film that nobody has watched."""
        self.title, self.key = next(self.films)
        return self.title

    def play(self, at: datetime, completion: float = 1.0) -> None:
        """Play the film that ``new_film`` returned last."""
        self.simulator.state.play(Play(USER, self.key, at, completion=completion))
        self.expected[self.title] += completion == 1

    def read(self, at: datetime) -> dict[str, Any]:
        """Read the history at a time by our clock, and check that every play is logged once and not later than now.

        Returns the metadata of the run.
        """
        self.clock.moment = at
        metadata = metadata_of(self.home.must("sync_watch_history", partition=USER), "watch_history", USER)
        assert self.counted() == +self.expected
        watermark = self.home.value(MARK)
        assert watermark is None or watermark <= at
        return metadata

    def counted(self) -> Counter[str]:
        counted: Counter[str] = Counter()
        for row in self.log():
            counted[row["title"]] += row["play_count"]
        return +counted

    def log(self, title: str | None = None) -> list[dict[str, Any]]:
        return [row for row in self.home.rows(LOG) if title in (None, row["title"])]


@pytest.fixture
def history(household: Any) -> Any:
    """A history on the server of the test, read once; it ends an hour before ``clock.moment``."""
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3)
    world = generate_world(WorldSize(movies=16, series=1, episodes=6, users=1, plays=10), seed=2, now=start - HOUR)
    seen = {play.title_key for play in world.plays}
    films = {title.title: title.key for title in world.titles if title.media_type == "movie" and title.key not in seen}
    clock = SetClock(start)
    # Small pages, so that an incremental read does not see everything by chance.
    overrides = {"server": "emby", "page_size": 2}
    with household(world, {"clock": clock}, **overrides) as (simulator, home):
        # Existing history: the last play of each film, and episodes, which ``LOG`` does not select.
        read_server(home, histories=True)
        one = History(simulator, home, clock, films)
        one.expected = one.counted()
        yield one


def test_plays_dated_in_the_future_are_logged_when_first_read_and_hide_nothing(history: History):
    start = history.clock.moment
    title = history.new_film()
    history.play(datetime(2099, 1, 1, tzinfo=UTC))
    assert history.read(start + HOUR)["compared_in_full"] is False
    assert [row["played_at"] for row in history.log(title)] == [start + HOUR]
    # Watched again, while the server keeps the date in 2099.
    history.play(start + 1.5 * HOUR)
    history.read(start + 2 * HOUR)
    assert [row["played_at"] for row in history.log(title)] == [start + HOUR, start + 2 * HOUR]
    # The server's clock is five hours ahead; the play is not logged again when its date has come.
    ahead = history.new_film()
    history.play(start + 7 * HOUR)
    history.read(start + 3 * HOUR)
    history.read(start + 8 * HOUR)
    assert [row["played_at"] for row in history.log(ahead)] == [start + 3 * HOUR]
    # Later plays are found by the incremental read, with the server's date.
    after = history.new_film()
    history.play(start + 9 * HOUR)
    assert history.read(start + 10 * HOUR)["compared_in_full"] is False
    assert [row["played_at"] for row in history.log(after)] == [start + 9 * HOUR]
    assert history.read(start + 26 * HOUR)["compared_in_full"] is True
    assert history.read(start + 27 * HOUR)["rows_written"] == 0


def test_setting_the_clock_back_loses_no_play_and_does_not_delay_the_full_comparison(history: History):
    start = history.clock.moment
    # Our clock was a day ahead for one read, and so was the date of one play.
    history.new_film()
    history.play(start + 20 * HOUR)
    assert history.read(start + 23 * HOUR)["compared_in_full"] is False
    assert history.home.value(MARK) == start + 20 * HOUR
    # After correction, plays before the watermark are found at once.
    history.new_film()
    history.play(start - timedelta(days=40))
    history.new_film()
    history.play(start + 2 * HOUR)
    assert history.read(start + 3 * HOUR)["compared_in_full"] is True
    # Set back by an hour by hand.
    history.new_film()
    history.play(start + 3 * HOUR)
    history.read(start + 2.5 * HOUR)
    assert history.read(start + 4 * HOUR)["rows_written"] == 0
    # Before the last full comparison: its date cannot be trusted, so another one is made now.
    assert history.read(start - 5 * HOUR)["compared_in_full"] is True
    assert history.read(start - 4 * HOUR)["compared_in_full"] is False
    assert history.read(start + 20 * HOUR)["compared_in_full"] is True
