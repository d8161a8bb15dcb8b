"""Checks as runs meet them: what a blocking one stops, and what the next run puts right.

The cases of each check alone are in ``defs/test_checks.py`` and the two files that it names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from aperture_dagster.defs.freshness import LIMIT
from aperture_dagster.simulator.faults import FaultRule
from aperture_dagster.simulator.world import WorldUser
from aperture_dagster_tests.e2e.library import Library, losing_rows, titles
from aperture_dagster_tests.e2e.worlds import small_world
from aperture_dagster_tests.household import Household, SetClock, failures, run_check

CHAIN = ("embeddings", "taste_profiles", "recommendations")
pytestmark = pytest.mark.e2e

WARN, ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR
CATALOGUE = ("movies", "series", "episodes")


def sync(home: Household) -> None:
    for job in ("sync_movies", "sync_series"):
        home.must(job)


@pytest.fixture
def full_library(library: Callable[..., Any]) -> Iterator[Library]:
    """Twenty films that all sources have answered about, merged and embedded."""
    with library(titles(1, 20)) as here:
        for job in ("enrich_metadata", "enrich_mdblist", "generate_embeddings"):
            here.home.must(job)
        yield here


# Media server


@pytest.mark.nightly(
    reason="Whole runs of a household, for what one check of made-up rows shows.",
    instead="defs/test_checks_of_sources.py::test_a_check_fails_for_its_reason_and_passes_otherwise",
)
def test_is_readable_warns_when_answers_of_its_own_kind_cannot_be_parsed(household):
    with household(small_world(movies=5)) as (simulator, home):
        sync(home)
        assert all(run_check(home, one, "is_readable").passed for one in CATALOGUE)
        fault = FaultRule("jellyfin", "includeItemTypes=Episode", kind="missing_field", field="SeriesId")
        simulator.state.add_fault(fault)
        sync(home)
        found = {one: run_check(home, one, "is_readable") for one in CATALOGUE}
        assert [one for one, check in found.items() if not check.passed] == ["episodes"]
        assert found["episodes"].severity == WARN
        assert "could not be read" in (found["episodes"].description or "")


# Enrichment


@pytest.mark.nightly(
    reason="Whole runs of a household, for what one check of made-up rows shows.",
    instead="e2e/test_studio_logos.py::test_a_changed_logo_and_a_lost_file_are_downloaded_at_once",
)
def test_has_its_files_warns_of_a_lost_file_until_the_next_run_downloads_it_again(household):
    with household(small_world(movies=25)) as (_, home):
        sync(home)
        for job in ("enrich_metadata", "enrich_studio_logos"):
            home.must(job)
        assert run_check(home, "studio_logos", "has_its_files").passed
        min((home.settings.home_path / "logos").iterdir()).unlink()
        lost = run_check(home, "studio_logos", "has_its_files")
        assert (lost.passed, lost.severity, lost.description) == (False, WARN, "1 files are gone, 0 logos failed.")
        home.must("enrich_studio_logos")
        assert run_check(home, "studio_logos", "has_its_files").passed


# Blocking checks


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance on disk, as ticks of a schedule need."""
    with dg.instance_for_test() as instance:
        yield instance


def run_together(home: Household, *assets: str, user: str | None = None) -> dg.ExecuteInProcessResult:
    """Materialize assets and their checks in one run, for one user if some of them are partitioned."""
    job = dg.define_asset_job("together", selection=dg.AssetSelection.assets(*assets))
    both = dg.Definitions.merge(home.definitions, dg.Definitions(jobs=[job]))
    return both.resolve_job_def("together").execute_in_process(
        instance=home.instance, partition_key=user, raise_on_error=False
    )


def made(result: dg.ExecuteInProcessResult) -> set[str]:
    """The assets that a run materialized."""
    return {event.asset_key.to_user_string() for event in result.get_asset_materialization_events() if event.asset_key}


def why_skipped(home: Household, job: str) -> str | None:
    """Tick the schedule of a job; the reason if it starts nothing."""
    repository = home.definitions.get_repository_def()
    with dg.build_schedule_context(
        instance=home.instance, scheduled_execution_time=datetime.now(UTC), repository_def=repository
    ) as context:
        tick = repository.get_schedule_def(f"{job}_schedule").evaluate_tick(context)
    return None if tick.run_requests else tick.skip_message


def test_has_every_title_stops_the_run_and_the_schedules_of_what_follows_until_the_view_is_whole(
    full_library, instance
):
    home = Household(full_library.home.settings, instance, clock=full_library.clock)
    full_library.shelve(*titles(1, 21))
    missing = run_check(home, "enriched_metadata", "has_every_title")
    assert (missing.passed, missing.severity, missing.blocking) == (False, ERROR, True)
    assert missing.description == "1 titles are not in the merged view"
    with losing_rows(home, "enriched_metadata", "NEW.tmdb_id = 21"):
        result = run_together(home, "enriched_metadata", "embeddings")
        assert not result.success
        assert made(result) == {"enriched_metadata"}
        assert "embeddings" not in failures(result), "it is not even tried"
        reason = why_skipped(home, "generate_embeddings")
        assert reason is not None and "has_every_title failed: 1 titles are not in the merged view" in reason
    result = run_together(home, "enriched_metadata", "embeddings")
    assert result.success and made(result) == {"enriched_metadata", "embeddings"}
    assert why_skipped(home, "generate_embeddings") is None


@pytest.mark.nightly(
    reason="The other check that stops what follows.",
    instead="e2e/test_checks.py::test_has_every_title_stops_the_run_and_the_schedules_of_what_follows_until_the_view_is_whole",
)
def test_cover_the_library_stops_the_run_and_the_schedules_of_what_follows_until_there_are_vectors(household, instance):
    with household(small_world(users=1)) as (_, first):
        home = Household(first.settings, instance)
        for job in ("sync_users", "sync_movies", "sync_series", "enrich_metadata"):
            home.must(job)
        home.must("sync_watch_history", users=home.everyone())
        assert run_check(home, "embeddings", "cover_the_library").description == "no model is complete yet"
        home.must("generate_embeddings")
        home.rows("DELETE FROM embeddings WHERE work_id % 10 = 0 RETURNING 1")
        blind = run_check(home, "embeddings", "cover_the_library")
        assert (blind.passed, blind.severity, blind.blocking) == (False, ERROR, True)
        assert "7 of 70 titles have no vector" in (blind.description or "")
        with losing_rows(home, "embeddings", "NEW.work_id % 10 = 0"):
            result = run_together(home, *CHAIN, user=home.everyone()[0])
            assert not result.success
            assert made(result) == {"embeddings", "taste_profiles"} and "recommendations" not in failures(result)
            reason = why_skipped(home, "generate_recommendations")
            assert reason is not None and "cover_the_library failed: 7 of 70 titles have no vector" in reason
        result = run_together(home, *CHAIN, user=home.everyone()[0])
        assert result.success and made(result) == {*CHAIN}
        assert why_skipped(home, "generate_recommendations") is None


# Lists


@pytest.mark.nightly(
    reason="Several nights of a whole household.",
    instead="defs/test_checks_of_lists.py::test_a_check_fails_for_its_reason_and_passes_otherwise",
)
def test_is_fresh_for_every_user_names_those_whom_the_last_night_left_out(household):
    clock = SetClock(datetime.now(UTC))
    with household(small_world(movies=20, users=3, plays=60), {"clock": clock}) as (simulator, home):
        home.cycle(skip=("enrich_mdblist", "generate_discovery_suggestions", "sync_libraries"))
        checked = ("taste_profiles", "recommendations", "shows_you_watch")
        for asset in checked:
            assert run_check(home, asset, "is_fresh_for_every_user").passed
        # The next night serves all but one; somebody joins who has nothing yet.
        evening = datetime.now(UTC)
        first, second, third = home.everyone()
        for user in (first, third):
            home.must("generate_recommendations", partition=user)
            home.must("sync_watching_libraries", partition=user)
        simulator.state.add_user(WorldUser("Newcomer"))
        home.must("sync_users")
        clock.moment = evening + LIMIT
        for asset in checked:
            stale = run_check(home, asset, "is_fresh_for_every_user")
            assert (stale.passed, stale.severity) == (False, WARN), asset
            assert f"Not made for more than a day: {second}. See the last run of " in (stale.description or "")
        home.must("generate_recommendations", partition=second)
        assert run_check(home, "recommendations", "is_fresh_for_every_user").passed
        # A day later it is everybody, the newcomer included; unless the operator wants it so.
        clock.moment += timedelta(days=1)
        stale = run_check(home, "recommendations", "is_fresh_for_every_user")
        assert stale.metadata["stale_users"].value == 4
        off = home.settings.model_copy(update={"schedules_off": ("generate_recommendations",)})
        assert run_check(
            Household(off, home.instance, clock=clock), "recommendations", "is_fresh_for_every_user"
        ).passed
