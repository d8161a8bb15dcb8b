"""A blocking check that did not pass stops the schedules of what follows, and says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent, DagsterEventType, StepMaterializationData

from aperture_dagster.instance.blocking_checks import blocking_checks, upstream_keys, why_blocked
from aperture_dagster_tests.instances import instance_in_memory

sound = {"titles": True}


@dg.asset
def titles() -> None: ...


@dg.asset(deps=[titles])
def vectors() -> None: ...


@dg.asset_check(asset=titles, blocking=True)
def are_complete() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=sound["titles"], description=None if sound["titles"] else "3 are missing")


@dg.asset_check(asset=titles)
def are_pretty() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with instance_in_memory() as instance:
        yield instance


@pytest.fixture
def reason(instance: dg.DagsterInstance) -> Callable[[], str | None]:
    """Why a job that makes vectors must not start."""
    upstream = upstream_keys([titles, vectors], ["vectors"])
    assert upstream == {titles.key}
    return lambda: why_blocked(instance, upstream, blocking_checks([are_complete, are_pretty]))


def run(instance: dg.DagsterInstance, *parts: dg.AssetsDefinition, passes: bool = True) -> None:
    sound["titles"] = passes
    dg.materialize([*parts], instance=instance, raise_on_error=False, selection=dg.AssetSelection.all())


def test_nothing_starts_before_what_it_builds_on_exists(reason):
    assert "titles is not sound" in reason()


def test_a_failed_check_is_named_with_its_finding_and_what_to_do_until_it_passes(instance, reason):
    run(instance, titles, are_complete, passes=False)
    assert "are_complete failed: 3 are missing" in reason()
    assert "materialize titles" in reason()
    # One that does not block never closes anything.
    run(instance, titles, are_complete, are_pretty)
    assert reason() is None


def test_a_check_of_an_earlier_materialization_does_not_count(instance, reason):
    run(instance, titles, are_complete)
    run(instance, titles)
    assert "has not run since" in reason()


def test_a_check_that_a_failed_run_never_reached_keeps_it_closed(instance, reason):
    run(instance, titles, are_complete)

    @dg.asset(name="titles")
    def broken() -> None:
        raise ConnectionError

    run(instance, broken, are_complete)
    assert "has not finished in the last run" in reason()


def under_way(instance: dg.DagsterInstance, *parts: dg.AssetsDefinition, made: bool, ends: bool = False) -> None:
    """Begin a run of titles and their check, which has ``made`` the titles or not, and leave it or let it fail."""
    job = dg.Definitions(
        assets=[one for one in parts if not isinstance(one, dg.AssetChecksDefinition)],
        asset_checks=[are_complete],
        jobs=[dg.define_asset_job("again", selection=dg.AssetSelection.all())],
    ).resolve_job_def("again")
    began = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    if made:
        instance.report_dagster_event(
            DagsterEvent(
                event_type_value=DagsterEventType.ASSET_MATERIALIZATION.value,
                job_name="again",
                event_specific_data=StepMaterializationData(dg.AssetMaterialization(titles.key)),
            ),
            began.run_id,
        )
    if ends:
        instance.report_run_failed(began)


@pytest.mark.parametrize("made", [False, True], ids=["has begun", "has materialized"])
def test_a_run_under_way_does_not_cost_others_their_turn(instance, reason, made):
    run(instance, titles, are_complete)
    under_way(instance, titles, are_complete, made=made)
    assert reason() is None


def test_a_run_that_is_killed_keeps_it_closed_from_then_on(instance, reason):
    run(instance, titles, are_complete)
    under_way(instance, titles, are_complete, made=True, ends=True)
    assert "has not finished in the last run" in reason()
    # A run that may mend it has only begun.
    under_way(instance, titles, are_complete, made=False)
    assert "has not finished in the last run" in reason()


def test_the_finding_before_a_run_under_way_keeps_it_closed(instance, reason):
    run(instance, titles, are_complete, passes=False)
    under_way(instance, titles, are_complete, made=True)
    assert "are_complete failed: 3 are missing" in reason()
