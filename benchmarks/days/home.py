"""A home of the quarter as a process of its own: Dagster's daemons and the product, by a simulated clock.

It reads commands from stdin, a JSON object per line, and answers each with a line on stdout:

- ``{"live": MOMENT, "look": BOOL, "victim": {"run": N, "after": SECONDS}, "points": [NAME]}``: work until nothing more
  is requested. The run with this number (counted in this command) is executed in a child process, which is killed. This
  process kills itself at the first of the points that it reaches.
- ``{"back_to": MOMENT}``: set the clock, also back.
- ``{"connect": {USER: TOKENS}}``: connect users to Trakt; the operator agrees to the first sync of each.
- ``{"room": BYTES}``: let no file that this process or its children write become larger, as on a full disk; null: any.
- ``{"sizes": true}``: the rows and bytes of every table, and the number and bytes of the files of each folder.
- ``{"ended": MOMENT}``: list the backups, and what is not well on the last day, which began then.

With ``--run RUN_ID MOMENT``, it executes that run and nothing else.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import subprocess
import sys
import time
import warnings
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import dagster as dg
from dagster._core.execution.api import execute_run_iterator
from dagster._daemon.auto_run_reexecution.event_log_consumer import EventLogConsumerDaemon
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration
from dagster._utils.hosted_user_process import recon_job_from_origin
from dagster_shared.error import SerializableErrorInfo
from sqlalchemy import text

import aperture_dagster.http.transport
import aperture_dagster.instance.dead_runs
import aperture_dagster.jobs
import aperture_dagster.model
import aperture_dagster.partitions
import aperture_dagster.publishing.server.polling
import aperture_dagster.sensors.outage
import aperture_dagster.trakt.answers
from aperture_dagster.catalogue.stored_users import users_of_partitions
from aperture_dagster.defs.ratings import SYNC_JOB
from aperture_dagster.instance.dead_runs import free_dead_slots, lost_runs, storage_with_locks
from aperture_dagster.instance.run_lock import unlock_run
from aperture_dagster.model import Clock
from aperture_dagster.partitions import USERS, users_partitions
from aperture_dagster.postgres.backup.folder import backup_folder, read_backups
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import load_settings
from aperture_dagster.taste.changes import find_changes, list_inputs, taste_inputs
from aperture_dagster.taste.embed import model_in_use
from aperture_dagster.taste.recommendations import ranking_configs, read_places, resting
from aperture_dagster.trakt.accounts import TraktAccounts
from aperture_dagster.trakt.records import parse_tokens
from days import daemons
from days.daemons import Daemons, SimulatedTime, failures, until_quiet
from days.growth import sizes_of
from days.points import PointKiller

CLOCK = "simulated-time"
# Which point it was killed at.
POINT = "point"
READY = "ready"
# PostgreSQL dates these by the real clock, months before the simulated one.
DATED = {
    "asset_check_executions": ("create_timestamp",),
    "asset_daemon_asset_evaluations": ("create_timestamp",),
    "runs": ("create_timestamp", "update_timestamp"),
}
DATE = """
    UPDATE {table} SET {column} = :now
    WHERE {column} BETWEEN timezone('UTC', now() - interval '2 hours') AND timezone('UTC', now())"""
PER_USER = ("watch_history", "taste_profiles", "recommendations", "shows_you_watch")
# A child needs seconds to import everything; a kill before that would hit nothing.
MOST_SECONDS_TO_START = 1800
LOOK_SECONDS = 0.1


def use_clock(clock: SimulatedTime) -> None:
    """Make Dagster and every part of the product use this clock."""
    clock.install()

    class Simulated(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return clock.now().astimezone(tz) if tz is not None else clock.now().replace(tzinfo=None)

    for module in (
        aperture_dagster.jobs, aperture_dagster.instance.dead_runs, aperture_dagster.partitions,
        aperture_dagster.model, aperture_dagster.http.transport,
        aperture_dagster.trakt.answers,
    ):  # fmt: skip
        module.datetime = Simulated  # type: ignore[attr-defined]
    # Sensors look a few times a day here, instead of every minute.
    aperture_dagster.sensors.outage.OUTAGE = timedelta(hours=11)
    # Nobody is back after a kill here.
    aperture_dagster.instance.dead_runs.LOOKS_EMBEDDED = 2
    # Of real seconds, which these days do not have: the stand-in reads a library within one of these.
    aperture_dagster.publishing.server.polling.POLL_SECONDS = 0.05


class HomeDaemons(Daemons):
    """All daemons, also those that end and repeat runs; a run may be given to a child process, and killed there."""

    def __init__(self, instance: dg.DagsterInstance, clock: SimulatedTime, folder: Path) -> None:
        super().__init__(instance, clock)
        self._repeats = EventLogConsumerDaemon()
        self._folder, self._settings = folder, load_settings()
        self.victim: dict[str, Any] | None = None
        self.launched = 0
        self.killed: list[str] = []
        self.errors: list[str] = []
        self.mistaken: list[str] = []

    def look(self) -> bool:
        """Let every daemon look once; an error of one of them does not end the others, as in a deployment."""
        (self._folder / CLOCK).write_text(self.clock.now().isoformat(), encoding="utf-8")
        return super().look()

    def exhaust(self, iteration: Any) -> None:
        """Let a daemon finish its iteration, and keep its errors."""
        for result in iteration:
            if isinstance(result, SerializableErrorInfo):
                self.errors.append(result.to_string()[-600:])

    def work(self) -> bool:
        """End dead runs, repeat them, and work through the queue of runs; returns whether there was any."""
        self.exhaust(execute_run_monitoring_iteration(self.context, self.logger))
        self.exhaust(self._repeats.run_iteration(self.context))
        worked = super().work()
        if worked:
            with daemons.engines(self.instance)[0].begin() as connection:
                for table, columns in DATED.items():
                    for column in columns:
                        values = {"now": self.clock.now().replace(tzinfo=None)}
                        connection.execute(text(DATE.format(table=table, column=column)), values)
        return worked

    def _execute(self, run: dg.DagsterRun) -> None:
        self.launched += 1
        # As the process of each run does when it opens the instance; otherwise this one would wait for a dead one.
        free_dead_slots(self.instance.run_storage, self.instance.event_log_storage)  # pyright: ignore
        if self.victim is None or self.launched != self.victim["run"]:
            super()._execute(run)
            # As the end of its own process would, also of a run that could not note its end in a dead database.
            unlock_run(run.run_id)
            return
        after, self.victim = self.victim["after"], None
        command = [sys.executable, __file__, "--run", run.run_id, self.clock.now().isoformat()]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        child.stdout.readline()
        end = time.monotonic() + after
        while child.poll() is None and time.monotonic() < end:
            with suppress(subprocess.TimeoutExpired):
                child.wait(min(LOOK_SECONDS, max(end - time.monotonic(), 0)))
            self._look_at(run, child)
        if child.poll() is None:
            child.kill()
            self.killed.append(run.job_name)
        child.communicate(timeout=MOST_SECONDS_TO_START)
        ended = self.instance.get_run_by_id(run.run_id)
        assert ended is not None
        self.runs.append(ended)

    def _look_at(self, run: dg.DagsterRun, child: subprocess.Popen[str]) -> None:
        """Look for dead runs as the sensor does, while a run is at work in another process."""
        storage = storage_with_locks(self.instance)
        assert storage is not None
        found = [lost.run_id for lost in lost_runs(storage)]
        if run.run_id in found and child.poll() is None:
            self.mistaken.append(f"a run of {run.job_name} at work was taken for dead")


class Home:
    """The commands."""

    def __init__(self, daemons: HomeDaemons, killer: PointKiller) -> None:
        self.daemons, self.instance, self.settings = daemons, daemons.instance, load_settings()
        self.killer = killer
        self.database = Database(self.settings)

    def live(self, moment: str, *, look: bool, victim: dict[str, Any] | None) -> dict[str, Any]:
        """Work until nothing more is requested."""
        daemons = self.daemons
        for noted in (daemons.runs, daemons.killed, daemons.errors, daemons.mistaken):
            noted.clear()
        daemons.launched, daemons.victim = 0, victim
        daemons.clock.move_to(datetime.fromisoformat(moment))
        daemons.start_schedules()
        if look:
            until_quiet(daemons)
        failed = [run for run in daemons.runs if run.status != dg.DagsterRunStatus.SUCCESS]
        return {
            "runs": [run.job_name for run in daemons.runs],
            "failed": [failures(self.instance, run)[:600] for run in failed],
            "killed": daemons.killed,
            "errors": daemons.errors,
            "mistaken": daemons.mistaken,
        }

    def connect(self, tokens: dict[str, Any]) -> None:
        """Connect users to their accounts on Trakt, and sync their ratings as an operator who agrees to many."""
        accounts = TraktAccounts(self.settings, self.database, Clock())
        with self.database.transaction() as connection:
            users = users_of_partitions(connection, self.instance.get_dynamic_partitions(USERS))
        partitions = {user.name: (key, user.user_id) for key, user in users.items()}
        for name, pair in tokens.items():
            partition, user_id = partitions[name]
            accounts.connect(user_id, parse_tokens(pair, Clock().now()))
            daemons.definitions().resolve_job_def(SYNC_JOB).execute_in_process(
                instance=self.instance,
                partition_key=partition,
                run_config={"ops": {"trakt_ratings": {"config": {"accept_first_sync": True}}}},
                raise_on_error=False,
            )

    def backups(self) -> dict[str, Any]:
        """List the proven backups, and what else is in their folder."""
        folder = backup_folder(self.settings)
        found = read_backups(folder)
        names = {path.name for path in folder.iterdir()} if folder.exists() else set()
        days = [one.day.isoformat() for one in found if one.is_proven]
        return {"days": days, "left": sorted(names - {one.path.name for one in found})}

    def old(self) -> list[str]:
        """Name the users whose taste or list a run would compute again, although the last night has passed."""
        now, keys = Clock().now(), self.instance.get_dynamic_partitions(USERS)
        ranking, zone = ranking_configs(self.settings), ZoneInfo(self.settings.schedule_timezone)
        with self.database.transaction() as connection:
            users = {user.user_id: user.name for user in users_of_partitions(connection, keys).values()}
            tastes = dict.fromkeys(users, taste_inputs(connection, self.settings))
            rest = {
                user_id: resting(own, now.astimezone(zone).date())
                for user_id, own in read_places(connection, list(users)).items()
            }
            lists = list_inputs(
                connection, self.settings, model_key=model_in_use(connection), config=ranking, resting=rest
            )
            found = {
                "taste": find_changes(connection, "taste_profiles", tastes),
                "list": find_changes(connection, "recommendations", lists),
            }
        return [f"the {what} of {users[user_id]} is old" for what, changes in found.items() for user_id in changes.due]

    def unwell(self, since: datetime) -> list[str]:
        """Name jobs and users that are left failed, and what changed more than once since the last day began.

        Nobody watched anything on that day. What is looked at again and stays as it is has not changed.
        """
        found = []
        for job in daily_jobs(any_cron=True):
            runs = self.instance.get_runs(dg.RunsFilter(job_name=job), limit=1)
            if runs and runs[0].status != dg.DagsterRunStatus.SUCCESS:
                found.append(f"the last run of {job} is {runs[0].status.value}")
        users = self.instance.get_dynamic_partitions(USERS)
        for asset in PER_USER:
            statuses = self.instance.get_status_by_partition(dg.AssetKey(asset), users, users_partitions) or {}
            failed = [user for user in users if (one := statuses.get(user)) is not None and one.value == "FAILED"]
            found += [f"{asset} is left failed for {user}" for user in failed]
        statement = """
            SELECT e.asset_key || coalesce(' ' || partition, '') FROM event_logs e JOIN asset_event_tags t
            ON t.event_id = e.id AND t.key = 'dagster/data_version' WHERE timestamp >= :since
            AND dagster_event_type = 'ASSET_MATERIALIZATION' GROUP BY e.asset_key, partition
            HAVING count(DISTINCT t.value) > 1"""
        with daemons.engines(self.instance)[0].connect() as connection:
            twice = connection.execute(text(statement), {"since": since.astimezone(UTC).replace(tzinfo=None)}).scalars()
            return found + [f"changed twice on the last day: {one}" for one in twice]

    def missed(self) -> list[str]:
        """Name the nights on which a daily job had no turn, or two."""
        found, zone = [], ZoneInfo(self.settings.schedule_timezone)
        for state in self.instance.all_instigator_state():
            job = state.instigator_name.removesuffix("_schedule")
            if state.instigator_type.value != "SCHEDULE" or job not in daily_jobs():
                continue
            ticks = self.instance.get_ticks(state.instigator_origin_id, state.selector_id)
            days = Counter(datetime.fromtimestamp(tick.timestamp, zone).date() for tick in ticks)
            span = (max(days) - min(days)).days + 1
            found += [f"{job}: {len(ticks)} turns in {span} days"] * (len(ticks) != span or len(days) != span)
        return found

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Do what a command says."""
        # The database may have been killed since the last command.
        for engine in daemons.engines(self.instance):
            engine.dispose()
        if "live" in command:
            self.killer.arm(command["points"])
            try:
                return self.live(command["live"], look=command["look"], victim=command.get("victim"))
            finally:
                self.killer.arm(())
        if "back_to" in command:
            self.daemons.clock.set_to(datetime.fromisoformat(command["back_to"]))
        elif "connect" in command:
            self.connect(command["connect"])
        elif "room" in command:
            most = command["room"]
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY if most is None else most, hard))
        elif "sizes" in command:
            return {"sizes": sizes_of(self.database, daemons.engines(self.instance)[0], self.settings)}
        elif "ended" in command:
            return self.backups() | {
                "unwell": [*self.old(), *self.unwell(datetime.fromisoformat(command["ended"]))],
                "missed": self.missed(),
            }
        return {}


def daily_jobs(*, any_cron: bool = False) -> list[str]:
    """Return the jobs with one turn every night, or all that have turns."""
    schedules = daemons.definitions().get_repository_def().schedule_defs
    crons = {one.job_name: str(one.cron_schedule).split() for one in schedules}
    return [job for job, cron in crons.items() if any_cron or (cron[1].isdigit() and cron[4] == "*")]


def execute(run_id: str, clock: SimulatedTime) -> None:
    """Execute a run that the daemons launched."""
    with daemons.open_instance() as instance:
        run = instance.get_run_by_id(run_id)
        assert run is not None and run.job_code_origin is not None
        job = recon_job_from_origin(run.job_code_origin)
        job.get_definition()
        print(READY, flush=True)
        for _ in execute_run_iterator(job, run, instance):
            pass


def main() -> None:
    """Answer commands until stdin ends, or execute a run."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.ERROR)
    if sys.argv[1:2] == ["--run"]:
        _, _, run_id, moment = sys.argv
        clock = SimulatedTime(datetime.fromisoformat(moment))
        use_clock(clock)
        execute(run_id, clock)
        return
    # Nothing else may be written among the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    folder = Path(os.environ["APERTURE_HOME"])
    clock = SimulatedTime(datetime.fromisoformat(sys.argv[1]))
    use_clock(clock)
    folder.mkdir(parents=True, exist_ok=True)
    with daemons.open_instance() as instance:
        home = Home(HomeDaemons(instance, clock, folder), PointKiller(folder.parent / POINT))
        print(json.dumps({READY: True}), file=answers, flush=True)
        for line in sys.stdin:
            print(json.dumps(home.answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
