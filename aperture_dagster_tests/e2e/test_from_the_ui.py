"""What is started in the UI: backfills, assets with their checks, and jobs, for all users, for some, or for nobody."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from aperture_dagster.build import all_jobs
from aperture_dagster.defs.users import VERSION_TAG
from aperture_dagster.jobs import Job
from aperture_dagster.partitions import RANGE_END_TAG, RANGE_START_TAG
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.taste import recommendations
from aperture_dagster_tests.defs.shared import definitions_of
from aperture_dagster_tests.e2e.console import Console, console_of, materialized, why_failed
from aperture_dagster_tests.e2e.worlds import small_world
from aperture_dagster_tests.household import Household, status_of
from aperture_dagster_tests.listener import listening

pytestmark = pytest.mark.e2e

UNLUCKY = "bela1"
CHAIN = ("taste_profiles", "recommendations")
SERVED, FAILED = "COMPLETED_SUCCESS", "COMPLETED_FAILED"


def assets_of_users() -> list[str]:
    """The assets with a partition for each user."""
    nodes = definitions_of().resolve_asset_graph().asset_nodes
    return sorted(
        node.key.to_user_string() for node in nodes if isinstance(node.partitions_def, dg.DynamicPartitionsDefinition)
    )


@pytest.fixture
def console(settled: Any) -> Iterator[Console]:
    """A household in which every job has run once."""
    with settled() as (simulator, home, world), console_of(home) as opened:
        opened.simulator, opened.world = simulator, world
        yield opened


def versions(home: Household, asset: str) -> dict[str, str]:
    """The data version of each partition's last event."""
    tags = home.instance.event_log_storage.get_latest_tags_by_partition(
        dg.AssetKey(asset), dg.DagsterEventType.ASSET_MATERIALIZATION, [VERSION_TAG]
    )
    return {partition: one[VERSION_TAG] for partition, one in tags.items()}


def assert_recorded(home: Household, events: list[dg.AssetMaterialization], users: list[str], about: str) -> None:
    """Assert that each of the users is recorded once, with a page and a data version, and nothing else is."""
    assert [one.partition for one in events] == users, about
    for one in events:
        assert one.metadata["user"].value == one.partition, about
        assert len((one.tags or {})[VERSION_TAG]) != 64, (
            f"{about}: a version of Dagster's own is the same for everybody"
        )


@pytest.mark.nightly(
    reason="It makes every list.",
    instead="e2e/test_from_the_ui.py::test_a_backfill_of_some_users_serves_these_with_the_documented_configuration",
)
def test_a_backfill_of_everything_that_has_users_records_each_asset_and_user_once(console: Console):
    home, assets = console.home, assets_of_users()
    everyone, before = home.everyone(), {asset: versions(home, asset) for asset in assets}
    assert len(assets) > 5 and len(everyone) == 4
    done = console.backfill(*assets)
    assert (done.status, done.errors) == (SERVED, [])
    for asset in assets:
        assert len(set(before[asset].values())) == len(everyone) or asset not in CHAIN, f"{asset}: no two are alike"
        assert_recorded(home, done.events(asset), everyone, asset)
        assert versions(home, asset) == before[asset], f"{asset}: nothing has changed"
        assert status_of(home, asset) == dict.fromkeys(everyone, "MATERIALIZED")
        assert set(console.checks_of(asset).values()) <= {"SUCCEEDED"}, asset


def test_a_backfill_of_some_users_serves_these_with_the_documented_configuration(console: Console):
    everyone, config = console.home.everyone(), {"ops": {asset: {"config": {"recompute": True}} for asset in CHAIN}}
    users = [everyone[0], everyone[2]]
    done = console.backfill(*CHAIN, users=users, runConfigData=config)
    assert (done.status, len(done.runs)) == (SERVED, 2), "one run for each range without a gap"
    for asset in CHAIN:
        assert_recorded(console.home, done.events(asset), users, asset)
        assert not any("unchanged_since" in one.metadata for one in done.events(asset)), "it is computed again"


def test_a_backfill_in_which_one_user_fails_says_so_and_records_the_others(
    console: Console, monkeypatch: pytest.MonkeyPatch
):
    home, original = console.home, recommendations._recommendation_row

    def broken(user: Any, *more: Any) -> Any:
        if user.name == UNLUCKY:
            raise RuntimeError("no rule for this one")
        return original(user, *more)

    monkeypatch.setattr(recommendations, "_recommendation_row", broken)
    others = [user for user in home.everyone() if user != UNLUCKY]
    home.daily_checks()
    config = {"ops": {"recommendations": {"config": {"recompute": True}}}}
    done = console.backfill(*CHAIN, runConfigData=config)
    assert done.status == FAILED
    assert_recorded(home, done.events("taste_profiles"), home.everyone(), "taste_profiles")
    assert_recorded(home, done.events("recommendations"), others, "recommendations")
    assert status_of(home, "recommendations") == {UNLUCKY: "FAILED"} | dict.fromkeys(others, "MATERIALIZED")
    assert "SKIPPED" not in console.checks_of("recommendations").values()


def test_checks_run_with_one_partition_and_are_about_everybody(console: Console):
    home = console.home
    user, other = home.everyone()[:2]
    home.rows(
        "INSERT INTO watch_state SELECT user_id, 999999, work_id, false, true, 1, 1, now(), false, '2020-01-01' "
        "FROM recommendations JOIN users USING (user_id) WHERE name = :name LIMIT 1 RETURNING 1",
        name=other,
    )
    run = console.materialize("recommendations", partition=user)
    assert run.is_success and RANGE_START_TAG not in run.tags
    assert_recorded(home, materialized(home, run.run_id), [user], "recommendations")
    assert console.checks_of("recommendations") == dict.fromkeys(console.checks_of("recommendations"), "SUCCEEDED") | {
        "hold_nothing_watched": "FAILED"
    }


@pytest.mark.nightly(
    reason="Three jobs as processes of Dagster.",
    instead="e2e/test_from_the_ui.py::test_a_backfill_of_everything_that_has_users_records_each_asset_and_user_once",
)
def test_a_job_that_is_launched_without_a_partition_serves_everybody(console: Console):
    home, everyone = console.home, console.home.everyone()
    # Of each scope, the one that makes most.
    scopes: dict[str, Job] = {}
    for job in sorted(all_jobs(home.settings), key=lambda job: len(job.assets)):
        scopes[job.scope] = job
    assert scopes.pop("all") and {"users", "day"} <= scopes.keys()
    for job in scopes.values():
        run = console.launch(job.name)
        assert run.is_success, (job.name, why_failed(home, run.run_id))
        recorded: dict[str, list[dg.AssetMaterialization]] = {}
        for one in materialized(home, run.run_id):
            recorded.setdefault(one.asset_key.to_user_string(), []).append(one)
        assert set(recorded) == set(job.assets), job.name
        for asset in job.assets:
            if asset in assets_of_users():
                assert_recorded(home, recorded[asset], everyone, f"{job.name}: {asset}")
            else:
                assert len(recorded[asset]) == 1, f"{job.name}: {asset}"
        if job.scope == "day":
            today = datetime.now(UTC).date().isoformat()
            assert [one.partition for one in recorded["top_picks"]] == [today]
            assert run.tags[RANGE_START_TAG] == run.tags[RANGE_END_TAG] == today
        else:
            # Whoever asks whether a user is being served looks at these.
            assert (run.tags[RANGE_START_TAG], run.tags[RANGE_END_TAG]) == (everyone[0], everyone[-1]), job.name


def test_a_job_for_everybody_says_what_to_do_while_nobody_takes_part(household: Any):
    with household(small_world(movies=1)) as (_, home), console_of(home) as console:
        run = console.launch("generate_recommendations")
        assert run.status == dg.DagsterRunStatus.FAILURE
        said = " ".join(str(one.dagster_event) for one in home.instance.all_logs(run.run_id))
        assert "No users take part yet: run sync_users." in said


def test_a_run_that_failed_is_resumed_where_it_failed_and_none_sends_or_writes_anything_elsewhere(
    household: Any, tmp_path: Path
):
    """Whoever can start a run, a page in a browser included, cannot have a key sent to another address."""
    world = small_world(movies=3, users=1, plays=2)
    with (
        listening() as listener,
        household(world, after=("sync_users", "sync_movies"), http_attempts=1) as (simulator, home),
        console_of(home) as console,
    ):
        simulator.state.add_fault(FaultRule("jellyfin", "includeItemTypes=Episode"))
        first = console.launch("sync_series")
        simulator.state.clear_faults()
        again = console.resume(first)

        def steps(run: dg.DagsterRun) -> set[str]:
            return {one.asset_key.to_user_string() for one in materialized(home, run.run_id)}

        assert not first.is_success and (steps(first), steps(again)) == ({"series"}, {"episodes"})
        elsewhere, known = tmp_path / "elsewhere", len(home.instance.get_runs())
        for resource, config in (
            # The folder for what passes between steps.
            ("io_manager", {"base_dir": str(elsewhere)}),
            ("media_servers", {"media_server_url": listener.url}),
            ("services", {"tmdb_url": listener.url}),
        ):
            console.launch_with("sync_users", {"resources": {resource: {"config": config}}})
        assert not elsewhere.exists() and listener.received == []
        assert all(run.is_success for run in home.instance.get_runs()[:-known])
