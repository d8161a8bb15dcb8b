"""Frequent jobs look before they run: nothing is missed, and nothing is run in vain."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aperture_dagster.build import all_jobs
from aperture_dagster.simulator.world import Play
from aperture_dagster_tests.e2e.reading import read_server
from aperture_dagster_tests.e2e.test_publishing import film
from aperture_dagster_tests.e2e.worlds import small_world
from aperture_dagster_tests.household import Household, SetClock, metadata_of

pytestmark = pytest.mark.e2e

HISTORY, METADATA = "sync_watch_history", "enrich_metadata"
NOBODY = "Nobody was active since their history was read."
NOTHING = "No title is due at TMDb or OMDb."


def tick(home: Household, job: str, clock: SetClock) -> str | None:
    """Return why the schedule of a job skips, or None when it starts a run."""
    (declared,) = (one for one in all_jobs(home.settings) if one.name == job)
    return declared.why_skip(home.instance, home.settings, clock)


def synced(home: Household) -> None:
    read_server(home)
    home.must(HISTORY, users=home.everyone())


def test_histories_are_read_when_somebody_was_active_and_once_a_day(household: Any):
    clock = SetClock(datetime.now(UTC))
    with household(small_world(), {"clock": clock}) as (simulator, home):
        synced(home)
        clock.moment += timedelta(hours=2)
        home.must(HISTORY, users=home.everyone())
        assert tick(home, HISTORY, clock) == NOBODY
        simulator.state.play(Play("bela1", small_world().titles[0].key, clock.moment - timedelta(seconds=50)))
        assert tick(home, HISTORY, clock) is None, "the server may note the activity before the play ends"
        clock.moment += timedelta(minutes=10)
        home.must(HISTORY, users=home.everyone())
        assert tick(home, HISTORY, clock) == NOBODY
        home.rows("DELETE FROM history_syncs WHERE user_id = (SELECT max(user_id) FROM users) RETURNING 1")
        assert tick(home, HISTORY, clock) is None, "one user has not been read yet"
        home.must(HISTORY, users=home.everyone())
        clock.moment += timedelta(hours=22)
        assert tick(home, HISTORY, clock) is None, "the daily comparison is due"


def test_histories_are_read_again_when_the_catalogue_learns_of_new_titles(household: Any):
    """A new film is watched in the evening, and the catalogue is read at night."""
    clock = SetClock(datetime.now(UTC))
    with household(small_world(), {"clock": clock}) as (simulator, home):
        synced(home)
        home.rows("UPDATE titles SET first_seen_at = first_seen_at - interval '1 day' RETURNING 1")
        home.rows("UPDATE episodes SET first_seen_at = first_seen_at - interval '1 day' RETURNING 1")
        new = film(9_000)
        simulator.state.add_title(new)
        simulator.state.play(Play("bela1", new.key, clock.moment - timedelta(minutes=10)))
        home.must(HISTORY, users=home.everyone())
        assert tick(home, HISTORY, clock) == NOBODY
        read_server(home)
        assert tick(home, HISTORY, clock) is None
        watched = metadata_of(home.must(HISTORY, users=home.everyone()), "watch_history", "bela1")
        assert (watched["compared_in_full"], watched["plays_logged"]) == (False, 1)


def test_sources_are_asked_when_a_title_is_due_or_new(household: Any):
    clock = SetClock(datetime.now(UTC))
    with household(small_world(), {"clock": clock}) as (_, home):
        synced(home)
        assert tick(home, METADATA, clock) is None, "it has never run"
        home.must(METADATA)
        assert tick(home, METADATA, clock) == NOTHING
        home.rows("UPDATE fetches SET due_at = :now WHERE ctid = (SELECT min(ctid) FROM fetches WHERE source = 'omdb') "
                  "RETURNING 1", now=clock.moment)  # fmt: skip
        assert tick(home, METADATA, clock) is None
        home.must(METADATA)
        assert tick(home, METADATA, clock) == NOTHING
        home.rows("DELETE FROM fetches WHERE item = (SELECT min(work_id) FROM works) RETURNING 1")
        assert tick(home, METADATA, clock) is None, "a title that is not on the list yet"
        home.must(METADATA)
        clock.moment += timedelta(hours=24)
        assert tick(home, METADATA, clock) is None, "once a day it runs in any case"
