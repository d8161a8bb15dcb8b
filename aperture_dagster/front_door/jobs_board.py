"""What the page of jobs shows: each job's last run, what it does now, and its next start."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from aperture_dagster.front_door.dagster_queries import DeclaredJob
from aperture_dagster.http.redaction import redact
from aperture_dagster.progress import StepProgress, read_progress
from aperture_dagster.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

    from aperture_dagster.instance.run_history import RunLine

DAYS = 14
"""Days of the chart."""
ENDS: dict[str, End] = {"SUCCESS": "success", "FAILURE": "failure", "CANCELED": "canceled"}
State = Literal["running", "waiting", "failure", "success", "canceled", "never"]
End = Literal["success", "failure", "canceled"]
WORST_FIRST: tuple[State, ...] = ("failure", "running", "waiting", "success", "canceled", "never")
MOST_REMEMBERED = 500


@dataclass(frozen=True, slots=True)
class Bar:
    """How far a step is: ``share`` is from 0 to 1, None if the total is not known; ``left`` are seconds, if known."""

    step: str
    what: str
    done: int
    total: int | None
    share: float | None
    left: float | None


@dataclass(frozen=True, slots=True)
class Day:
    """How many runs ended well, failed or were canceled on a day, and the heights of their columns, 0 to 1."""

    day: date
    success: int = 0
    failure: int = 0
    canceled: int = 0

    @property
    def runs(self) -> int:
        """Runs in all."""
        return self.success + self.failure + self.canceled


@dataclass(frozen=True, slots=True)
class Card:
    """A job on the page.

    Attributes:
        state: what it does now, or how its last run ended.
        running: the run under way, if there is one.
        last: the last run that ended.
        results: what its steps did, in sentences.
        reasons: steps of the last run that failed, each with why.
        next_at: when the clock starts it; None if it does not.
        days: its runs by day, the oldest first.
    """

    job: DeclaredJob
    state: State
    running: RunLine | None = None
    last: RunLine | None = None
    bars: Sequence[Bar] = ()
    results: Sequence[tuple[str, str]] = ()
    reasons: Sequence[tuple[str, str]] = ()
    next_at: datetime | None = None
    days: Sequence[Day] = field(default=())

    @property
    def seconds(self) -> float | None:
        """How long the last run took."""
        if self.last is None or self.last.began_at is None or self.last.ended_at is None:
            return None
        return (self.last.ended_at - self.last.began_at).total_seconds()


def bar_of(step: StepProgress) -> Bar | None:
    """Return how far a step is; None if it counts nothing now."""
    if step.what is None:
        return None
    if not step.total:
        return Bar(step.step, step.what, step.done, None, None, None)
    share = min(step.done / step.total, 1.0)
    left = step.seconds * (1 - share) / share if 0 < share < 1 and step.seconds > 0 else None
    return Bar(step.step, step.what, step.done, max(step.total, step.done), share, left)


def days_of(runs: Sequence[RunLine], today: date, zone: ZoneInfo) -> list[Day]:
    """Count the runs of a job that ended on each of the last days, the oldest first."""
    counts: dict[date, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for run in runs:
        if run.has_ended:
            counts[(run.ended_at or run.requested_at).astimezone(zone).date()][ENDS[run.status]] += 1
    return [Day(day, **counts[day]) for day in (today - timedelta(days=back) for back in reversed(range(DAYS)))]


class JobsBoard:
    """Reads what the cards show. Sentences of failed runs are remembered, since these do not change."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reasons: dict[str, list[tuple[str, str]]] = {}

    @functools.cached_property
    def instance(self) -> dg.DagsterInstance:
        """Dagster's instance of this home, opened at first use and kept."""
        import dagster as dg

        return dg.DagsterInstance.get()

    def cards(self, connection: Connection, jobs: Sequence[DeclaredJob], now: datetime) -> list[Card]:
        """Return a card for each job: what failed comes first, then what runs."""
        from aperture_dagster.instance.run_history import read_runs

        runs: dict[str, list[RunLine]] = defaultdict(list)
        for run in read_runs(self.instance, [job.name for job in jobs], now - timedelta(days=DAYS)):
            runs[run.job].append(run)
        dead = self._dead_among(run for own in runs.values() for run in own)
        shown = {name: _pick(own, dead) for name, own in runs.items()}
        asked = [run.run_id for pair in shown.values() for run in pair if run is not None]
        steps: dict[str, list[StepProgress]] = defaultdict(list)
        for step in read_progress(connection, asked):
            steps[step.run_id].append(step)
        zone = ZoneInfo(self._settings.schedule_timezone)
        today = now.astimezone(zone).date()
        cards = []
        for job in jobs:
            running, last = shown.get(job.name, (None, None))
            state: State = "never" if last is None else ENDS[last.status]
            if running is not None:
                state = "running" if running.began_at is not None else "waiting"
            failed = last is not None and last.status == "FAILURE"
            own = steps[running.run_id] if running is not None else []
            cards.append(
                Card(
                    job,
                    state,
                    running,
                    last,
                    [bar for step in own if (bar := bar_of(step)) is not None],
                    [(step.step, step.result) for step in steps[last.run_id] if step.result] if last else [],
                    self._reasons_of(last.run_id) if failed and last is not None else [],
                    _next_start(job, now),
                    days_of(runs[job.name], today, zone),
                )
            )
        return sorted(cards, key=lambda card: WORST_FIRST.index(card.state))

    def runs_under_way(self, job: str) -> list[str]:
        """Return the ids of the runs of a job that have not ended, without those whose process is dead."""
        from aperture_dagster.instance.run_history import read_runs

        runs = read_runs(self.instance, [job], datetime.now(UTC))
        dead = self._dead_among(runs)
        return [run.run_id for run in runs if not run.has_ended and run.run_id not in dead]

    def runs_in_progress(self) -> list[str]:
        """Return the jobs of runs that have begun and not ended, without those whose process is dead."""
        from aperture_dagster.instance.dead_runs import lost_run_ids, runs_in_progress

        runs = runs_in_progress(self.instance)
        lost = lost_run_ids(self.instance, runs)
        return sorted({run.job_name for run in runs if run.run_id not in lost})

    def _dead_among(self, runs: Iterable[RunLine]) -> set[str]:
        """Return the runs whose process is dead, if any of some runs has not ended.

        Nothing tells them from others in Dagster's storage until the daemon has noticed.
        """
        from aperture_dagster.instance.dead_runs import lost_run_ids

        return set() if all(run.has_ended for run in runs) else lost_run_ids(self.instance)

    def _reasons_of(self, run_id: str) -> list[tuple[str, str]]:
        from aperture_dagster.instance.run_history import reasons_of

        if run_id not in self._reasons:
            secrets = self._settings.secret_values()
            found = [(step, redact(why, secrets)) for step, why in reasons_of(self.instance, run_id)]
            if len(self._reasons) >= MOST_REMEMBERED:
                self._reasons.clear()
            self._reasons[run_id] = found
        return self._reasons[run_id]


def _pick(runs: Sequence[RunLine], dead: set[str]) -> tuple[RunLine | None, RunLine | None]:
    """Return the run that is under way and the last one that ended, of runs that are the newest first."""
    alive = [run for run in runs if not run.has_ended and run.run_id not in dead]
    begun = [run for run in alive if run.began_at is not None]
    ended = [run for run in runs if run.has_ended]
    return next(iter(begun or alive), None), max(ended, key=lambda run: run.ended_at or run.requested_at, default=None)


def _next_start(job: DeclaredJob, now: datetime) -> datetime | None:
    if job.schedule is None or not job.schedule.is_on:
        return None
    ahead = [tick for tick in job.schedule.ticks if tick > now.timestamp()]
    return datetime.fromtimestamp(ahead[0], UTC) if ahead else None
