"""Each part of the automation conditions, evaluated by Dagster on a graph of three assets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.events import StepMaterializationData

from aperture_dagster.automation import FROM_AUTOMATION, HOURLY_CRON, on_upstream_change
from aperture_dagster_tests.defs.shared import checked, planned
from aperture_dagster_tests.instances import instance_in_memory

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `include_sources`")

UP, OTHER, DOWN = "up", "other", "down"
BOTH = (UP, OTHER)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def selected(*names: str) -> dg.AssetSelection:
    return dg.AssetSelection.assets(*names)


class Graph:
    """What is made of two assets follows them by a condition; things happen, and ticks say what is requested."""

    def __init__(self, instance: dg.DagsterInstance, parts: Sequence[Any]) -> None:
        self.instance = instance
        self.definitions = dg.Definitions(assets=parts)
        self.now = datetime(2026, 3, 1, 12, 20, tzinfo=UTC)
        self.cursor = None
        self._made = 0

    def made(self, *assets: str, version: str | None = None, run: dg.DagsterRun | None = None) -> None:
        """These assets were materialized in a run, by default none, with new content unless a version is given."""
        for asset in assets:
            self._made += 1
            tags = {"dagster/data_version": version or f"v{self._made}"}
            event = dg.AssetMaterialization(asset, tags=tags)
            if run is None:
                self.instance.report_runless_asset_event(event)
            else:
                self._report(run, dg.DagsterEvent(
                    "ASSET_MATERIALIZATION", run.job_name, event_specific_data=StepMaterializationData(event)
                ))  # fmt: skip

    def begins(self, *assets: str, automated: bool = True) -> dg.DagsterRun:
        """A run begins that is to make these assets."""
        keys = {dg.AssetKey(asset) for asset in assets}
        job = self.definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection=keys)
        run = self.instance.create_run_for_job(
            job,
            asset_selection=keys,
            status=dg.DagsterRunStatus.STARTED,
            tags={FROM_AUTOMATION: "true"} if automated else {},
        )
        planned(self.instance, run, *assets)
        return run

    def fails(self, *assets: str) -> None:
        """A run that was to make these assets fails."""
        self.instance.report_run_failed(self.begins(*assets))

    def runs(self, *assets: str, automated: bool = True) -> None:
        """A run makes these assets, with new content."""
        run = self.begins(*assets, automated=automated)
        self.made(*assets, run=run)
        self._report(run, dg.DagsterEvent("PIPELINE_SUCCESS", run.job_name))

    def tick(self, later: timedelta = MINUTE) -> set[str]:
        """What is requested now."""
        self.now += later
        result = dg.evaluate_automation_conditions(
            self.definitions, self.instance, cursor=self.cursor, evaluation_time=self.now
        )
        self.cursor = result.cursor
        keys = self.definitions.resolve_asset_graph().materializable_asset_keys
        return {key.to_user_string() for key in keys if result.get_num_requested(key)}

    def _report(self, run: dg.DagsterRun, event: dg.DagsterEvent) -> None:
        self.instance.report_dagster_event(event, run.run_id)


@pytest.fixture
def graph() -> Iterator[Callable[..., Graph]]:
    """Return a function that makes a graph with a condition, in which all three assets are there and nothing is new."""
    with instance_in_memory() as instance:

        def make(*, settled: bool = True, more: Sequence[Any] = (), beside: Sequence[Any] = (), **terms: Any) -> Graph:
            condition = terms.pop("condition", None) or on_upstream_change(**terms)
            deps = [*BOTH, *(one.key.to_user_string() for one in more)]

            @dg.asset(deps=deps, automation_condition=condition)
            def down() -> None: ...

            upstream = [dg.asset(name=name)(lambda: None) for name in BOTH]
            made = Graph(instance, [*upstream, *more, *beside, down])
            if settled:
                made.made(*deps, DOWN)
                assert made.tick() == set(), "what was there before the automation began is no change"
            return made

        yield make


def test_a_change_is_requested_once_and_an_equal_version_never(graph):
    home = graph()
    home.made(UP, version="new")
    assert [home.tick() for _ in range(3)] == [{DOWN}, set(), set()]
    home.made(UP, version="new")
    assert home.tick() == set()


def test_new_code_alone_requests_nothing(graph):
    """The night makes everything again with it; an update must not start that at once, during the day."""
    home = graph()
    renewed = [
        one.map_asset_specs(lambda spec: spec.replace_attributes(code_version="2")) for one in home.definitions.assets
    ]
    home.definitions = dg.Definitions(assets=renewed)
    assert [home.tick(), home.tick()] == [set(), set()]
    home.made(UP, version="new")
    assert home.tick() == {DOWN}


def test_what_was_never_made_is_requested_once_all_that_it_reads_is_there(graph):
    home = graph(settled=False)
    assert home.tick() == set()
    home.made(UP)
    assert home.tick() == set()
    home.made(OTHER)
    assert home.tick() == {DOWN}


@pytest.mark.parametrize("asset", [UP, OTHER, DOWN])
def test_a_change_waits_while_what_it_concerns_is_being_made(graph, asset: str):
    home = graph()
    run = home.begins(asset, automated=False)
    home.made(UP)
    assert [home.tick(), home.tick()] == [set(), set()]
    home.instance.report_run_canceled(run)
    assert home.tick() == {DOWN}


def test_of_two_changes_in_turn_the_last_one_is_waited_for(graph):
    middle = dg.asset(name="middle", deps=[UP], automation_condition=on_upstream_change())(lambda: None)
    home = graph(more=[middle])
    home.made(UP)
    assert home.tick() == {"middle"}
    home.runs("middle")
    assert [home.tick(), home.tick()] == [{DOWN}, set()]


def test_a_change_waits_until_the_blocking_check_passes(graph):
    @dg.asset_check(asset=UP, blocking=True)
    def is_sound() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    with instance_in_memory() as instance:
        upstream = [dg.asset(name=name)(lambda: None) for name in BOTH]
        down = dg.asset(name=DOWN, deps=BOTH, automation_condition=on_upstream_change())(lambda: None)
        home = Graph(instance, [*upstream, down])
        home.definitions = dg.Definitions(assets=[*upstream, down], asset_checks=[is_sound])
        home.made(*BOTH, DOWN)
        checked(instance, UP, check="is_sound", passed=True)
        assert home.tick() == set()
        home.made(UP)
        checked(instance, UP, check="is_sound", passed=False)
        assert [home.tick(), home.tick()] == [set(), set()]
        checked(instance, UP, check="is_sound", passed=True)
        assert home.tick() == {DOWN}


def test_a_run_that_makes_both_is_no_change_whoever_started_it(graph):
    home = graph()
    for automated in (True, False):
        home.runs(UP, DOWN, automated=automated)
        assert [home.tick(), home.tick()] == [set(), set()], automated


def test_who_makes_it_by_hand_after_a_change_has_handled_the_change(graph):
    home = graph()
    home.made(UP)
    home.runs(DOWN, automated=False)
    assert [home.tick(), home.tick()] == [set(), set()]


def test_a_change_that_arrives_while_automation_makes_it_is_not_lost(graph):
    home = graph()
    home.made(UP)
    assert home.tick() == {DOWN}
    home.made(OTHER)
    home.runs(DOWN)
    assert [home.tick(), home.tick()] == [{DOWN}, set()]


def test_a_change_during_a_run_is_requested_when_the_run_has_ended(graph):
    home = graph()
    home.made(UP)
    assert home.tick() == {DOWN}
    run = home.begins(DOWN)
    home.made(OTHER)
    assert home.tick() == set()
    home.made(DOWN, run=run)
    home.instance.report_dagster_event(dg.DagsterEvent("PIPELINE_SUCCESS", run.job_name), run.run_id)
    assert [home.tick(), home.tick()] == [{DOWN}, set()]


@pytest.mark.parametrize("settled", [False, True])
def test_a_failure_is_repeated_at_the_next_turn_of_the_hour_or_at_the_next_change(graph, settled: bool):
    home = graph(settled=settled)
    home.made(*BOTH)
    assert home.tick() == {DOWN}
    home.fails(DOWN)
    assert [home.tick(), home.tick()] == [set(), set()], "at 12:17 and 13:17, not at once"
    assert home.tick(HOUR) == {DOWN}
    home.fails(DOWN)
    assert home.tick() == set()
    home.made(UP)
    assert home.tick() == {DOWN}


def test_what_is_ignored_is_neither_a_change_nor_waited_for(graph):
    home = graph(settled=False, ignoring=selected(OTHER))
    home.made(UP)
    assert home.tick() == {DOWN}, "it is missing"
    home.runs(DOWN)
    assert home.tick() == set()
    home.made(OTHER)
    assert home.tick() == set()
    home.begins(OTHER)
    home.made(UP)
    assert home.tick() == {DOWN}, "it is being made"


def test_what_is_ignored_but_required_is_waited_for_and_its_changes_are_not(graph):
    home = graph(settled=False, ignoring=selected(*BOTH), required=selected(OTHER))
    home.fails(OTHER, DOWN)
    assert [home.tick(HOUR) for _ in range(2)] == [set(), set()], "nothing is repeated that would fail again"
    home.made(OTHER)
    assert home.tick(HOUR) == {DOWN}
    home.runs(DOWN)
    home.made(OTHER)
    assert home.tick() == set()


def test_what_is_additional_is_never_waited_for_and_its_changes_count(graph):
    home = graph(settled=False, additional=selected(OTHER))
    home.made(UP)
    assert home.tick() == {DOWN}
    home.runs(DOWN)
    home.made(OTHER)
    assert home.tick() == {DOWN}


def test_what_it_comes_after_is_waited_for_while_it_is_being_made_and_may_be_missing(graph):
    before = dg.asset(name="before")(lambda: None)
    home = graph(settled=False, after=[before.key], beside=[before])
    home.made(*BOTH)
    run = home.begins("before")
    assert home.tick() == set(), "it is being made"
    home.instance.report_run_failed(run)
    assert home.tick() == {DOWN}
    home.runs(DOWN)
    run = home.begins("before")
    home.made(UP)
    assert home.tick() == set(), "it is being made again"
    home.instance.report_run_canceled(run)
    assert home.tick() == {DOWN}


def test_what_a_sensor_makes_for_the_first_time_is_left_to_it_until_that_fails(graph):
    home = graph(settled=False, first=False)
    home.made(*BOTH)
    assert [home.tick(), home.tick(HOUR)] == [set(), set()]
    home.fails(DOWN)
    assert home.tick(HOUR) == {DOWN}
    home.runs(DOWN)
    home.made(UP)
    assert home.tick() == {DOWN}


def test_changes_wait_for_their_hour_which_stands_for_all_of_them(graph):
    home = graph(at_most=HOURLY_CRON)
    for asset in (UP, OTHER):
        home.made(asset)
        assert home.tick() == set()
    assert [home.tick(HOUR), home.tick(), home.tick(HOUR)] == [{DOWN}, set(), set()]
