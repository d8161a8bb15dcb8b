"""What a household sees and touches of an instance that it shares: runs, slots of pools, dead runs, old events."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster_postgres import PostgresEventLogStorage
from sqlalchemy import text

from aperture_dagster.household import HOUSEHOLD_TAG, asset_key
from aperture_dagster.instance.dead_runs import dead_runs, end_dead_runs, free_dead_slots, unlock_run
from aperture_dagster.instance.pools import POOLS
from aperture_dagster.instance.purge import Retention, database_bytes, purge
from aperture_dagster.instance.runs import REPOSITORY_TAG
from aperture_dagster.settings import load_settings
from aperture_dagster.storage import run_lock
from aperture_dagster_tests.households.conftest import instance_of

OURS, THEIRS = "smiths", "joneses"


def code_of(module: str) -> JobPythonOrigin:
    """Return where Dagster finds the code of a job that is defined in a module."""
    return JobPythonOrigin(
        "sync_movies", RepositoryPythonOrigin("python", ModuleCodePointer(module, "defs"), None, None)
    )


OUR_CODE = code_of("aperture_dagster.definitions")


@dg.job
def sync_movies() -> None:
    """A job that every household has."""


@pytest.fixture
def both(
    shared_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[tuple[dg.DagsterInstance, dg.DagsterInstance]]:
    with (
        instance_of(monkeypatch, OURS, tmp_path / OURS) as ours,
        instance_of(monkeypatch, THEIRS, tmp_path / THEIRS) as theirs,
    ):
        yield ours, theirs


def settings_of(household: str, tmp_path: Path, **more: Any) -> Any:
    return load_settings(household=household, home=tmp_path / household, **more)


def count(instance: dg.DagsterInstance, table: str) -> int:
    storage = instance.event_log_storage
    assert isinstance(storage, PostgresEventLogStorage)
    with storage.index_connection() as connection:
        return connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()


def started(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """Create a run that has started, in no process."""
    run = instance.create_run_for_job(sync_movies)
    instance.report_dagster_event(
        dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, sync_movies.name, message=""), run.run_id
    )
    return run


def test_each_household_sees_its_own_runs_and_the_daemon_sees_all(
    shared_instance: dg.DagsterInstance, both: tuple[dg.DagsterInstance, dg.DagsterInstance]
):
    ours, theirs = both
    for instance in both:
        sync_movies.execute_in_process(instance=instance)
    job = dg.RunsFilter(job_name="sync_movies")
    (own,), (other,) = ours.get_runs(job), theirs.get_runs(job)
    assert own.run_id != other.run_id
    assert (own.tags[HOUSEHOLD_TAG], other.tags[HOUSEHOLD_TAG]) == (OURS, THEIRS)
    assert [one.dagster_run.run_id for one in ours.get_run_records(job, limit=5)] == [own.run_id]
    assert ours.get_runs_count() == 1 and ours.get_run_ids() == [own.run_id]
    assert ours.get_run_by_id(other.run_id) is None
    assert ours.get_runs(dg.RunsFilter(tags={HOUSEHOLD_TAG: THEIRS})) == [own], "no filter reaches further"
    assert {run.run_id for run in shared_instance.get_runs(job)} == {own.run_id, other.run_id}


def test_a_run_that_the_daemon_requests_belongs_to_the_household_of_its_location(
    shared_instance: dg.DagsterInstance, both: tuple[dg.DagsterInstance, dg.DagsterInstance]
):
    from dagster._core.remote_origin import (
        GrpcServerCodeLocationOrigin,
        RemoteJobOrigin,
        RemoteRepositoryOrigin,
    )

    for location in (OURS, "aperture"):
        origin = GrpcServerCodeLocationOrigin(host="localhost", port=1, location_name=location)
        job = RemoteJobOrigin(RemoteRepositoryOrigin(origin, "__repository__"), "sync_movies")
        run = dg.DagsterRun("sync_movies", run_id=f"of-{location}", remote_job_origin=job, job_code_origin=OUR_CODE)
        shared_instance.run_storage.add_run(run)
    ours, theirs = both
    (run,) = ours.get_runs()
    assert run.run_id == f"of-{OURS}" and run.tags[HOUSEHOLD_TAG] == OURS
    assert theirs.get_runs() == []
    alone = shared_instance.get_run_by_id("of-aperture")
    assert alone is not None and HOUSEHOLD_TAG not in alone.tags, "a single household has no name"
    (tag,) = shared_instance.get_run_tags(tag_keys=[REPOSITORY_TAG])
    assert "__repository__@smiths" in tag[1]


def test_a_code_location_of_another_program_is_no_household(shared_instance: dg.DagsterInstance):
    """Nor does its own code become one when it is called as a household might be."""
    from dagster._core.remote_origin import (
        GrpcServerCodeLocationOrigin,
        RemoteJobOrigin,
        RemoteRepositoryOrigin,
    )

    origin = GrpcServerCodeLocationOrigin(host="localhost", port=1, location_name="analytics")
    job = RemoteJobOrigin(RemoteRepositoryOrigin(origin, "__repository__"), "sync_movies")
    for code in (code_of("analytics.definitions"), None):
        run = dg.DagsterRun("sync_movies", remote_job_origin=job, job_code_origin=code)
        shared_instance.run_storage.add_run(run)
    assert len(shared_instance.get_runs()) == 2
    assert all(HOUSEHOLD_TAG not in run.tags for run in shared_instance.get_runs())


def test_a_run_that_a_command_executes_itself_belongs_to_this_code_location(shared_instance: dg.DagsterInstance):
    for code in (OUR_CODE, code_of("analytics.definitions"), None):
        shared_instance.run_storage.add_run(dg.DagsterRun("sync_movies", job_code_origin=code))
    labels = [run.tags.get(REPOSITORY_TAG) for run in shared_instance.get_runs()]
    assert sorted(labels, key=str) == [None, None, "__repository__@aperture"]


def test_nobody_ends_the_runs_or_frees_the_slots_of_others(
    both: tuple[dg.DagsterInstance, dg.DagsterInstance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run_lock, "GRACE_SECONDS", 0.01)
    ours, theirs = both
    settings, own = settings_of(OURS, tmp_path), settings_of(THEIRS, tmp_path)
    run = started(theirs)
    slots = theirs.event_log_storage
    claim = slots.claim_concurrency_slot(f"{THEIRS}/media_server", run.run_id, "step")
    assert claim.is_claimed
    # As when its process has died.
    unlock_run(run.run_id, own)
    assert dead_runs(ours, settings) == [] == end_dead_runs(ours, settings)
    free_dead_slots(ours, ours.event_log_storage, settings)
    assert slots.get_concurrency_run_ids() == {run.run_id}
    # Its own household does both.
    assert [one.run_id for one in end_dead_runs(theirs, own)] == [run.run_id]
    assert not slots.get_concurrency_run_ids()


def test_each_household_has_pools_of_its_own(both: tuple[dg.DagsterInstance, dg.DagsterInstance]):
    limits = {pool.name: pool.limit for pool in both[0].event_log_storage.get_pool_limits()}
    for household in (OURS, THEIRS):
        assert {name: limits[f"{household}/{name}"] for name in POOLS} == dict(POOLS)


def test_a_purge_deletes_nothing_of_others(
    shared_instance: dg.DagsterInstance, both: tuple[dg.DagsterInstance, dg.DagsterInstance]
):
    for name, instance in zip((OURS, THEIRS), both, strict=True):
        for _ in range(2):
            result = dg.materialize([_asset(name)], instance=instance)
            assert result.success
        instance.report_runless_asset_event(dg.AssetMaterialization(asset_key(name, "movies")))
        instance.report_runless_asset_event(dg.AssetMaterialization(asset_key(name, "movies")))
    ours, theirs = both
    later = datetime.now(UTC) + timedelta(minutes=1)
    before = count(shared_instance, "event_logs")
    freed = {one.part: one.rows for one in purge(ours, Retention(logs=later, runs=later))}
    assert freed["events"] > 10 and freed["check_results"] and freed["runs"]
    assert count(shared_instance, "event_logs") == before - freed["events"]
    assert database_bytes(ours) is None, "it is not that of one household"
    assert len(ours.get_runs()) < 2 == len(theirs.get_runs())
    for run in theirs.get_runs():
        assert len(theirs.all_logs(run.run_id)) > 5
    assert len(theirs.fetch_materializations(asset_key(THEIRS, "movies"), limit=9).records) == 4
    assert len(ours.fetch_materializations(asset_key(OURS, "movies"), limit=9).records) == 1, "the latest state stays"


def _asset(household: str) -> dg.AssetsDefinition:
    key = asset_key(household, "movies")

    @dg.asset(key=key, check_specs=[dg.AssetCheckSpec("is_fine", asset=key)])
    def movies() -> dg.MaterializeResult:
        return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True)])

    return movies
