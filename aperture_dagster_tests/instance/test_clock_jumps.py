"""After a clock that was ahead: Dagster's own daemons on our storage tick again at once, and one that runs restarts."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import freeze_time
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.asset_daemon import AssetDaemon
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._daemon.types import DaemonHeartbeat
from dagster._scheduler.scheduler import launch_scheduled_runs

from aperture_dagster.instance import run_storage
from aperture_dagster.instance.purge import Retention, purge
from aperture_dagster.instance.wrong_clock import MOST_SET_BACK_SECONDS, future_dates, watch_clock
from aperture_dagster.settings import Settings
from aperture_dagster_tests.marks import ANOTHER_CASE
from aperture_dagster_tests.waiting import wait_for

START = datetime(2026, 5, 17, 1, 10, tzinfo=UTC)
HOUR, DAY, YEAR = timedelta(hours=1), timedelta(days=1), timedelta(days=365)
MINUTE = timedelta(minutes=1)


@dg.asset
def films() -> None: ...


# With `since_last_handled()`, a result that is dated in the future would hold up the check until that date.
DAILY = dg.AutomationCondition.cron_tick_passed("30 8 * * *") & ~dg.AutomationCondition.newly_requested()


@dg.asset_check(asset=films, automation_condition=DAILY)
def are_fresh() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


@dg.sensor(job_name="work", minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
def looks(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    return dg.SensorResult(skip_reason="Nothing is new.", cursor=str(int(context.cursor or 0) + 1))


def schedule(name: str, cron: str) -> dg.ScheduleDefinition:
    @dg.schedule(name=name, job_name="work", cron_schedule=cron, default_status=dg.DefaultScheduleStatus.RUNNING)
    def evaluate() -> dg.SkipReason:
        return dg.SkipReason("Only the time counts.")

    return evaluate


definitions = dg.Definitions(
    assets=[films],
    asset_checks=[are_fresh],
    jobs=[dg.define_asset_job("work", selection=[films])],
    schedules=[schedule("half_hourly", "*/30 * * * *"), schedule("nightly", "30 2 * * *")],
    sensors=[
        looks,
        dg.AutomationConditionSensorDefinition(
            "automation",
            target=dg.AssetSelection.all(),
            default_status=dg.DefaultSensorStatus.RUNNING,
            minimum_interval_seconds=60,
        ),
    ],
)


class Daemon:
    """Dagster's daemon, by a clock that the test sets."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        target = LoadableTargetOrigin(executable_path=sys.executable, module_name=__name__, attribute="definitions")
        origin = InProcessCodeLocationOrigin(target, location_name="aperture")
        self._context = WorkspaceProcessContext(instance, InProcessWorkspaceLoadTarget(origin))
        self._times: dict[str, Any] = {}
        self.now = START

    def look(self, moment: datetime) -> None:
        """One turn of each loop at this time."""
        log = logging.getLogger("test")
        self.now = moment
        with freeze_time(moment):
            found = [*launch_scheduled_runs(self._context, log, moment, self._times)]
            found += [*execute_sensor_iteration(self._context, log, None, None)]
            AssetDaemon({}, 30)._run_iteration_impl(self._context, None, {}, {})
            assert not [error for error in found if error is not None]

    def restart(self) -> None:
        """Forget what the daemon keeps in memory."""
        self._times = {}

    def state(self, name: str) -> Any:
        """The state of a sensor or schedule."""
        (found,) = (one for one in self.instance.all_instigator_state() if one.instigator_name == name)
        return found

    def looked(self) -> int:
        """How often the sensor has looked."""
        return int(self.state("looks").instigator_data.cursor)

    def ticks(self, name: str, *, since: datetime | None = None) -> list[datetime]:
        """The times of the ticks of a schedule or sensor, in order, as they are shown at the time of the last look."""
        state = self.state(name)
        with freeze_time(self.now):
            ticks = self.instance.get_ticks(state.instigator_origin_id, state.selector_id)
        times = sorted(datetime.fromtimestamp(tick.timestamp, UTC) for tick in ticks)
        return [one for one in times if since is None or one >= since]

    def checks(self) -> int:
        """How often the check was requested."""
        return len(self.instance.get_runs(dg.RunsFilter(job_name="__ASSET_JOB")))


@pytest.fixture
def daemon(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    # Each tick would open an instance of its own, which takes long.
    monkeypatch.setattr(dg.DagsterInstance, "from_ref", lambda _: nullcontext(instance))
    yield Daemon(instance)


@pytest.mark.parametrize(
    ("ahead", "installed"),
    [
        pytest.param(HOUR, True, marks=ANOTHER_CASE),
        pytest.param(YEAR, True, marks=ANOTHER_CASE),
        (YEAR, False),
    ],
    ids=["hour", "year", "installed-while-it-was-a-year-ahead"],
)
def test_after_a_clock_that_was_ahead_sensors_schedules_and_automation_go_on_at_once(
    daemon: Daemon, ahead: timedelta, installed: bool
):
    if installed:
        daemon.look(START - 2 * DAY)
        daemon.look(START - MINUTE)
    daemon.restart()
    for minutes in (0, 25, 100):
        daemon.look(START + ahead + minutes * MINUTE)
    # What Dagster knows of the check is dated in the future, too.
    with freeze_time(START + ahead + 101 * MINUTE):
        daemon.instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(asset_key=films.key, check_name="are_fresh", passed=True, metadata={})
        )
    daemon.restart()
    before, requested = daemon.looked(), daemon.checks()
    # The clock is right again.
    daemon.look(START + 10 * MINUTE)
    assert daemon.looked() == before + 1, "the sensor looks at once"
    daemon.look(START + 10.5 * MINUTE)
    assert daemon.looked() == before + 1, "and then in its own time"
    daemon.look(START + 21 * MINUTE)
    assert daemon.looked() == before + 2
    assert len(daemon.ticks("automation", since=START + 10 * MINUTE)) == 2, "automation looks, too"
    assert daemon.ticks("half_hourly")[-1] == START + 20 * MINUTE
    if not installed:
        assert daemon.ticks("half_hourly") == [START + 20 * MINUTE], "what was switched on just now has missed nothing"
    # Of a clock that was an hour ahead, the times of this night are those of ticks that there have been.
    daemon.look(night := datetime(2026, 5, 17, 2, 31, tzinfo=UTC))
    assert len(daemon.ticks("nightly", since=START)) == 1
    daemon.look(night + 6 * HOUR + 2 * MINUTE)
    assert daemon.checks() == requested + 1, "the daily check is requested"
    assert daemon.ticks("half_hourly")[-1] == datetime(2026, 5, 17, 8, 30, tzinfo=UTC)
    daemon.look(night + DAY)
    assert daemon.ticks("nightly")[-1] == night + DAY - MINUTE
    assert len(daemon.ticks("nightly", since=night + HOUR)) == 1, "not repeated for each missed time"


def test_on_a_server_in_a_zone_ahead_of_utc_nothing_is_dated_in_the_future(
    external: Settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    now = datetime.now(UTC)
    with dg.DagsterInstance.get() as instance:
        instance.add_daemon_heartbeat(DaemonHeartbeat(now.timestamp(), "SENSOR", "one", []))
        instance.report_runless_asset_event(dg.AssetMaterialization("films"))
        (found,) = instance.get_daemon_heartbeats().values()
        assert future_dates(instance, now=now) == []
        assert found.timestamp == pytest.approx(now.timestamp(), abs=1)


def test_ticks_of_a_wrong_clock_do_not_count_as_those_of_their_day_when_it_comes(daemon: Daemon):
    now = datetime.now(UTC).replace(hour=2, minute=0, second=0, microsecond=0)
    daemon.look(now)
    daemon.restart()
    daemon.look(now + YEAR + HOUR)
    daemon.restart()
    daemon.look(now + 5 * MINUTE)
    past = [*daemon.ticks("looks")]
    found = {one.what: one for one in future_dates(daemon.instance, now=now)}
    ticks = found["ticks of schedules and sensors"]
    assert ticks.rows == 4 and ticks.latest == now + YEAR + HOUR
    retention = Retention(logs=now - DAY, runs=now - DAY, now=now)
    freed = purge(daemon.instance, retention, location="of another program")
    assert next(one.rows for one in freed if one.part == "future_ticks") == 0
    freed = purge(daemon.instance, retention)
    assert next(one.rows for one in freed if one.part == "future_ticks") == ticks.rows
    assert daemon.ticks("looks") == past, "the others are kept"
    daemon.restart()
    daemon.look(now + YEAR + 31 * MINUTE)
    assert daemon.ticks("nightly")[-1] == now + YEAR + 30 * MINUTE


def test_a_clock_that_is_behind_deletes_and_changes_nothing_that_is_right(daemon: Daemon):
    for minutes in (0, 25):
        daemon.look(START + minutes * MINUTE)
    before, state = daemon.ticks("looks"), daemon.state("half_hourly")
    # A computer without a battery, until it has asked for the time.
    daemon.restart()
    daemon.look(START - YEAR)
    assert daemon.ticks("looks") == [START - YEAR]
    daemon.restart()
    daemon.look(START + 51 * MINUTE)
    assert set(before) < set(daemon.ticks("looks"))
    assert daemon.ticks("half_hourly", since=START) == [START + 20 * MINUTE, START + 50 * MINUTE]
    assert daemon.state("half_hourly").status == state.status


def test_the_daemon_ends_when_its_clock_is_set_back_and_only_then(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("aperture_dagster.instance.wrong_clock.LOOK_SECONDS", 0)
    year, asleep = YEAR.total_seconds(), 8 * 3600
    # Set forward, corrected a little, asleep (the other clock stands still), set back.
    ahead = [0, 0, year, year - MOST_SET_BACK_SECONDS / 2, year + asleep, asleep]
    left, ended = iter(ahead), list[bool]()
    watch_clock(lambda: next(left), lambda: ended.append(True))
    assert ended == [True] and list(left) == []
    assert "set back by 365 days" in caplog.text


def test_whoever_writes_heartbeats_watches_its_clock(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch):
    watched = list[bool]()
    monkeypatch.setattr(run_storage, "watch_clock", lambda: watched.append(True))
    run_storage._watch_clock_once.cache_clear()
    for _ in range(2):
        instance.add_daemon_heartbeat(DaemonHeartbeat(START.timestamp(), "SENSOR", "an id"))
    wait_for(lambda: watched, "the clock was not watched")
    assert watched == [True], "once, and by one thread"
    run_storage._watch_clock_once.cache_clear()
