"""Dagster's own scheduler works through days: changes of the clock, downtime, runs that take long, and trouble."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.scheduler.instigation import InstigatorTick, TickStatus
from dagster._core.test_utils import freeze_time
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._scheduler.scheduler import launch_scheduled_runs

from aperture_dagster.build import all_jobs
from aperture_dagster.defs.schedules import build_schedule
from aperture_dagster.jobs import Job
from aperture_dagster.model import Clock
from aperture_dagster.partitions import USERS
from aperture_dagster.settings import Settings
from aperture_dagster_tests.marks import ANOTHER_CASE
from aperture_dagster_tests.sensors.runs import add_run

SERVER = {"media_server_url": "http://127.0.0.1:9", "media_server_api_key": "key", "database_url": None}
HALF_PAST_TWO = (
    Job("by_night", "Probe.", ("probe",), cron="30 2 * * *"),
    Job("by_week", "Probe.", ("probe",), cron="30 2 * * 0"),
)

SOME_OF_EACH = frozenset(("sync_watch_history", "enrich_metadata", "sync_movies", "evaluate_recommendations"))
"""Jobs of every few hours, in and after the night's odd hour, and of once a week."""

_loaded: list[dg.Definitions] = []


def definitions() -> dg.Definitions:
    """What the scheduler loads: the definitions of the test."""
    return _loaded[-1]


class Scheduler:
    """The scheduler of Dagster's daemon, by a clock that the test sets; runs stay in the queue until they are ended."""

    def __init__(self, instance: dg.DagsterInstance, settings: Settings) -> None:
        self.instance, self.settings = instance, settings
        target = LoadableTargetOrigin(executable_path=sys.executable, module_name=__name__, attribute="definitions")
        origin = InProcessCodeLocationOrigin(target, location_name="aperture")
        self._context = WorkspaceProcessContext(instance, InProcessWorkspaceLoadTarget(origin))
        self._times: dict[str, Any] = {}

    def at(self, moment: datetime) -> None:
        """One look of the daemon at this time."""
        with freeze_time(moment):
            looks = launch_scheduled_runs(self._context, logging.getLogger("test"), moment, self._times)
            assert not [error for error in looks if error is not None]

    def restart(self) -> None:
        """Forget what the daemon keeps in memory."""
        self._times = {}

    def end_runs(self) -> None:
        """End all runs that are queued."""
        for run in self.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED])):
            self.instance.report_run_canceled(run)

    def ticks(self, job: str) -> list[InstigatorTick]:
        """The ticks of a job's schedule, in order."""
        states = self.instance.all_instigator_state()
        (state,) = (one for one in states if one.instigator_name == f"{job}_schedule")
        return sorted(self.instance.get_ticks(state.instigator_origin_id, state.selector_id), key=lambda t: t.timestamp)

    def runs(self, job: str) -> list[dg.DagsterRun]:
        """The runs of a job."""
        return self.instance.get_runs(dg.RunsFilter(job_name=job))


@pytest.fixture
def scheduler(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[..., Scheduler]]:
    """Return a function that starts the scheduler of a household: the project's schedules, and two at half past two.

    The jobs do nothing and are always ready: what counts is when they start. ``only`` leaves out the other jobs.
    """
    # One file for the events of all runs: one for each would take longer than the rest.
    storages = {
        "run_storage": "dagster._core.storage.runs:SqliteRunStorage",
        "event_log_storage": "dagster._core.storage.event_log:ConsolidatedSqliteEventLogStorage",
        "schedule_storage": "dagster._core.storage.schedules:SqliteScheduleStorage",
    }
    overrides: dict[str, Any] = {
        part: dict(zip(("module", "class"), name.split(":"), strict=True)) | {"config": {"base_dir": str(tmp_path)}}
        for part, name in storages.items()
    }
    overrides["run_coordinator"] = {"module": "dagster._core.run_coordinator", "class": "QueuedRunCoordinator"}
    with dg.instance_for_test(overrides=overrides) as instance:
        # Each tick would open an instance of its own, which takes long, too.
        monkeypatch.setattr(dg.DagsterInstance, "from_ref", lambda _: nullcontext(instance))

        def starting(*, only: Collection[str] | None = None, **overrides: Any) -> Scheduler:
            settings = make_settings(**SERVER | overrides)

            @dg.asset
            def probe() -> None: ...

            scheduled = [job for job in all_jobs(settings) if job.cron is not None]
            jobs = [*HALF_PAST_TWO] + [
                Job(job.name, "Probe.", ("probe",), cron=job.cron)
                for job in scheduled
                if only is None or job.name in only
            ]
            _loaded.append(
                dg.Definitions(
                    assets=[probe],
                    jobs=[job.build() for job in jobs],
                    schedules=[build_schedule(job, settings, Clock(), (), {}) for job in jobs],
                )
            )
            instance.add_dynamic_partitions(USERS, ["Alma", "Bruno"])
            return Scheduler(instance, settings)

        yield starting
    _loaded.clear()


@pytest.mark.parametrize(
    "sunday", [date(2026, 3, 29), pytest.param(date(2026, 10, 25), marks=ANOTHER_CASE)], ids=["spring", "autumn"]
)
def test_what_runs_once_a_day_runs_once_on_the_days_when_the_clock_changes(scheduler, sunday: date):
    zone = "Europe/Berlin"
    here = ZoneInfo(zone)
    home = scheduler(only=SOME_OF_EACH, timezone=zone)
    moment = datetime(sunday.year, sunday.month, sunday.day, tzinfo=here).astimezone(UTC) - timedelta(minutes=15)
    # Through the night hour by hour, and through the morning until the last of the nightly jobs.
    for hour in (*range(6), 7, 9):
        home.at(moment + timedelta(hours=hour))
        home.end_runs()

    def on(job: str, day: date) -> int:
        times = [datetime.fromtimestamp(tick.timestamp, here) for tick in home.ticks(job)]
        return sum(one.date() == day for one in times)

    for job in ("sync_movies", "evaluate_recommendations", *(one.name for one in HALF_PAST_TWO)):
        assert on(job, sunday) == 1, job
        assert all(tick.status == TickStatus.SUCCESS for tick in home.ticks(job))
    assert len(home.runs("by_night")) == len(home.runs("by_week")) == 1
    for job, hours in (("sync_watch_history", 3), ("enrich_metadata", 7)):
        times = [tick.timestamp for tick in home.ticks(job)]
        assert max(after - before for before, after in pairwise(times)) <= hours * 3600


def test_what_was_missed_is_started_once(scheduler):
    chosen = SOME_OF_EACH | {"refresh_top_picks"}
    home = scheduler(only=chosen)
    start = datetime(2026, 5, 18, 0, 10, tzinfo=UTC)
    home.at(start)
    # Off for three days: nights, and hundreds of half hours.
    home.restart()
    moment = start + timedelta(days=3, hours=9)
    for _ in range(4):
        home.at(moment)
        moment += timedelta(minutes=1)
    jobs = Counter(run.job_name for run in home.instance.get_runs())
    # The turn of Sunday's jobs has not come.
    assert jobs == dict.fromkeys(chosen - {"evaluate_recommendations"} | {"by_night"}, 1)
    (tick,) = home.ticks("refresh_top_picks")
    assert datetime.fromtimestamp(tick.timestamp, UTC).date() == date(2026, 5, 21), "the list of today"


def test_a_schedule_waits_for_the_run_before_and_names_it(scheduler):
    home = scheduler(only=("sync_users",))
    first = datetime(2026, 5, 17, 0, 10, tzinfo=UTC)
    home.at(first)
    home.at(first + timedelta(minutes=25))
    (run,) = home.runs("sync_users")
    for status, word in (("QUEUED", "queued"), ("STARTED", "in progress")):
        if status == "STARTED":
            home.instance.report_engine_event("started", run)
            home.instance.handle_new_event(_event(run, dg.DagsterEventType.RUN_START))
        home.at(first + timedelta(minutes=55 if status == "QUEUED" else 85))
        tick = home.ticks("sync_users")[-1]
        assert tick.status == TickStatus.SKIPPED
        assert f"Run {run.run_id[:8]} of sync_users is still {word}." in (tick.skip_reason or "")
    assert len(home.runs("sync_users")) == 1
    home.instance.report_run_canceled(run)
    home.at(first + timedelta(minutes=115))
    assert len(home.runs("sync_users")) == 2


def _event(run: dg.DagsterRun, kind: dg.DagsterEventType) -> dg.EventLogEntry:
    event = dg.DagsterEvent(kind.value, run.job_name)
    moment = datetime(2026, 5, 17, tzinfo=UTC).timestamp()
    return dg.EventLogEntry(None, logging.DEBUG, "", run.run_id, moment, job_name=run.job_name, dagster_event=event)


def test_a_tick_that_was_interrupted_queues_the_run_that_it_created(scheduler):
    home = scheduler(only=("sync_movies",))
    home.at(datetime(2026, 5, 17, 1, 30, tzinfo=UTC))
    # A run that was created and never queued: as a killed daemon leaves it.
    add_run(home.instance, "sync_movies", "NOT_STARTED", **{"dagster/schedule_name": "sync_movies_schedule"})
    home.at(datetime(2026, 5, 17, 2, 1, tzinfo=UTC))
    assert [run.status.value for run in home.runs("sync_movies")] == ["QUEUED", "NOT_STARTED"]


def test_trouble_while_a_schedule_looks_costs_a_skip_with_the_reason_and_never_the_tick(
    scheduler, monkeypatch: pytest.MonkeyPatch
):
    home = scheduler(only=("sync_movies", "sync_series", "sync_users"))
    home.at(datetime(2026, 5, 17, 1, 30, tzinfo=UTC))
    fails = {"left": 1}

    def failing(*_: Any) -> None:
        fails["left"] -= 1
        if fails["left"] >= 0:
            raise OSError("the connection was lost")

    monkeypatch.setattr("aperture_dagster.defs.schedules.why_blocked", failing)
    home.at(datetime(2026, 5, 17, 2, 1, tzinfo=UTC))
    for job in ("sync_movies", "sync_series", "sync_users"):
        assert len(home.runs(job)) == 1, "the second look succeeds, whichever schedule it is"
    fails["left"] = 1000
    home.at(datetime(2026, 5, 17, 2, 31, tzinfo=UTC))
    (tick,) = home.ticks("by_night")
    assert tick.status == TickStatus.SKIPPED
    assert "Could not look whether by_night may start" in (tick.skip_reason or "")
    assert "the connection was lost" in (tick.skip_reason or "")
    assert "next time" in (tick.skip_reason or "")


def test_a_job_starts_at_the_time_of_the_settings_or_never_if_it_is_off(scheduler):
    home = scheduler(only=("sync_movies", "sync_series"), schedules={"sync_movies": "off", "sync_series": "0 4 * * *"})
    home.at(datetime(2026, 5, 17, 1, 30, tzinfo=UTC))
    home.at(datetime(2026, 5, 17, 2, 1, tzinfo=UTC))
    assert not home.runs("sync_movies") and not home.runs("sync_series")
    home.at(datetime(2026, 5, 17, 4, 1, tzinfo=UTC))
    assert not home.runs("sync_movies") and len(home.runs("sync_series")) == 1
    assert "sync_movies is off in APERTURE_SCHEDULES" in (home.ticks("sync_movies")[0].skip_reason or "")
