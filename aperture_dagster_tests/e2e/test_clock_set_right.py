"""A clock that was ahead costs nothing once it is right again: every job does its work, and says nothing wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aperture_dagster.build import all_jobs
from aperture_dagster.enrichment.omdb import OMDB
from aperture_dagster.maintenance.status import future_dates
from aperture_dagster.model import describe_future
from aperture_dagster.publishing.publishable import known_files, listed_works
from aperture_dagster.simulator.world import Play
from aperture_dagster.worklist.services import Services
from aperture_dagster_tests.clocks import redate
from aperture_dagster_tests.household import SetClock, failed_checks, metadata_of, run_check

pytestmark = pytest.mark.e2e

YEAR = timedelta(days=365)


def test_after_a_clock_that_was_ahead_every_job_works_as_if_it_had_been_right(settled: Callable[..., Any]):
    clock = SetClock(datetime.now(UTC) + YEAR)
    with settled({"clock": clock}) as (simulator, home, world):
        counts, state = simulator.state.counters, simulator.state

        def skips(job: str) -> str | None:
            return next(one for one in all_jobs(home.settings) if one.name == job).why_skip(
                home.instance, home.settings, clock
            )

        redate(home.database, YEAR)
        clock.moment -= YEAR
        now = clock.moment

        # Titles are due, the quota of the day is there, and both are kept from now on.
        assert skips("enrich_metadata") is None
        counts.reset()
        home.must("enrich_metadata")
        titles = home.value("SELECT count(*) FROM fetches WHERE source = 'omdb' AND outcome = 'ok'")
        assert titles > 5 and counts.total("omdb") >= titles
        used, limit = Services(home.settings, home.database, clock).get(OMDB).quota.usage()  # type: ignore[union-attr]
        assert counts.total("omdb") <= used < limit
        counts.reset()
        home.must("enrich_metadata")
        assert counts.total("omdb") == 0, "not again"

        # Histories are compared in full, and what was watched counts.
        assert skips("sync_watch_history") is None
        user = home.everyone()[0]
        name = home.value("SELECT name FROM users WHERE partition_key = :key", key=user)
        film = home.rows(
            "SELECT tmdb_id FROM titles WHERE media_type = 'movie' AND NOT EXISTS (SELECT 1 FROM watch_state w "
            "JOIN users u USING (user_id) WHERE w.work_id = titles.work_id AND u.name = :name) LIMIT 1",
            name=name,
        )[0]["tmdb_id"]
        key = next(one.key for one in world.titles if one.media_type == "movie" and one.tmdb_id == film)
        state.play(Play(name, key, now - timedelta(minutes=1)))
        synced = metadata_of(home.must("sync_watch_history", users=home.everyone()), "watch_history", user)
        assert synced["compared_in_full"] is True and synced["plays_logged"] == 1
        assert run_check(home, "watch_history", "is_fresh_for_every_user").passed

        # The list of today is the one that is shown, and files are looked up again.
        home.must("refresh_top_picks", partition=now.date().isoformat())
        home.rows("DELETE FROM top_picks WHERE day > :day AND rank = 1 RETURNING 1", day=now.date())
        with home.database.transaction() as connection:
            shown = listed_works(connection, "top_picks/movie", today=now.date())
            assert known_files(connection, [1], since=now - YEAR, now=now) == {}
        made = home.rows(
            "SELECT rank, work_id FROM top_picks WHERE day = :day AND media_type = 'movie' ORDER BY rank",
            day=now.date(),
        )
        assert made and shown == [(row["rank"], row["work_id"]) for row in made]

        # Recommendations follow, and no check takes what was dated in the future for wrong.
        lists = home.must("generate_recommendations", users=home.everyone())
        assert failed_checks(lists) == []
        with home.database.transaction() as connection:
            sentence = describe_future(future_dates(connection, now=now), now)
        assert sentence is not None and "in the future" in sentence and "users" not in sentence.split(":")[0]
