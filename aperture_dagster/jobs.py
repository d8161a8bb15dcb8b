"""What a job is: one declaration, from which the Dagster job, its schedule, first sync, demo and freshness derive."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise, takewhile
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo

import dagster as dg

from aperture_dagster.model import Clock, elapsed, listed, often
from aperture_dagster.partitions import days_partitions, range_tags, user_partitions
from aperture_dagster.settings import Settings
from aperture_dagster.settings.types import span_of

# The tag by which dagster.yaml lets one run at a time leave the queue.
ONE_AT_A_TIME = "aperture/one_at_a_time"
Scope = Literal["all", "users", "day", "newcomers", "viewers"]
# How long a nightly job may take, including retries, before it counts as late.
NIGHTLY_GRACE_HOURS = 3
# What is published, by the asset that writes it to the media server.
PUBLISHED = ("recommendation_libraries", "shows_you_watch_libraries", "top_picks_libraries", "for_later_playlists")
# A job runs at least this often, whatever ``skip_if`` returns.
FULL_RUN_EVERY = timedelta(hours=23)


@dataclass(frozen=True, slots=True)
class Job:
    """A job of the operator's day.

    Args:
        description: what it does, as a command: a sentence that begins with a verb.
        cron: when it starts, in the operator's time zone: every day, every so often, or on a weekday (0 is Sunday), as
            in ``30 2 * * 0``; None: never by the clock.
        why: why it starts then, in a sentence for the UI.
        scope: what one run is about: everything, all users (the range of their partitions), one day, newcomers,
            or those who have just watched something.
        first_run: whether a new installation starts it at once instead of waiting for its hour.
        needs: assets that must have been materialized before that first run.
        after: assets that must have been attempted before it, and must not be in progress.
        quiet: whether it may find nothing new and then record nothing, for up to a day.
        off_if: returns the reason if the job is switched off in the settings, which is all that it looks at; then its
            schedule always skips, and its assets may be of any age.
        idle_if: looks before each scheduled run, and returns the reason if nobody uses the job; then it always skips.
        skip_if: looks before each scheduled run, and returns the reason if there is nothing to do.
        priority: runs with a higher one leave the queue first.
        one_at_a_time: an asset that other jobs make, too; of all their runs, one leaves the queue at a time, in the
            order in which they were requested. Otherwise the blocking checks of the run that was requested last could
            precede the last materialization, and Dagster would hold up everything downstream.
    """

    name: str
    description: str
    assets: tuple[str, ...]
    cron: str | None = None
    why: str = ""
    scope: Scope = "all"
    first_run: bool = False
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    quiet: bool = False
    off_if: Callable[[Settings], str | None] = lambda settings: None
    idle_if: Callable[[Settings], str | None] = lambda settings: None
    skip_if: Callable[[Settings, Clock], str | None] | None = None
    priority: int = 0
    one_at_a_time: str | None = None

    def build(self, *, description: str | None = None) -> Any:
        """Define the Dagster job, whose type Dagster does not export, with all checks of its assets."""
        tags = {"dagster/priority": str(self.priority)}
        if self.one_at_a_time is not None:
            tags[ONE_AT_A_TIME] = self.one_at_a_time
        return dg.define_asset_job(
            self.name,
            selection=dg.AssetSelection.assets(*self.assets),
            description=description or self.description,
            tags=tags,
        )

    def run_request(
        self, instance: dg.DagsterInstance, settings: Settings, *, day: date | None = None
    ) -> dg.RunRequest | None:
        """Request the one run that serves the whole scope; None when that is all users and there are none yet.

        A job about one day is requested for ``day``, by default today in the operator's time zone.
        """
        if self.scope == "day":
            day = day or datetime.now(ZoneInfo(settings.schedule_timezone)).date()
            return dg.RunRequest(job_name=self.name, partition_key=day.isoformat())
        if self.scope == "all":
            return dg.RunRequest(job_name=self.name)
        users = user_partitions(instance)
        return dg.RunRequest(job_name=self.name, tags=range_tags(users[0], users[-1])) if users else None

    def allowed(self, settings: Settings, now: datetime) -> list[dg.AssetKey]:
        """Return the assets that a run which nobody started by hand may make now: in quiet hours, nothing is written
        to the media server."""
        quiet = settings.is_quiet(now)
        return [dg.AssetKey(asset) for asset in self.assets if not (quiet and asset in writers(settings))]

    def first_request(self, instance: dg.DagsterInstance, settings: Settings) -> dg.RunRequest | None:
        """Request the first run on a new installation: as :meth:`run_request`, but of all days in one run."""
        if self.scope != "day":
            return self.run_request(instance, settings)
        days = days_partitions(settings).get_partition_keys()
        return dg.RunRequest(job_name=self.name, tags=range_tags(days[0], days[-1]))

    @property
    def is_for_some(self) -> bool:
        """Whether a sensor starts it, for those users whom it concerns."""
        return self.scope in ("newcomers", "viewers")

    def timed(self, settings: Settings) -> Self:
        """Return the job with the time of the settings, if they name one; what writes in quiet hours, at their end."""
        given = settings.schedules.get(self.name, "off")
        cron = self.cron if given == "off" else given
        if cron is None or settings.quiet_hours is None or not set(self.assets) & writers(settings):
            return replace(self, cron=cron)
        minute, hour, _, _, weekday = cron.split()
        if not hour.isdigit() or not settings.is_quiet_at(begins := time(int(hour), int(minute))):
            return replace(self, cron=cron)
        _, end = span_of(settings.quiet_hours)
        if weekday != "*" and end <= begins:
            weekday = _later(weekday, days=1)
        return replace(self, cron=f"{end.minute} {end.hour} * * {weekday}")

    def next_start(self, now: datetime, settings: Settings) -> datetime | None:
        """Return when the clock starts it next, in the operator's time zone; None if it does not."""
        if self.cron is None or self.why_off(settings) is not None:
            return None
        return next(self._starts(now, settings))

    def count_starts(self, since: datetime, until: datetime, settings: Settings) -> int:
        """Count how often the clock would have started it after ``since``, until then."""
        if self.cron is None or self.why_off(settings) is not None:
            return 0
        return sum(1 for _ in takewhile(lambda moment: moment <= until, self._starts(since, settings)))

    def _starts(self, since: datetime, settings: Settings) -> Iterator[datetime]:
        """Yield when the clock starts it after ``since``, in the operator's time zone, for ever."""
        minute, hour, _, _, weekday = (self.cron or "").split()
        zone, moment = ZoneInfo(settings.schedule_timezone), since.astimezone(UTC).replace(second=0, microsecond=0)
        while True:
            moment += timedelta(minutes=1)
            local = moment.astimezone(zone)
            today = local.isoweekday() % 7
            if _is_due(minute, local.minute) and _is_due(hour, local.hour) and _is_due(weekday, today):
                yield local

    def why_off(self, settings: Settings) -> str | None:
        """Return the reason if the settings switch the job off."""
        if settings.schedules.get(self.name) == "off":
            return f"Switched off: {self.name} is off in APERTURE_SCHEDULES."
        return self.off_if(settings)

    def why_skip(self, instance: dg.DagsterInstance, settings: Settings, clock: Clock) -> str | None:
        """Look whether there is anything to do, and return the reason if not.

        Once a day, after a failure, and when the look itself fails, the run takes place and reports what is wrong.
        """
        reason = self.why_off(settings)
        if reason is not None:
            return reason
        try:
            return self.idle_if(settings) or self._nothing_to_do(instance, settings, clock)
        except Exception:
            return None

    def _nothing_to_do(self, instance: dg.DagsterInstance, settings: Settings, clock: Clock) -> str | None:
        if self.skip_if is None:
            return None
        runs = instance.get_run_records(dg.RunsFilter(job_name=self.name), limit=1)
        if not runs or runs[0].dagster_run.status != dg.DagsterRunStatus.SUCCESS:
            return None
        if elapsed(runs[0].create_timestamp, clock.now()) > FULL_RUN_EVERY:
            return None
        return self.skip_if(settings, clock)

    def freshness(self, timezone: str) -> dg.FreshnessPolicy | None:
        """Return how old the job's assets may become, from its cron; None without one.

        What is made every night, or on weekdays, must have been made since the last deadline but one. What is made more
        often may miss a turn. A quiet job records everybody about once a day.
        """
        if self.cron is None:
            return None
        minute, hour, _, _, weekday = self.cron.split()
        weekly = weekday != "*"
        if self.quiet and not weekly:
            return dg.FreshnessPolicy.time_window(warn_window=timedelta(hours=30), fail_window=timedelta(hours=50))
        if hour.isdigit():
            days, hours = divmod(int(hour) + NIGHTLY_GRACE_HOURS, 24)
            deadline = f"{minute} {hours} * * {_later(weekday, days=days)}"
            period = timedelta(days=_fewest_days_between(weekday))
            return _made_by(deadline, period, timezone)
        interval = timedelta(hours=1 if hour == "*" else int(hour.removeprefix("*/")))
        return dg.FreshnessPolicy.time_window(
            warn_window=2 * interval + timedelta(hours=1), fail_window=max(8 * interval, timedelta(hours=12))
        )


def _is_due(field: str, value: int) -> bool:
    """Tell whether a field of a cron matches."""
    if field.startswith("*"):
        return value % int(field.removeprefix("*").removeprefix("/") or 1) == 0
    return str(value) in field.split(",")


def _later(weekdays: str, *, days: int) -> str:
    """Return the weekdays of a cron so many days later."""
    if weekdays == "*":
        return weekdays
    return ",".join(sorted(str((int(day) + days) % 7) for day in weekdays.split(",")))


def _fewest_days_between(weekdays: str) -> int:
    """Return the fewest days from one weekday of a cron to the next."""
    if weekdays == "*":
        return 1
    days = sorted({int(day) for day in weekdays.split(",")})
    return min(after - before for before, after in pairwise([*days, days[0] + 7]))


def writers(settings: Settings) -> set[str]:
    """Return the assets that write to the media server."""
    ratings = ["trakt_ratings"] if settings.ratings_to_server else []
    return {*PUBLISHED, "media_server_libraries", "library_access", "studio_pictures", *ratings}


@functools.cache
def _made_by(deadline: str, period: timedelta, timezone: str) -> dg.FreshnessPolicy:
    """Return the policy of a deadline; cached, because Dagster checks it by a thousand turns of its cron."""
    return dg.FreshnessPolicy.cron(deadline, lower_bound_delta=period, timezone=timezone)


@dataclass(frozen=True, slots=True)
class Group:
    """One group of the graph. Its name is that of its folder."""

    assets: Sequence[dg.AssetsDefinition | dg.AssetSpec]
    checks: Sequence[dg.AssetChecksDefinition] = ()
    jobs: Sequence[Job] = ()


def describe_job(job: Job, settings: Settings) -> str:
    """Say what a job does, when it starts, and why then; shown with its schedule, too."""
    parts = [job.description]
    if job.cron is not None:
        parts.append(f"Starts {often(job.cron)} ({settings.schedule_timezone}){_also(job)}.")
    elif job.scope == "newcomers":
        parts.append("Starts when users join, one run for all who are new.")
    elif job.scope == "viewers":
        parts.append("Starts within a minute of a play, for those who watched something.")
    else:
        parts.append("No schedule starts it.")
    reason = job.why_off(settings)
    return " ".join(filter(None, [*parts, job.why, f"It is off now. {reason}" if reason else ""]))


def _also(job: Job) -> str:
    if not job.first_run:
        return ""
    if not job.needs:
        return ", and at once on a new home"
    return f", and on a new home as soon as it can read {listed(job.needs)}"
