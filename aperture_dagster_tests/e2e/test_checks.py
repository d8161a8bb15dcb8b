"""Every check fails for the reason that its name gives, and passes otherwise; a blocking one stops the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from aperture_dagster.defs.freshness import LIMIT
from aperture_dagster.simulator.faults import FaultRule
from aperture_dagster.simulator.world import Play, WorldUser
from aperture_dagster.sources import SOURCES, TitleSource
from aperture_dagster.storage.enrichment import value_ranges
from aperture_dagster_tests.e2e.library import Library, losing_rows, title, titles
from aperture_dagster_tests.e2e.worlds import small_world
from aperture_dagster_tests.household import Household, SetClock, failures, run_check

pytestmark = pytest.mark.e2e

WARN, ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR
# Of the integers of the database.
LARGEST = 2**31 - 1
CATALOGUE = [("movies", "Movie"), ("series", "Series"), ("episodes", "Episode")]
every_source = pytest.mark.parametrize("source", SOURCES, ids=[source.name for source in SOURCES])


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


@pytest.mark.parametrize(("asset", "item_type"), CATALOGUE)
def test_is_not_empty_warns_when_the_server_has_a_library_without_items(household, asset: str, item_type: str):
    with household(small_world(movies=5)) as (simulator, home):
        simulator.state.add_fault(FaultRule("jellyfin", f"includeItemTypes={item_type}", kind="empty_list"))
        sync(home)
        empty = run_check(home, asset, "is_not_empty")
        assert (empty.passed, empty.severity) == (False, WARN)
        assert empty.description == f"The server has no {'films' if asset == 'movies' else asset}."
        simulator.state.clear_faults()
        sync(home)
        assert run_check(home, asset, "is_not_empty").passed


def test_is_not_empty_passes_without_a_library_of_that_kind(household):
    with household(small_world(movies=5), exclude_libraries=["TV Shows"]) as (_, home):
        home.must("sync_movies")
        assert run_check(home, "series", "is_not_empty").passed
        assert run_check(home, "episodes", "is_not_empty").passed


@pytest.mark.parametrize(("asset", "item_type"), CATALOGUE)
def test_is_readable_warns_when_answers_of_its_own_kind_cannot_be_parsed(household, asset: str, item_type: str):
    field = "SeriesId" if asset == "episodes" else "Name"
    with household(small_world(movies=5)) as (simulator, home):
        sync(home)
        assert all(run_check(home, one, "is_readable").passed for one, _ in CATALOGUE)
        fault = FaultRule("jellyfin", f"includeItemTypes={item_type}", kind="missing_field", field=field)
        simulator.state.add_fault(fault)
        sync(home)
        found = {one: run_check(home, one, "is_readable") for one, _ in CATALOGUE}
        assert [one for one, check in found.items() if not check.passed] == [asset]
        assert found[asset].severity == WARN and "could not be read" in (found[asset].description or "")


@pytest.mark.parametrize(("without", "passes"), [(1, True), (2, False)])
def test_have_provider_ids_warns_when_more_than_a_tenth_have_none(library, without: int, passes: bool):
    nameless = [title(number, imdb_id=None, tmdb_id=None) for number in range(11, 11 + without)]
    with library([*titles(1, 11 - without), *nameless]) as here:
        found = run_check(here.home, "movies", "have_provider_ids")
        assert (found.passed, found.severity) == (passes, WARN)
        assert f"{without} of 11 titles have no TMDb, IMDb or TVDb id." in (found.description or "")


# Enrichment


@every_source
def test_covers_the_library_warns_when_more_than_a_tenth_of_the_requests_failed(full_library, source: TitleSource):
    fail = (
        "UPDATE fetches SET outcome = 'error' WHERE source = :source AND item IN (SELECT work_id FROM works LIMIT :n)"
    )
    for failed, passes in ((2, True), (3, False)):
        full_library.shelf.do(fail, source=source.name, n=failed)
        found = {one.name: run_check(full_library.home, one.table, "covers_the_library") for one in SOURCES}
        assert found[source.name].passed is passes, failed
        assert f"{failed} of 20 titles could not be fetched" in (found[source.name].description or "")
        assert all(check.passed for name, check in found.items() if name != source.name)
    assert found[source.name].severity == WARN


@every_source
def test_is_fresh_warns_when_more_than_a_tenth_of_the_answers_are_days_overdue(full_library, source: TitleSource):
    overdue = (
        "UPDATE fetches SET due_at = :due WHERE source = :source AND kind = 'movie' "
        "AND item IN (SELECT work_id FROM works LIMIT :n)"
    )
    now = full_library.clock.moment
    for days, count, passes in ((2, 20, True), (4, 2, True), (4, 3, False)):
        full_library.shelf.do(overdue, source=source.name, due=now + timedelta(days=1), n=20)
        full_library.shelf.do(overdue, source=source.name, due=now - timedelta(days=days), n=count)
        found = run_check(full_library.home, source.table, "is_fresh")
        assert found.passed is passes, (days, count)
    assert found.severity == WARN and found.description == "3 of 20 answers are overdue by more than 3 days."


@every_source
def test_has_values_in_range_fails_for_every_number_beyond_its_scale(full_library, source: TitleSource):
    ranges = value_ranges(source.name)
    work = full_library.home.value(f"SELECT min(work_id) FROM {source.table}")

    def with_values(values: dict[str, float]) -> dg.AssetCheckEvaluation:
        changes = ", ".join(f"{column} = {value}" for column, value in values.items())
        assert full_library.shelf.do(f"UPDATE {source.table} SET {changes} WHERE work_id = {work}")
        return run_check(full_library.home, source.table, "has_values_in_range")

    for end in (0, 1):
        assert with_values({column: scale[end] for column, scale in ranges.items()}).passed, "the ends of the scale"
    below = {column: low - 1 for column, (low, _) in ranges.items()}
    above = {column: high + 1 for column, (_, high) in ranges.items() if high < LARGEST}
    for beyond in (below, above):
        found = with_values(beyond)
        assert (found.passed, found.severity) == (False, ERROR)
        assert {record.data["column"] for record in columns_of(found)} >= beyond.keys()


def columns_of(check: dg.AssetCheckEvaluation) -> list[dg.TableRecord]:
    named = check.metadata["columns"]
    assert isinstance(named, dg.TableMetadataValue)
    return list(named.records)


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


def test_has_its_files_warns_when_more_than_a_tenth_of_the_downloads_failed(household):
    with household(small_world(movies=25)) as (simulator, home):
        sync(home)
        home.must("enrich_metadata")
        simulator.state.add_fault(FaultRule("tmdb_images", "", kind="wrong_content"))
        home.must("enrich_studio_logos")
        failed = run_check(home, "studio_logos", "has_its_files")
        assert (failed.passed, failed.severity) == (False, WARN)
        assert (failed.description or "").startswith("0 files are gone, ")


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
            result = run_together(home, "embeddings", "taste_profiles", user=home.everyone()[0])
            assert not result.success
            assert made(result) == {"embeddings"} and "taste_profiles" not in failures(result)
            reason = why_skipped(home, "generate_recommendations")
            assert reason is not None and "cover_the_library failed: 7 of 70 titles have no vector" in reason
        result = run_together(home, "embeddings", "taste_profiles", user=home.everyone()[0])
        assert result.success and made(result) == {"embeddings", "taste_profiles"}
        assert why_skipped(home, "generate_recommendations") is None


def test_cover_the_library_tolerates_a_twentieth_without_vectors(full_library):
    for missing, passes in ((1, True), (2, False)):
        full_library.shelf.do("DELETE FROM embeddings WHERE work_id IN (SELECT max(work_id) FROM embeddings)")
        found = run_check(full_library.home, "embeddings", "cover_the_library")
        assert (found.passed, found.description) == (passes, f"{missing} of 20 titles have no vector")


# Lists


def test_hold_nothing_watched_fails_for_what_had_been_watched_when_the_list_was_made(settled):
    with settled() as (simulator, home, _):
        assert run_check(home, "recommendations", "hold_nothing_watched").passed
        user, title = home.everyone()[0], home.titles_for(home.everyone()[0])[0]
        key = next(one.key for one in simulator.state.titles.values() if one.title == title)
        simulator.state.play(Play(user, key, datetime.now(UTC)))
        home.must("sync_watch_history", users=home.everyone())
        assert title in home.titles_for(user)
        assert run_check(home, "recommendations", "hold_nothing_watched").passed, "the list is older than the play"
        # As if it had been made after it.
        home.rows("UPDATE recommendations SET generated_at = now() RETURNING 1")
        found = run_check(home, "recommendations", "hold_nothing_watched")
        assert (found.passed, found.severity) == (False, ERROR)
        assert found.description == "1 recommended titles had been watched."
        home.must("generate_recommendations", users=home.everyone())
        assert run_check(home, "recommendations", "hold_nothing_watched").passed


def test_exist_for_every_user_names_those_who_take_part_and_have_no_list(household):
    with household(small_world(movies=20, users=3)) as (_, home):
        for job in ("sync_users", "sync_movies", "sync_series", "enrich_metadata", "generate_embeddings"):
            home.must(job)
        first, *others = home.everyone()
        home.must("sync_watch_history", users=home.everyone())
        home.must("generate_recommendations", partition=first)
        without = run_check(home, "recommendations", "exist_for_every_user")
        assert (without.passed, without.severity) == (False, WARN)
        assert without.description == f"No list yet: {', '.join(others)}."
        for user in others:
            home.must("generate_recommendations", partition=user)
        assert run_check(home, "recommendations", "exist_for_every_user").passed


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
