"""Lists follow plays: one look at everybody, and a run for those alone who watched something."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from aperture_dagster.catalogue.server_trouble import note_trouble, read_trouble
from aperture_dagster.discovery.suggestions import dismiss_title, undo_dismissal
from aperture_dagster.http.errors import ServiceUnavailable
from aperture_dagster.members.choices import Choices, write_choices
from aperture_dagster.members.more_like_this import want_more, want_no_more
from aperture_dagster.partitions import RANGE_END_TAG, RANGE_START_TAG
from aperture_dagster.ratings.outbox import rate_here
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster.simulator.world import Play
from aperture_dagster_tests.clients import Client
from aperture_dagster_tests.e2e.worlds import small_world
from aperture_dagster_tests.household import Household, SetClock, metadata_of
from aperture_dagster_tests.sensors.runs import add_run, look

pytestmark = pytest.mark.e2e

ADA, BELA = "ada0", "bela1"
LISTS = ("watch_history", "shows_you_watch", "taste_profiles", "recommendations")
LOG = "/System/ActivityLog/Entries"
WORLD = small_world()
YEAR = timedelta(days=365)
NOBODY = "Nobody has watched or marked anything."
NOTHING_SAID = "Nobody has said anything new."


class Viewers:
    """A household whose lists are there, and a sensor that looks who has watched or said something."""

    def __init__(self, simulator: RunningSimulator, home: Household, clock: SetClock) -> None:
        self.simulator, self.state, self.home, self.clock = simulator, simulator.state, home, clock
        self.cursor: str | None = None
        self.sensor = home.definitions.resolve_sensor_def("plays_sensor")

    def listen(self) -> None:
        """Look from now on at what is said on the pages, instead of what is watched."""
        self.sensor, self.cursor = self.home.definitions.resolve_sensor_def("members_sensor"), None

    def watch(self, user: str, film: int = 0, *, ago: timedelta = timedelta(0)) -> str:
        """A user finishes a film from the top of their list; returns its title."""
        title = self.home.titles_for(user)[film]
        (key,) = (one.key for one in WORLD.titles if one.title == title)
        self.state.play(Play(user, key, datetime.now(UTC) - ago))
        return title

    def look(self) -> Any:
        """One look of the sensor, a minute later."""
        self.clock.moment += timedelta(minutes=1)
        parts = {"database": self.home.database, "clock": self.clock}
        data = look(self.sensor, self.home.instance, self.home.definitions, self.cursor, **parts)
        self.cursor = data.cursor or self.cursor
        return data

    def trouble(self) -> str | None:
        """Why the media server cannot be used, as it was noted last."""
        with self.home.database.transaction() as connection:
            found = read_trouble(connection)
        return found and found.kind

    def unmarked(self, user: str) -> list[str]:
        """Three films, by their ids on the server, that a user has not marked."""
        owner = self.state.user_named(user)
        films = [one for one in self.state.catalogue.items("Movie") if one.present]
        return [one.id for one in films if not owner.of(one).favorite and owner.of(one).rating is None][:3]

    def mark(self, user: str, item_id: str) -> None:
        """Mark a film as a user's favourite, as another program does with its own key."""
        film = next(one for one in self.state.catalogue.items("Movie") if one.id == item_id)
        self.state.user_named(user).edit(film).favorite = True

    def cost(self) -> int:
        """How many requests a look takes."""
        before = self.state.counters.total("jellyfin")
        self.look()
        return self.state.counters.total("jellyfin") - before

    def asked_for(self) -> list[tuple[str, str]]:
        """The first and the last user of each run that one look starts."""
        return [
            (request.tags[RANGE_START_TAG], request.tags[RANGE_END_TAG]) for request in self.look().run_requests or ()
        ]


@pytest.fixture
def viewers(settled: Callable[..., Any], request: pytest.FixtureRequest) -> Iterator[Viewers]:
    """The settings are the parameter."""
    clock = SetClock(datetime.now(UTC))
    with settled(**getattr(request, "param", {})) as (simulator, home, _):
        yield Viewers(simulator, home, clock)


def test_a_list_follows_a_play_of_its_user_and_nobody_elses_history_is_read(viewers: Viewers):
    assert viewers.look().skip_message == NOBODY
    title, before = viewers.watch(ADA), viewers.home.titles_for(BELA)
    (asked,) = viewers.look().run_requests
    assert (asked.tags[RANGE_START_TAG], asked.tags[RANGE_END_TAG]) == (ADA, ADA)
    assets = [key.to_user_string() for key in asked.asset_selection]
    assert set(assets) == set(LISTS), "nothing is published here"
    run = viewers.home.must("follow_plays", users=[ADA], assets=assets)
    assert metadata_of(run, "watch_history", ADA)["plays_logged"] == 1
    # Dagster shows a check as not evaluated after a run that made its asset without it.
    checked = {(one.asset_key.to_user_string(), one.check_name) for one in run.get_asset_check_evaluations()}
    graph = viewers.home.definitions.resolve_asset_graph()
    of_lists = {key for asset in LISTS for key in graph.get_check_keys_for_assets({dg.AssetKey(asset)})}
    assert checked == {(key.asset_key.to_user_string(), key.name) for key in of_lists} != set()
    assert title not in viewers.home.titles_for(ADA)
    assert viewers.home.titles_for(BELA) == before
    assert viewers.look().skip_message == NOBODY, "the play has been told"


QUIET_NOW = f"{datetime.now(UTC) - timedelta(hours=6):%H:%M}-{datetime.now(UTC) + timedelta(hours=6):%H:%M}"
NOT_WRITTEN = {"publish": True, "timezone": "UTC", "quiet_hours": QUIET_NOW}


@pytest.mark.parametrize("viewers", [NOT_WRITTEN], indirect=True)
def test_in_quiet_hours_a_list_follows_a_play_and_is_published_afterwards(viewers: Viewers):
    viewers.look()
    published = {"recommendation_libraries", "shows_you_watch_libraries", "for_later_playlists"}
    for assets in (set(LISTS), {*LISTS, *published}):
        viewers.watch(ADA)
        (asked,) = viewers.look().run_requests
        assert {key.to_user_string() for key in asked.asset_selection} == assets
        viewers.clock.moment += timedelta(hours=12)


@pytest.mark.parametrize("viewers", [{"media_server_type": "jellyfin"}], indirect=True)
def test_a_look_is_one_request_and_loses_no_play_to_a_failure_or_a_run_that_reads_histories(viewers: Viewers):
    viewers.look()
    before = viewers.state.counters.total("jellyfin")
    viewers.look()
    assert viewers.state.counters.total("jellyfin") == before + 1, "for everybody"
    viewers.watch(BELA)
    for status, trouble in ((500, None), (401, "key"), (503, "silence")):
        viewers.state.add_fault(FaultRule("jellyfin", LOG, status=status, times=1))
        assert "Could not look" in viewers.look().skip_message
        assert viewers.trouble() == trouble, "members and the operator read it"
    assert viewers.asked_for() == [(BELA, BELA)] and viewers.trouble() is None
    assert viewers.asked_for() == []
    tags = {RANGE_START_TAG: ADA, RANGE_END_TAG: BELA}
    publishing = add_run(viewers.home.instance, "sync_watching_libraries", "STARTED", **tags)
    viewers.watch(BELA)
    assert viewers.asked_for() == [(BELA, BELA)], "a run that reads no history and makes no list is not waited for"
    viewers.home.instance.report_run_failed(publishing)
    run = add_run(viewers.home.instance, "sync_watch_history", "STARTED", **tags)
    viewers.watch(ADA)
    assert "reading histories" in viewers.look().skip_message
    viewers.home.instance.report_run_failed(run)
    assert viewers.asked_for() == [(ADA, ADA)]
    # Before the first list there is nothing to follow.
    viewers.home.instance.wipe_assets([dg.AssetKey("recommendations")])
    before = viewers.state.counters.total("jellyfin")
    assert "Nobody has a list" in viewers.look().skip_message
    assert viewers.state.counters.total("jellyfin") == before


ON_JELLYFIN = pytest.mark.parametrize("viewers", [{"media_server_type": "jellyfin"}], indirect=True)


@ON_JELLYFIN
def test_marks_are_looked_for_while_somebody_is_about_and_cost_nothing_else(viewers: Viewers):
    one, other, before = viewers.unmarked(ADA)
    viewers.look()
    viewers.mark(ADA, before)
    assert viewers.cost() == 1, "nobody is about"
    ada = Client(viewers.simulator, ADA)
    assert viewers.cost() == 4, "the log, the devices, and two counts for her alone"
    assert viewers.asked_for() == [], "what she marked long ago is no news"
    # No two of them are taken for the same, although nothing else tells them apart.
    keys: set[str | None] = set()
    for say in (
        lambda: ada.like(one),
        lambda: ada.like(one, None),
        lambda: ada.like(one),
        lambda: ada.favorite(one),
        lambda: ada.favorite(one, False),
        lambda: ada.favorite(one),
        lambda: ada.favorite(other),
    ):
        say()
        viewers.state.advance(200)
        kept = viewers.cursor
        (asked,) = viewers.look().run_requests
        assert (asked.tags[RANGE_START_TAG], asked.tags[RANGE_END_TAG]) == (ADA, ADA)
        viewers.cursor = kept
        viewers.clock.moment -= timedelta(minutes=1)
        assert viewers.look().run_requests[0].run_key == asked.run_key, "the same after a crash"
        keys.add(asked.run_key)
        assert viewers.asked_for() == []
    assert len(keys) == 7
    # A server dates a request up to three minutes before the mark that came with a later one.
    assert [viewers.cost() for _ in range(4)] == [4, 4, 4, 2]
    for _ in range(15):
        viewers.look()
    assert viewers.cost() == 1, "she has left"
    ada.favorite(one, False)
    assert viewers.asked_for() == [], "the log does not tell that she goes on"
    Client(viewers.simulator, BELA)
    assert viewers.asked_for() == [(ADA, ADA)], "the next who comes has everybody looked at"


@ON_JELLYFIN
def test_a_look_for_marks_that_fails_delays_no_play_and_is_made_up_for(viewers: Viewers):
    viewers.look()
    ada = Client(viewers.simulator, ADA)
    viewers.look()
    one, other, _ = viewers.unmarked(ADA)
    ada.favorite(one)
    viewers.state.add_fault(FaultRule("jellyfin", "filters=IsFavorite", status=500))
    assert "Could not look who marked something" in viewers.look().skip_message
    viewers.watch(BELA)
    assert viewers.asked_for() == [(BELA, BELA)]
    viewers.state.clear_faults()
    assert viewers.asked_for() == [(ADA, ADA)]
    # By a clock that was ahead, somebody would be about for a year.
    viewers.clock.moment += YEAR
    ada.favorite(other)
    viewers.state.advance(200)
    viewers.watch(BELA)
    viewers.look()
    viewers.clock.moment -= YEAR
    for _ in range(20):
        viewers.look()
    assert viewers.cost() == 1


@pytest.mark.parametrize("whose", ["ours", "the server's"])
def test_a_clock_that_was_wrong_repeats_no_play_and_loses_none(viewers: Viewers, whose: str):
    viewers.watch(ADA)
    assert viewers.asked_for() == [(ADA, ADA)]
    if whose == "ours":
        viewers.clock.moment += YEAR
        viewers.watch(BELA)
    else:
        viewers.watch(BELA, ago=-YEAR)
    asked = viewers.asked_for()
    viewers.clock.moment = datetime.now(UTC) + timedelta(minutes=5)
    asked += viewers.asked_for()
    assert asked == [(BELA, BELA)]
    viewers.watch(ADA, 1)
    assert viewers.asked_for() == [(ADA, ADA)]
    assert viewers.asked_for() == []


def test_without_a_log_the_end_of_activity_is_followed(viewers: Viewers):
    viewers.state.add_fault(FaultRule("jellyfin", LOG, status=404))
    assert viewers.asked_for() == []
    for film in range(2):
        viewers.watch(ADA, film)
        assert viewers.asked_for() == [], "it goes on"
    assert viewers.asked_for() == [(ADA, ADA)]
    assert viewers.asked_for() == []


def test_a_history_is_recorded_as_soon_as_it_has_been_read(viewers: Viewers):
    """A list follows when its user's history has been read, not everybody's."""
    home = viewers.home
    bela = home.value("SELECT user_id FROM users WHERE name = :name", name=BELA)
    viewers.state.add_fault(FaultRule("jellyfin", f"userId={bela}", status=400))
    run = home.run("sync_watch_history", users=[ADA, BELA])
    assert not run.success
    read = failed = None
    for number, entry in enumerate(home.instance.all_logs(run.run_id)):
        event = entry.dagster_event
        if event is not None and event.is_step_materialization and event.partition == ADA:
            read = number
        elif failed is None and entry.level == logging.ERROR and BELA in entry.user_message:
            failed = number
    assert read is not None and failed is not None and read < failed


def test_a_list_follows_what_its_member_says_once_they_have_paused(viewers: Viewers):
    home = viewers.home
    viewers.listen()
    viewers.look()
    first, second, third = home.titles_for(ADA)[:3]
    bela = home.titles_for(BELA)
    user = home.value("SELECT user_id FROM users WHERE name = :name", name=ADA)
    works = {
        title: home.value("SELECT min(work_id) FROM titles WHERE title = :title", title=title)
        for title in (first, second, third)
    }

    def say(what: Callable[..., Any], *given: Any, **more: Any) -> None:
        with home.database.transaction() as connection:
            what(connection, user, *given, **more)

    for title in (first, second):
        say(dismiss_title, works[title], title, now=viewers.clock.moment)
        assert viewers.look().skip_message == NOTHING_SAID, "they may go on"
    kept = viewers.cursor
    (asked,) = viewers.look().run_requests
    assert (asked.tags[RANGE_START_TAG], asked.tags[RANGE_END_TAG]) == (ADA, ADA)
    viewers.cursor = kept
    assert viewers.look().run_requests[0].run_key == asked.run_key, "the same after a crash"
    assert viewers.look().skip_message == NOTHING_SAID
    home.must("follow_plays", users=[ADA], assets=list(LISTS))
    assert not {first, second} & set(home.titles_for(ADA)) and home.titles_for(BELA) == bela
    keys = {asked.run_key}
    for say_it in (
        lambda: say(undo_dismissal, works[first]),
        lambda: say(dismiss_title, works[first], first, now=viewers.clock.moment),
        lambda: say(undo_dismissal, works[first]),
        lambda: say(write_choices, Choices(excluded_genres=("Drama",))),
        lambda: say(write_choices, Choices()),
        lambda: say(want_more, works[third], third, now=viewers.clock.moment),
        lambda: say(want_no_more, works[third]),
        lambda: say(rate_here, works[third], 9, now=viewers.clock.moment),
    ):
        say_it()
        assert viewers.asked_for() == []
        (asked,) = viewers.look().run_requests
        keys.add(asked.run_key)
    assert len(keys) == 9, "each is followed, also what was said and taken back before"
    home.must("follow_plays", users=[ADA], assets=list(LISTS))
    assert first in home.titles_for(ADA) and third not in home.titles_for(ADA), "what was rated was seen elsewhere"


def test_what_was_said_while_the_media_server_is_down_is_followed_afterwards(viewers: Viewers):
    home = viewers.home
    viewers.listen()
    viewers.look()
    user = home.value("SELECT user_id FROM users WHERE name = :name", name=ADA)
    work = home.value("SELECT min(work_id) FROM titles")
    with home.database.transaction() as connection:
        want_more(connection, user, work, "A film", now=viewers.clock.moment)
        note_trouble(connection, ServiceUnavailable("The media server does not answer."))
    for _ in range(3):
        assert "does not answer" in viewers.look().skip_message
    with home.database.transaction() as connection:
        note_trouble(connection, None)
    assert viewers.asked_for() == []
    assert viewers.asked_for() == [(ADA, ADA)]


def test_whoever_waits_for_a_run_is_not_forgotten_when_nothing_more_is_said(viewers: Viewers):
    home = viewers.home
    viewers.listen()
    viewers.look()
    user = home.value("SELECT user_id FROM users WHERE name = :name", name=ADA)
    work = home.value("SELECT min(work_id) FROM titles")
    tags = {RANGE_START_TAG: ADA, RANGE_END_TAG: BELA}
    run = add_run(home.instance, "sync_watch_history", "STARTED", **tags)
    with home.database.transaction() as connection:
        want_more(connection, user, work, "A film", now=viewers.clock.moment)
    assert viewers.look().skip_message == NOTHING_SAID, "they may go on"
    for _ in range(2):
        assert "reading histories" in viewers.look().skip_message
    home.instance.report_run_failed(run)
    assert viewers.asked_for() == [(ADA, ADA)]
