"""What one look at a history misses, the next one finds; frequent jobs look before they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import dagster as dg
import pytest

from aperture_dagster.build import all_jobs
from aperture_dagster.catalogue.history import progress, reader
from aperture_dagster.media_server.records import in_batches
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.world import Play, World, WorldUser
from aperture_dagster_tests.clients import Client
from aperture_dagster_tests.e2e.library import NOON, title, titles
from aperture_dagster_tests.e2e.reading import read_histories, read_server
from aperture_dagster_tests.e2e.worlds import small_world
from aperture_dagster_tests.household import Household, SetClock, failures, metadata_of

pytestmark = pytest.mark.e2e

USER = "Ann"
PAGE = 3
WATCHED = "SELECT title FROM watch_state JOIN titles USING (item_id) WHERE played"


class Viewer:
    """A user whose history is listed three items a page and compared in full every month only."""

    def __init__(self, state: SimulatorState, home: Household, clock: SetClock) -> None:
        self.state, self.home, self.clock = state, home, clock

    def watch(self, *films: int, days: int) -> None:
        """Watch films two days apart, more than a look goes back behind the newest play, from so many days after noon.

        A page whose items are all older than that is the last that a quick look reads.
        """
        for place, film in enumerate(films):
            self.state.play(Play(USER, f"movie:{film}", NOON + timedelta(days=days + 2 * place)))

    def read(self, *, days: int) -> dict[str, Any]:
        """Read the history so many days after noon."""
        self.clock.moment = NOON + timedelta(days=days)
        result = self.home.must("sync_watch_history", users=[USER])
        return metadata_of(result, "watch_history", USER)

    def mark(self) -> datetime:
        """The date up to which the history was read."""
        return self.home.value("SELECT watermark FROM history_syncs")

    def watched(self) -> set[str]:
        return {row["title"] for row in self.home.rows(WATCHED)}


@pytest.fixture
def viewer(household: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Viewer]:
    clock = SetClock(NOON)
    world = World("a home", titles(1, 12), [WorldUser(USER)])
    monkeypatch.setattr(progress, "FULL_SYNC_EVERY", timedelta(days=30))
    with household(world, {"clock": clock}, page_size=PAGE) as (simulator, home):
        read_server(home)
        yield Viewer(simulator.state, home, clock)


def test_a_film_watched_before_the_catalogue_knew_of_it_is_found_by_a_quick_look(viewer: Viewer):
    viewer.watch(1, days=-30)
    viewer.read(days=0)
    viewer.state.add_title(title(99))
    viewer.watch(99, days=1)
    # So much is played meanwhile that a quick look reads no page with the play of the new film, unless it has to.
    for film, days in ((2, 2), (3, 2), (4, 2), (5, 5), (6, 5), (7, 5)):
        viewer.watch(film, days=days)
    assert viewer.read(days=6)["unknown_items"] == 1
    read_server(viewer.home)
    found = viewer.read(days=7)
    assert (found["compared_in_full"], found["unknown_items"], found["plays_logged"]) == (False, 0, 1)
    assert "Film 99" in viewer.watched()
    viewer.watch(8, days=20)
    viewer.read(days=21)
    assert viewer.mark() == NOON + timedelta(days=20)


def test_a_quick_look_that_fails_between_pages_is_made_up_for_by_the_next(viewer: Viewer, monkeypatch):
    viewer.watch(1, days=-30)
    viewer.read(days=0)
    viewer.watch(*range(2, 10), days=1)
    # So few states would all be read before the first is written.
    monkeypatch.setattr(reader, "in_batches", partial(in_batches, size=1))
    viewer.state.add_fault(FaultRule("jellyfin", "userId=", status=500, after=1))
    viewer.clock.moment = NOON + timedelta(days=20)
    assert not viewer.home.run("sync_watch_history", users=[USER]).success
    assert "Film 9" in viewer.watched(), "the newest come first"
    assert "Film 2" not in viewer.watched()
    viewer.state.clear_faults()
    assert viewer.read(days=21)["compared_in_full"] is False
    assert {f"Film {film}" for film in range(1, 10)} <= viewer.watched()


def test_a_history_that_is_suddenly_gone_is_kept_until_the_operator_accepts_it(viewer: Viewer):
    viewer.watch(*range(1, 11), days=-30)
    viewer.read(days=0)
    before = viewer.watched()
    assert len(before) == 10
    owner = viewer.state.user_named(USER)
    for number in range(1, 11):
        (film,) = viewer.state.catalogue.top_items(f"movie:{number}")
        owner.forget(film)

    def compare(**accepted: bool) -> dg.ExecuteInProcessResult:
        config = {"watch_history": {"full": True} | accepted}
        return viewer.home.run("sync_watch_history", users=[USER], config=config)

    said = failures(compare())["watch_history"]
    assert "accept_removals" in said and viewer.watched() == before
    assert compare(accept_removals=True).success and viewer.watched() == set()


# Looks before runs


HISTORY, METADATA = "sync_watch_history", "enrich_metadata"
NOBODY = "Nobody was active since their history was read."
NOTHING = "No title is due at TMDb or OMDb."


def tick(home: Household, job: str, clock: SetClock) -> str | None:
    """Return why the schedule of a job skips, or None when it starts a run."""
    (declared,) = (one for one in all_jobs(home.settings) if one.name == job)
    return declared.why_skip(home.instance, home.settings, clock)


def test_histories_are_read_when_somebody_was_active_and_once_a_day(household: Any):
    clock = SetClock(datetime.now(UTC))
    with household(small_world(), {"clock": clock}) as (simulator, home):
        ada = Client(simulator, "ada0")
        read_server(home, histories=True)
        clock.moment += timedelta(hours=2)
        home.must(HISTORY, users=home.everyone())
        assert tick(home, HISTORY, clock) == NOBODY
        simulator.state.advance(7200)
        ada.favorite(simulator.state.item_ids(small_world().titles[0].key)[0])
        assert tick(home, HISTORY, clock) is None, "a mark makes nobody active, but is a request"
        clock.moment += timedelta(minutes=10)
        read_histories(home)
        assert tick(home, HISTORY, clock) == NOBODY
        simulator.state.play(Play("bela1", small_world().titles[0].key, clock.moment - timedelta(seconds=50)))
        assert tick(home, HISTORY, clock) is None, "the server may note the activity before the play ends"
        clock.moment += timedelta(minutes=10)
        read_histories(home)
        assert tick(home, HISTORY, clock) == NOBODY
        home.rows("DELETE FROM history_syncs WHERE user_id = (SELECT max(user_id) FROM users) RETURNING 1")
        assert tick(home, HISTORY, clock) is None, "one user has not been read yet"
        read_histories(home)
        clock.moment += timedelta(hours=22)
        assert tick(home, HISTORY, clock) is None, "the daily comparison is due"


def test_histories_are_read_again_when_the_catalogue_learns_of_new_titles(household: Any):
    """A new film is watched in the evening, and the catalogue is read at night."""
    clock = SetClock(datetime.now(UTC))
    with household(small_world(), {"clock": clock}) as (simulator, home):
        read_server(home, histories=True)
        home.rows("UPDATE titles SET first_seen_at = first_seen_at - interval '1 day' RETURNING 1")
        home.rows("UPDATE episodes SET first_seen_at = first_seen_at - interval '1 day' RETURNING 1")
        new = title(9_000)
        simulator.state.add_title(new)
        simulator.state.play(Play("bela1", new.key, clock.moment - timedelta(minutes=10)))
        home.must(HISTORY, users=home.everyone())
        assert tick(home, HISTORY, clock) == NOBODY
        read_server(home)
        assert tick(home, HISTORY, clock) is None
        found = read_histories(home)["bela1"]
        assert (found.compared, found.plays) == (False, 1)


def test_sources_are_asked_when_a_title_is_due_or_new(household: Any):
    clock = SetClock(datetime.now(UTC))
    with household(small_world(), {"clock": clock}) as (_, home):
        read_server(home)
        assert tick(home, METADATA, clock) is None, "it has never run"
        home.must(METADATA)
        assert tick(home, METADATA, clock) == NOTHING
        home.rows("UPDATE fetches SET due_at = :now WHERE ctid = (SELECT min(ctid) FROM fetches WHERE source = 'omdb') "
                  "RETURNING 1", now=clock.moment)  # fmt: skip
        assert tick(home, METADATA, clock) is None
        home.rows("UPDATE fetches SET due_at = :then WHERE due_at = :now RETURNING 1",
                  now=clock.moment, then=clock.moment + timedelta(days=30))  # fmt: skip
        assert tick(home, METADATA, clock) == NOTHING
        clock.moment += timedelta(hours=24)
        assert tick(home, METADATA, clock) is None, "once a day it runs in any case"
        clock.moment -= timedelta(hours=24)
        home.rows("DELETE FROM fetches WHERE item = (SELECT min(work_id) FROM works) RETURNING 1")
        assert tick(home, METADATA, clock) is None, "a title that is not on the list yet"
