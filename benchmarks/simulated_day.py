"""A day in fast forward: every schedule at its time, then another day on which the media server is down for a while.

    python benchmarks/simulated_day.py [--users 12] [--movies 300] [--series 30]

Installs a household on the stand-ins in the evening, and lets Dagster's own daemons work through two days by a
simulated clock. On the first, which is quiet, every job must run once at its time, in the order of the clock, every run
must succeed, and nothing may be made twice. On the second the media server is down from 03:00 to 06:00: only what reads
it may fail, with a sentence that says so; a play of that night is in the history afterwards, and everything is well
again by itself. Jobs are known by their schedules, so a new one is part of this without a line here.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.scheduler.instigation import TickStatus
from verdict import Verdict
from week.daemons import Daemons, SimulatedTime, definitions, failures, open_instance, until_quiet
from week.household import FIRST_ID, PROJECT, Happening, StandIns, environment

from aperture_dagster.partitions import users_partitions

HOURS_DOWN = (3, 6)
# Every job that failed has its turn again, and the retries and checks of automation.
AFTERWARDS = timedelta(hours=3)
# What asks the media server. The libraries do only where publishing is on.
READS_THE_SERVER = {"sync_users", "sync_movies", "sync_series", "sync_watch_history"}
PER_USER = ("watch_history", "taste_profiles", "recommendations", "shows_you_watch")
SCHEDULE_TAG = "dagster/schedule_name"


class House:
    """A household, and the daemons that work for it."""

    def __init__(self, stand_ins: StandIns, daemons: Daemons) -> None:
        self.stand_ins, self.daemons, self.instance = stand_ins, daemons, daemons.instance
        self.moment = daemons.clock.now()

    def live(self, until: datetime, happenings: list[Happening]) -> list[dg.DagsterRun]:
        """Let the daemons work until then, a minute past each half hour; return the runs.

        Without a run there is nothing new to look at, but once an hour for what has a time of its own.
        """
        self.daemons.runs.clear()
        while self.moment < until:
            self.moment += timedelta(minutes=30)
            while happenings and happenings[0].at <= self.moment:
                self.stand_ins.apply(happenings.pop(0))
            self.daemons.clock.move_to(self.moment)
            before = len(self.daemons.runs)
            self.daemons.start_schedules()
            if len(self.daemons.runs) > before or (self.moment.minute < 30 and self.daemons.look()):
                until_quiet(self.daemons)
            print(f"{self.moment:%a %H:%M}: {len(self.daemons.runs) - before} runs", flush=True)
        return list(self.daemons.runs)

    def ticks(self, midnight: datetime) -> dict[str, list[Any]]:
        """The ticks of each job's schedule on a day, in order."""
        day = range(int(midnight.timestamp()), int(midnight.timestamp()) + 24 * 3600)
        found: dict[str, list[Any]] = {}
        for state in self.instance.all_instigator_state():
            if state.instigator_type.value != "SCHEDULE":
                continue
            ticks = self.instance.get_ticks(state.instigator_origin_id, state.selector_id)
            new = [tick for tick in ticks if int(tick.timestamp) in day]
            job = state.instigator_name.removesuffix("_schedule")
            found[job] = sorted(new, key=lambda tick: tick.timestamp)
        return found

    def made(self, runs: list[dg.DagsterRun]) -> Counter[tuple[str, str | None]]:
        """How many runs made each asset, per partition."""
        made: Counter[tuple[str, str | None]] = Counter()
        for run in runs:
            events = self.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
            done = [event.asset_materialization for event in events if event.asset_materialization is not None]
            made.update({(one.asset_key.to_user_string(), one.partition) for one in done})
        return made


def simulate(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Live through both days, and return what happened."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.ERROR)
    today = datetime.now(UTC)
    midnight = (today + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    clock = SimulatedTime(midnight - timedelta(hours=3, minutes=29))
    clock.install()
    stand_ins = StandIns(folder, movies=options.movies, series=options.series, users=options.users)
    os.environ.update(stand_ins.environment)
    try:
        with open_instance() as instance:
            house = House(stand_ins, Daemons(instance, clock))
            installed = house.live(midnight, [])
            quiet = house.live(midnight + timedelta(days=1), [])
            first = _quiet_day(house, quiet, midnight)
            first["failed_before"] = _failed(house, installed)
            second = _day_with_an_outage(house, midnight + timedelta(days=1))
            return {"quiet": first, "outage": second}
    finally:
        stand_ins.stop()


def _failed(house: House, runs: list[dg.DagsterRun]) -> list[str]:
    return [failures(house.instance, run) for run in runs if run.status != dg.DagsterRunStatus.SUCCESS]


def _jobs() -> dict[str, str]:
    """The crons of the schedules by job."""
    schedules = definitions().get_repository_def().schedule_defs
    return {schedule.job_name: str(schedule.cron_schedule) for schedule in schedules}


def _quiet_day(house: House, runs: list[dg.DagsterRun], midnight: datetime) -> dict[str, Any]:
    ticks, made = house.ticks(midnight), house.made(runs)
    scheduled = [run for run in runs if SCHEDULE_TAG in run.tags]
    daily = {job: cron for job, cron in _jobs().items() if cron.split()[1].isdigit() and cron.split()[4] == "*"}
    at = {job: (int(cron.split()[1]), int(cron.split()[0])) for job, cron in daily.items()}
    order = list(dict.fromkeys(run.job_name for run in scheduled if run.job_name in daily))
    skipped = {job: ticks[job][0].skip_reason for job in daily if ticks[job] and not ticks[job][0].run_ids}
    wrong_ticks = {
        job: len(ticks[job])
        for job, cron in _jobs().items()
        if cron.split()[4] == "*" and len(ticks[job]) != _turns(cron)
    }
    return {
        "runs": dict(Counter(run.job_name for run in runs)),
        "order": order,
        "in_order": order == sorted(order, key=lambda job: at[job]),
        "skipped": skipped,
        "daily_jobs": sorted(daily),
        "run_twice": sorted(job for job in daily if sum(run.job_name == job for run in scheduled) > 1),
        "made_twice": sorted({f"{asset} {partition or ''}".strip() for (asset, partition), n in made.items() if n > 1}),
        "wrong_ticks": wrong_ticks,
        "failed_ticks": sum(tick.status == TickStatus.FAILURE for some in ticks.values() for tick in some),
        "failed": _failed(house, runs),
    }


def _turns(cron: str) -> int:
    """How often a cron comes in a day."""
    minute, hour, *_ = cron.split()
    times = 1 if minute.isdigit() else 60 // int(minute.removeprefix("*/"))
    return times * (1 if hour.isdigit() else 24 // int(hour.removeprefix("*/")) if hour != "*" else 24)


def _day_with_an_outage(house: House, midnight: datetime) -> dict[str, Any]:
    down, up = (midnight + timedelta(hours=hour) for hour in HOURS_DOWN)
    user = house.stand_ins.users()[0]
    played = {"user": user, "played_at": (down - timedelta(minutes=5)).isoformat(), "title_key": f"movie:{FIRST_ID}"}
    just_before = down - timedelta(minutes=1)
    house_is_down = {"service": "jellyfin", "status": 503}
    house.live(down - timedelta(minutes=30), [])
    before = house.instance.get_latest_materialization_event(dg.AssetKey("users"))
    night = house.live(
        up - timedelta(minutes=30),
        [Happening(just_before, "play", played), Happening(just_before, "add_fault", house_is_down)],
    )
    during = house.instance.get_latest_materialization_event(dg.AssetKey("users"))
    rest = house.live(up + AFTERWARDS, [Happening(up - timedelta(minutes=1), "clear_faults", {})])
    failed = [run for run in night if run.status != dg.DagsterRunStatus.SUCCESS]
    last = {job: house.instance.get_runs(dg.RunsFilter(job_name=job), limit=1) for job in _jobs()}
    users = house.instance.get_dynamic_partitions("users")
    statuses = {
        asset: house.instance.get_status_by_partition(dg.AssetKey(asset), users, users_partitions) or {}
        for asset in PER_USER
    }
    left = [
        f"{asset} {user}"
        for asset, status in statuses.items()
        for user in users
        if (found := status.get(user)) is not None and found.value == "FAILED"
    ]
    return {
        "runs": dict(Counter(run.job_name for run in night)),
        "failed_jobs": sorted({run.job_name for run in failed}),
        "others_failed": [failures(house.instance, run) for run in failed if run.job_name not in READS_THE_SERVER],
        "without_reason": [
            text for run in failed if "503" not in (text := failures(house.instance, run)) and "Jellyfin" not in text
        ],
        "example": failures(house.instance, failed[0]) if failed else "",
        "users_made_while_down": before is not None and during is not None and before.timestamp != during.timestamp,
        "failed_ticks": sum(
            tick.status == TickStatus.FAILURE for some in house.ticks(midnight).values() for tick in some
        ),
        "failed_after": _failed(house, rest),
        "not_well": sorted(job for job, runs in last.items() if runs and runs[0].status != dg.DagsterRunStatus.SUCCESS),
        "failed_partitions": left,
        "play_is_read": _play_is_read(down - timedelta(minutes=5)),
    }


def _play_is_read(played_at: datetime) -> bool:
    from sqlalchemy import text

    from aperture_dagster.postgres.database import Database
    from aperture_dagster.settings import load_settings

    with Database(load_settings()).transaction() as connection:
        statement = text(
            "SELECT count(*) FROM plays WHERE played_at BETWEEN :at - interval '1 s' AND :at + interval '1 s'"
        )
        return bool(connection.execute(statement, {"at": played_at}).scalar())


def judge(days: dict[str, Any]) -> int:
    """Print what was promised and whether it was kept; return the exit code."""
    quiet, outage = days["quiet"], days["outage"]
    print("quiet day:", ", ".join(f"{job} {count}" for job, count in sorted(quiet["runs"].items())))
    for job, reason in quiet["skipped"].items():
        print(f"  skipped: {job}: {reason}")
    print("night of the outage:", ", ".join(f"{job} {count}" for job, count in sorted(outage["runs"].items())))
    print(f"  {outage['example'][:300]}")
    ran_or_skipped = set(quiet["order"]) | set(quiet["skipped"])
    ask_for_users = {"sync_users", "sync_watch_history"}
    promises = {
        "every run of the quiet day is green": not quiet["failed"] and not quiet["failed_before"],
        "the nightly jobs start in the order of the clock": quiet["in_order"] and bool(quiet["order"]),
        "every nightly job ran or says why not": set(quiet["daily_jobs"]) == ran_or_skipped,
        "no nightly job runs twice": not quiet["run_twice"],
        "nothing is made twice": not quiet["made_twice"],
        "every schedule has its turns": not quiet["wrong_ticks"],
        "no tick fails": not quiet["failed_ticks"] + outage["failed_ticks"],
        "with the media server down, what reads it fails": ask_for_users <= set(outage["failed_jobs"]),
        "… with the reason": not outage["without_reason"],
        "… and changes nothing": not outage["users_made_while_down"],
        "… and nothing else fails": not outage["others_failed"],
        "afterwards no run fails": not outage["failed_after"],
        "the last run of every job is green": not outage["not_well"],
        "no user is left failed": not outage["failed_partitions"],
        "the play of that night is in the history": outage["play_is_read"],
    }  # fmt: skip
    verdict = Verdict()
    for promise, kept in promises.items():
        verdict.holds(promise, kept)
    if verdict.missed:
        print(json.dumps(days, indent=1))
    return verdict.close()


def main() -> int:
    """Simulate in a process of its own, print, and return 0 when every promise was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=12)
    parser.add_argument("--movies", type=int, default=300)
    parser.add_argument("--series", type=int, default=30)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        (options.inside / "days.json").write_text(json.dumps(simulate(options.inside, options)), encoding="utf-8")
        return 0
    with tempfile.TemporaryDirectory(prefix="aperture-day-", ignore_cleanup_errors=True) as folder:
        # The clock is simulated, waits are not.
        waits = {"HTTP_ATTEMPTS": "2", "HTTP_RETRY_WAIT_SECONDS": "0.01", "STEP_RETRIES": "0"}
        inside = environment(Path(folder), **{f"APERTURE_{name}": value for name, value in waits.items()})
        command = [sys.executable, str(Path(__file__).resolve()), "--inside", folder]
        command += [f"--{name}={getattr(options, name)}" for name in ("users", "movies", "series")]
        subprocess.run(command, env=inside, cwd=PROJECT, check=True)
        return judge(json.loads((Path(folder) / "days.json").read_text(encoding="utf-8")))


if __name__ == "__main__":
    sys.exit(main())
