"""Wrong clocks, odd dates and other time zones: no play is lost, none is logged twice, and nothing later is hidden."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from aperture_dagster.simulator.generated_world import generate_world
from aperture_dagster.simulator.world import Play
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
        """The title of a film that nobody has seen."""
        self.title, self.key = next(self.films)
        return self.title

    def play(self, at: datetime, completion: float = 1.0) -> None:
        """Play the film that was named last."""
        self.simulator.state.play(Play(USER, self.key, at, completion=completion))
        self.expected[self.title] += completion == 1

    def look(self, at: datetime) -> dict[str, Any]:
        """Read the history at a time by our clock: every play is in the log once, and no line is later than the look.

        Returns what the run said.
        """
        self.clock.moment = at
        told = metadata_of(self.home.must("sync_watch_history", partition=USER), "watch_history", USER)
        assert self.counted() == +self.expected
        watermark = self.home.value(MARK)
        assert watermark is None or watermark <= at
        return told

    def counted(self) -> Counter[str]:
        counted: Counter[str] = Counter()
        for row in self.log():
            counted[row["title"]] += row["play_count"]
        return +counted

    def log(self, title: str | None = None) -> list[dict[str, Any]]:
        return [row for row in self.home.rows(LOG) if title in (None, row["title"])]


@pytest.fixture
def history(household: Any, request: pytest.FixtureRequest) -> Any:
    """A history on the server that the test is run for, read once; it ends an hour before ``clock.moment``."""
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3)
    world = generate_world(movies=16, series=1, episodes=6, users=1, plays=10, seed=2, now=start - HOUR)
    seen = {play.title_key for play in world.plays}
    films = {title.title: title.key for title in world.titles if title.media_type == "movie" and title.key not in seen}
    clock = SetClock(start)
    # Small pages, so that a quick look does not see everything by chance.
    overrides = {"server": request.param, "media_server_page_size": 2}
    with household(world, {"clock": clock}, **overrides) as (simulator, home):
        for job in ("sync_users", "sync_movies", "sync_series"):
            home.must(job)
        one = History(simulator, home, clock, films)
        # What was there before: its last play each, and episodes that this log does not show.
        home.must("sync_watch_history", partition=USER)
        one.expected = one.counted()
        yield one


both_servers = pytest.mark.parametrize("history", ["jellyfin", "emby"], indirect=True)


@both_servers
def test_plays_dated_in_the_future_are_logged_when_they_are_seen_and_hide_nothing(history: History):
    start = history.clock.moment
    title = history.new_film()
    history.play(datetime(2099, 1, 1, tzinfo=UTC))
    assert history.look(start + HOUR)["compared_in_full"] is False
    assert [row["played_at"] for row in history.log(title)] == [start + HOUR]
    # Watched again, and the server stays with its 2099.
    history.play(start + 1.5 * HOUR)
    history.look(start + 2 * HOUR)
    assert [row["played_at"] for row in history.log(title)] == [start + HOUR, start + 2 * HOUR]
    # The server's clock is five hours ahead: what is dated later than now is over when the time has come.
    ahead = history.new_film()
    history.play(start + 7 * HOUR)
    history.look(start + 3 * HOUR)
    history.look(start + 8 * HOUR)
    assert [row["played_at"] for row in history.log(ahead)] == [start + 3 * HOUR]
    # And what comes after is seen by the quick look, dated as the server says.
    after = history.new_film()
    history.play(start + 9 * HOUR)
    assert history.look(start + 10 * HOUR)["compared_in_full"] is False
    assert [row["played_at"] for row in history.log(after)] == [start + 9 * HOUR]
    assert history.look(start + 26 * HOUR)["compared_in_full"] is True
    assert history.look(start + 27 * HOUR)["rows_written"] == 0


@both_servers
def test_a_clock_that_is_set_back_loses_no_play_and_the_full_comparison_still_comes(history: History):
    start = history.clock.moment
    # Ours was a day ahead for one look, and a play of the server's was, too.
    history.new_film()
    history.play(start + 20 * HOUR)
    assert history.look(start + 23 * HOUR)["compared_in_full"] is False
    assert history.home.value(MARK) == start + 20 * HOUR
    # Set right: what lies before the mark is found all the same, at once.
    history.new_film()
    history.play(start - timedelta(days=40))
    history.new_film()
    history.play(start + 2 * HOUR)
    assert history.look(start + 3 * HOUR)["compared_in_full"] is True
    # An hour back, as by a person, where servers keep UTC in summer and winter alike.
    history.new_film()
    history.play(start + 3 * HOUR)
    history.look(start + 2.5 * HOUR)
    assert history.look(start + 4 * HOUR)["rows_written"] == 0
    # Before the last comparison in full: nobody knows when that was, so it is made now.
    assert history.look(start - 5 * HOUR)["compared_in_full"] is True
    assert history.look(start - 4 * HOUR)["compared_in_full"] is False
    assert history.look(start + 20 * HOUR)["compared_in_full"] is True


@both_servers
def test_a_server_whose_clock_is_behind_and_what_happened_long_ago_are_read(history: History):
    start = history.clock.moment
    history.new_film()
    history.play(start - 5 * HOUR)
    history.look(start + HOUR)
    # To the second where the last look ended.
    history.new_film()
    history.play(history.home.value(MARK))
    history.look(start + 2 * HOUR)
    # The server's clock is set back while somebody is in the middle of a film.
    title = history.new_film()
    history.play(start + 2.5 * HOUR, completion=0.5)
    history.look(start + 3 * HOUR)
    history.play(start + 1.75 * HOUR)
    history.look(start + 4 * HOUR)
    assert [(row["play_count"], row["completion"]) for row in history.log(title)] == [(1, 1.0)]
    # Older than everything, brought in from elsewhere: Emby says what was saved, Jellyfin in the full look at last.
    old = history.new_film()
    history.play(datetime(1994, 5, 1, tzinfo=UTC))
    if history.simulator.state.requests("jellyfin"):
        history.expected[old] -= 1
    history.look(start + 5 * HOUR)
    history.expected[old] = 1
    assert history.look(start + 25 * HOUR)["compared_in_full"] is True
    assert [row["played_at"] for row in history.log(old)] == [datetime(1994, 5, 1, tzinfo=UTC)]
    assert history.look(start + 26 * HOUR)["rows_written"] == 0


def test_a_day_of_top_picks_ends_at_the_operators_midnight_and_counts_a_play_of_the_future_when_it_was_seen(household):
    new_york = ZoneInfo("America/New_York")
    world = generate_world(movies=7, series=0, episodes=0, users=1, plays=0, seed=3, now=datetime.now(UTC))
    today = datetime.now(new_york).date()
    clock = SetClock(datetime.combine(today - timedelta(days=2), time(12), new_york))
    titles = [title.title for title in world.titles]
    # Both days on which New York changed its clocks in 2024: one has 23 hours, the other 25.
    moments = [
        (2024, 3, 10, 0, 30), (2024, 3, 10, 23, 30), (2024, 3, 11, 0, 30),
        (2024, 11, 3, 0, 30), (2024, 11, 3, 23, 30), (2024, 11, 4, 0, 30), (2099, 1, 1, 0, 0),
    ]  # fmt: skip
    spring_night, spring, after_spring, autumn_night, autumn, after_autumn, future = titles
    with household(world, {"clock": clock}, timezone="America/New_York") as (simulator, home):
        for title, moment in zip(world.titles, moments, strict=True):
            simulator.state.play(Play(USER, title.key, datetime(*moment, tzinfo=new_york)))
        for job in ("sync_users", "sync_movies"):
            home.must(job)
        home.must("sync_watch_history", partition=USER)

        def picks(day: date) -> set[str]:
            home.must("refresh_top_picks", partition=day.isoformat())
            rows = home.rows("SELECT title FROM top_picks JOIN titles USING (item_id) WHERE day = :day", day=day)
            return {row["title"] for row in rows}

        assert picks(date(2024, 3, 10)) == set()
        assert picks(date(2024, 3, 11)) == {spring_night, spring}
        assert picks(date(2024, 3, 12)) == {spring_night, spring, after_spring}
        assert picks(date(2024, 11, 4)) == {autumn_night, autumn}
        assert picks(date(2024, 11, 5)) == {autumn_night, autumn, after_autumn}
        assert future not in picks(today - timedelta(days=2))
        assert picks(today - timedelta(days=1)) == {future}
