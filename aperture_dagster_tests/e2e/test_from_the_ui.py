"""What is started in the UI: backfills, assets with their checks, and jobs, for all users, for some, or for nobody."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import dagster as dg
import pytest

from aperture_dagster.build import all_jobs
from aperture_dagster.defs.users import VERSION_TAG
from aperture_dagster.partitions import RANGE_END_TAG, RANGE_START_TAG, users_partitions
from aperture_dagster.simulator.world import Play
from aperture_dagster_tests.defs.shared import definitions_of
from aperture_dagster_tests.e2e.console import Console, console_of, job_of, materialized, why_failed
from aperture_dagster_tests.household import Household

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


def status(home: Household, asset: str) -> dict[str, str]:
    """The status of each user's partition, as the UI shows it."""
    found = home.instance.get_status_by_partition(dg.AssetKey(asset), home.everyone(), users_partitions)
    return {key: state.value for key, state in (found or {}).items() if state is not None}


def assert_recorded(home: Household, events: list[dg.AssetMaterialization], users: list[str], about: str) -> None:
    """Assert that each of the users is recorded once, with a page and a data version, and nothing else is."""
    assert [one.partition for one in events] == users, about
    for one in events:
        assert one.metadata["user"].value == one.partition, about
        assert len((one.tags or {})[VERSION_TAG]) != 64, (
            f"{about}: a version of Dagster's own is the same for everybody"
        )


def test_a_backfill_of_all_users_succeeds_and_records_each_user_once(console: Console):
    home = console.home
    everyone, assets = home.everyone(), assets_of_users()
    assert len(assets) > 5 and len(everyone) == 4
    for asset in assets:
        before = versions(home, asset)
        assert set(before) == set(everyone), asset
        done = console.backfill(asset, users=everyone)
        assert (done.status, done.errors) == (SERVED, []), asset
        assert len(set(before.values())) == len(everyone) or asset not in CHAIN, f"{asset}: no two are alike"
        assert len(done.runs) == 1, f"{asset}: one run serves all"
        assert_recorded(home, done.events(asset), everyone, asset)
        assert versions(home, asset) == before, f"{asset}: nothing has changed"
        assert status(home, asset) == dict.fromkeys(everyone, "MATERIALIZED")
        assert set(console.checks_of(asset).values()) <= {"SUCCEEDED"}, asset


def test_a_backfill_of_everything_that_has_users_records_each_asset_and_user_once(console: Console):
    home, assets = console.home, assets_of_users()
    everyone, before = home.everyone(), {asset: versions(home, asset) for asset in assets}
    done = console.backfill(*assets)
    assert (done.status, done.errors) == (SERVED, [])
    for asset in assets:
        assert_recorded(home, done.events(asset), everyone, asset)
        assert versions(home, asset) == before[asset], asset


def test_everything_is_computed_again_by_a_backfill_with_the_documented_configuration(console: Console):
    home = console.home
    everyone, config = home.everyone(), {"ops": {asset: {"config": {"recompute": True}} for asset in CHAIN}}
    done = console.backfill(*CHAIN, users=everyone, runConfigData=config)
    assert done.status == SERVED and len(done.runs) == 1
    for asset in CHAIN:
        assert_recorded(home, done.events(asset), everyone, asset)
        assert not any("unchanged_since" in one.metadata for one in done.events(asset)), "it is computed again"


def test_a_backfill_of_some_users_serves_these(console: Console):
    everyone = console.home.everyone()
    for chosen, runs in (((1, 2), 1), ((1,), 1), ((0, 2), 2)):
        users = [everyone[number] for number in chosen]
        done = console.backfill(*CHAIN, users=users)
        assert (done.status, len(done.runs)) == (SERVED, runs), users
        for asset in CHAIN:
            assert_recorded(console.home, done.events(asset), users, asset)


@pytest.fixture
def unlucky(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the list of one user fail from now on."""
    module = import_module("aperture_dagster.taste.recommendations")
    original = module._recommendation_row

    def broken(user: Any, *more: Any) -> Any:
        if user.name == UNLUCKY:
            raise RuntimeError("no rule for this one")
        return original(user, *more)

    monkeypatch.setattr(module, "_recommendation_row", broken)


@pytest.mark.usefixtures("unlucky")
def test_a_backfill_in_which_one_user_fails_says_so_and_records_the_others(console: Console):
    home = console.home
    others = [user for user in home.everyone() if user != UNLUCKY]
    home.daily_checks()
    config = {"ops": {"recommendations": {"config": {"recompute": True}}}}
    done = console.backfill(*CHAIN, runConfigData=config)
    assert done.status == FAILED
    assert_recorded(home, done.events("taste_profiles"), home.everyone(), "taste_profiles")
    assert_recorded(home, done.events("recommendations"), others, "recommendations")
    assert status(home, "recommendations") == {UNLUCKY: "FAILED"} | dict.fromkeys(others, "MATERIALIZED")
    assert set(console.checks_of("taste_profiles").values()) == {"SUCCEEDED"}
    assert "SKIPPED" not in console.checks_of("recommendations").values()


def test_the_page_of_the_household_follows_a_backfill(console: Console):
    home, user = console.home, console.home.everyone()[0]
    overview = dg.AssetKey("household_overview")
    at, cursor = datetime.now(UTC), None

    def requested() -> bool:
        nonlocal at, cursor
        # Changes wait for the next hour.
        at += timedelta(hours=1)
        result = dg.evaluate_automation_conditions(home.definitions, home.instance, cursor=cursor, evaluation_time=at)
        cursor = result.cursor
        return bool(result.get_num_requested(overview))

    requested()
    assert not requested(), "it has come to rest"
    film = next(title for title in console.world.titles if title.title == home.titles_for(user)[0])
    console.simulator.state.play(Play(user, film.key, datetime.now(UTC)))
    home.must("sync_watch_history", users=home.everyone())
    assert console.backfill(*CHAIN).status == SERVED
    assert film.title not in home.titles_for(user)
    assert requested()


def test_checks_run_with_one_partition_and_are_about_everybody(console: Console):
    home = console.home
    user, other = home.everyone()[:2]
    checked = [asset for asset in assets_of_users() if console.checks_of(asset)]
    assert len(checked) > 5
    for asset in checked:
        run = console.materialize(asset, partition=user)
        assert run.is_success and RANGE_START_TAG not in run.tags, asset
        assert_recorded(home, materialized(home, run.run_id), [user], asset)
        assert set(console.checks_of(asset).values()) == {"SUCCEEDED"}, asset
    home.rows(
        "INSERT INTO watch_state SELECT user_id, 999999, work_id, false, true, 1, 1, now(), false, '2020-01-01' "
        "FROM recommendations JOIN users USING (user_id) WHERE name = :name LIMIT 1 RETURNING 1",
        name=other,
    )
    console.materialize("recommendations", partition=user)
    assert console.checks_of("recommendations") == dict.fromkeys(console.checks_of("recommendations"), "SUCCEEDED") | {
        "hold_nothing_watched": "FAILED"
    }


def test_a_job_that_is_launched_without_a_partition_serves_everybody(console: Console):
    home, everyone = console.home, console.home.everyone()
    jobs = [job for job in all_jobs(home.settings) if job.scope != "all"]
    assert len(jobs) > 5
    for job in jobs:
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


def test_a_job_that_is_executed_without_a_partition_in_a_terminal_serves_everybody(console: Console):
    with dg.execute_job(job_of(console.home, "generate_recommendations"), console.instance) as result:
        assert result.success
    for asset in CHAIN:
        events = [one for one in materialized(console.home, result.run_id) if one.asset_key == dg.AssetKey(asset)]
        assert_recorded(console.home, events, console.home.everyone(), asset)


def test_a_job_without_partitions_is_launched_as_it_is(console: Console):
    for job in ("run_daily_checks", "refresh_household_overview"):
        run = console.launch(job)
        assert run.is_success and RANGE_START_TAG not in run.tags, job


def test_a_job_for_everybody_says_what_to_do_while_nobody_takes_part(household: Any):
    from aperture_dagster_tests.e2e.worlds import small_world

    with household(small_world(movies=1)) as (_, home), console_of(home) as console:
        run = console.launch("generate_recommendations")
        assert run.status == dg.DagsterRunStatus.FAILURE
        said = " ".join(str(one.dagster_event) for one in home.instance.all_logs(run.run_id))
        assert "No users take part yet: run sync_users." in said
