"""What starts by itself: the first sync, users who join or leave, plays, changes, ratings that wait, failures."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from aperture_dagster import alerts as alerts
from aperture_dagster.alerts import (
    AT_ONCE,
    REMINDER,
    Notifier,
    Problem,
    Recovery,
    Report,
    Sighting,
    compose,
    due,
    headline,
    opening,
    shorten,
    update,
)
from aperture_dagster.defs.catalogue.history import build_plays_sensor
from aperture_dagster.defs.publishing.libraries import build_libraries_sensor
from aperture_dagster.defs.ratings import build_outbox_sensor
from aperture_dagster.files.private import FileError, prepare_home, write_file
from aperture_dagster.http.errors import redact
from aperture_dagster.instance.failures import failure_cause, failure_reason, sentence
from aperture_dagster.instance.home import LOCATION
from aperture_dagster.instance.runs import ended_at, location_of, partitions_of_run
from aperture_dagster.jobs import Job
from aperture_dagster.model import SKEW, Clock, past, printable
from aperture_dagster.partitions import user_partitions, users_partitions
from aperture_dagster.postgres.bulk import storable
from aperture_dagster.postgres.database import Database
from aperture_dagster.sensors.new_users import build_first_sync_sensor, build_users_sensor
from aperture_dagster.sensors.outage import report_outage
from aperture_dagster.settings import Settings

# What is wrong, as Dagster's instance knows it: runs that failed, checks that did not pass, assets out of date.


# A job that failed before and was not tried since is a matter of freshness. A program that was stopped for a week, or
# is new, therefore reports no runs of last week.
LOOK_BACK = timedelta(days=1)
# Runs that end at the same time may become visible in another order.
OVERLAP = timedelta(minutes=2)
# After a night without power, the missed jobs run before anything is reported as out of date.
OUT_OF_DATE_FOR = timedelta(hours=1)
WILL_RETRY = "dagster/will_retry"
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
# A blocking check fails its step with this error, and is reported itself.
CHECK_FAILED = "DagsterAssetCheckFailedError"
DAGSTER_GAVE_UP = "This run has been marked as failed from outside the execution context."
GIVEN_UP = (
    "Dagster has given this run up, since its process did not start, or was no longer alive; on an overloaded machine, "
    "that may be a matter of time."
)


@dataclass(slots=True)
class Sightings:
    """What was seen in one look: what is wrong, what is well, and a line about each failed run."""

    wrong: list[Sighting] = field(default_factory=list)
    well: list[Recovery] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def ended_runs(instance: dg.DagsterInstance, cursor: str | None, *, now: datetime) -> tuple[list[dg.RunRecord], str]:
    """Return the runs that ended since the last look, in the order of their ends, and the next cursor.

    The cursor says until when the ended runs were read, and which of those that ended shortly before. Runs that are
    dated in the future are left out: they were read while the clock was ahead.
    """
    stored = json.loads(cursor) if cursor else {}
    oldest = now - LOOK_BACK
    last = past(datetime.fromisoformat(stored["until"]), now) if stored else None
    until = max(last or oldest, oldest)
    since = until - OVERLAP
    records = instance.get_run_records(dg.RunsFilter(statuses=ENDED, updated_after=since, updated_before=now + SKEW))
    # Other things than its end can update a run, such as a tag.
    recent = [record for record in records if since < ended_at(record) <= now + SKEW]
    news = [record for record in recent if record.dagster_run.run_id not in stored.get("read", ())]
    until = max([until, *map(ended_at, news)])
    read = sorted(one.dagster_run.run_id for one in recent if ended_at(one) > until - OVERLAP)
    return sorted(news, key=ended_at), json.dumps({"until": until.isoformat(), "read": read})


def look_at_runs(
    instance: dg.DagsterInstance,
    runs: Iterable[dg.RunRecord],
    problems: Iterable[Problem],
    *,
    clean: Callable[[str], str],
) -> Sightings:
    """Find out what failed in runs, and what works again; ``clean`` redacts secrets."""
    found = Sightings()
    # By subject: the last run that failed.
    failed = {one.subject: one.page.removeprefix("runs/") for one in problems if one.category == "run"}
    for record in runs:
        run, ended = record.dagster_run, ended_at(record)
        is_failure = run.status == dg.DagsterRunStatus.FAILURE
        if not is_failure and not failed:
            continue
        succeeded, causes = _steps(instance, run.run_id)
        if is_failure:
            if not causes:
                causes = {subject_of(run): ("run", _run_message(instance, run.run_id))}
            reason = clean(" | ".join(f"{subject}: {why}" for subject, (_, why) in causes.items()))
            found.lines.append(
                f"{ended.isoformat(timespec='seconds')} {run.job_name} ({run.run_id[:8]}) failed: {reason}"
            )
            # Dagster is about to run it again, and that run's end counts.
            if run.tags.get(WILL_RETRY) != "true":
                for subject, (cause, why) in causes.items():
                    if cause != CHECK_FAILED:
                        page = f"runs/{run.run_id}"
                        found.wrong.append(Sighting("run", subject, cause, shorten(clean(why)), page, ended))
                        failed[subject] = run.run_id
        else:
            succeeded.add(subject_of(run))
        for subject in succeeded.intersection(failed):
            if _makes_good(instance, run, failed[subject], subject):
                found.well.append(Recovery("run", subject, ended))
    return found


def look_at_checks(
    instance: dg.DagsterInstance,
    checks: Sequence[dg.AssetCheckKey],
    *,
    patience: timedelta,
    clean: Callable[[str], str],
) -> Sightings:
    """Look at the last result of each check; a warning must last for ``patience`` before it is reported."""
    found = Sightings()
    # Dagster has no public way to ask for the last results of checks.
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(checks) if checks else {}
    for key, record in records.items():
        evaluation = record.evaluation
        # One that is planned, or was in a run that failed before, says nothing.
        if record.event is None or not isinstance(evaluation, dg.AssetCheckEvaluation):
            continue
        subject = f"{key.asset_key.to_user_string()}.{key.name}"
        seen_at = datetime.fromtimestamp(record.event.timestamp, UTC)
        if evaluation.passed:
            found.well.append(Recovery("check", subject, seen_at))
            continue
        is_warning = evaluation.severity == dg.AssetCheckSeverity.WARN
        found.wrong.append(
            Sighting(
                "check",
                subject,
                "",
                shorten(clean(evaluation.description or "")),
                f"assets/{key.asset_key.to_user_string()}?view=checks",
                seen_at,
                delay=patience if is_warning else AT_ONCE,
            )
        )
    return found


def look_at_freshness(instance: dg.DagsterInstance, makers: Mapping[dg.AssetKey, Job], settings: Settings) -> Sightings:
    """Look which assets are out of date; ``makers`` are the assets with a freshness policy and the job of each.

    What nobody uses may be of any age: its schedule always skips. Dagster's daemon evaluates the policies and records
    changes only. An asset that was never made has no state.
    """
    found = Sightings()
    # Not marked as public, either; other ways lead through the webserver.
    records = instance.get_freshness_state_records(list(makers)) if makers else {}
    for key, record in records.items():
        name, state = key.to_user_string(), record.freshness_state.value
        if state in ("PASS", "WARN"):
            found.well.append(Recovery("freshness", name, record.updated_at))
        elif state == "FAIL" and not _is_idle(makers[key], settings):
            sentence = f"{makers[key].name} should have made it. Check why its last run failed or did not start."
            page = f"assets/{name}"
            found.wrong.append(
                Sighting("freshness", name, "", sentence, page, record.updated_at, delay=OUT_OF_DATE_FOR)
            )
    return found


def _is_idle(job: Job, settings: Settings) -> bool:
    try:
        return job.idle_if(settings) is not None
    except Exception:
        # As for the schedule: if the look fails, the job counts as needed.
        return False


def subject_of(run: dg.DagsterRun) -> str:
    """Name what a run is about: its job, or else its assets."""
    if not run.job_name.startswith("__"):
        return run.job_name
    keys: Collection[dg.AssetKey] = run.asset_selection or ()
    return ", ".join(sorted(key.path[-1] for key in keys)) or run.job_name


def _steps(instance: dg.DagsterInstance, run_id: str) -> tuple[set[str], dict[str, tuple[str, str]]]:
    """Return the steps of a run that succeeded, and those that failed with cause and reason."""
    types = {dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_FAILURE}
    succeeded: set[str] = set()
    failed: dict[str, tuple[str, str]] = {}
    for event in _events(instance, run_id, types):
        # A step of a partition set has a key of its own for each.
        step = event.step_key or ""
        if event.is_step_failure:
            failed[step] = failure_cause(event), failure_reason(event)
        else:
            succeeded.add(step)
    return succeeded, failed


def _run_message(instance: dg.DagsterInstance, run_id: str) -> str:
    messages = [event.message or "" for event in _events(instance, run_id, {dg.DagsterEventType.RUN_FAILURE})]
    if not messages:
        return "The run ended before any of its steps failed."
    message = " ".join(messages[-1].split())
    return GIVEN_UP if message == DAGSTER_GAVE_UP else message


def _events(instance: dg.DagsterInstance, run_id: str, types: set[dg.DagsterEventType]) -> Iterator[dg.DagsterEvent]:
    for record in instance.get_records_for_run(run_id, of_type=types).records:
        event = record.event_log_entry.dagster_event
        if event is not None:
            yield event


def _makes_good(instance: dg.DagsterInstance, run: dg.DagsterRun, failed_id: str, subject: str) -> bool:
    """Tell whether the success of a run also concerns the users for whom another run failed."""
    users = user_partitions(instance)
    failed = instance.get_run_by_id(failed_id)
    concerned = partitions_of_run(failed, users) if failed is not None else set()
    if concerned <= partitions_of_run(run, users):
        return True
    asset = dg.AssetKey(subject)
    if not instance.has_asset_key(asset):
        # A job, of which nothing is known for each user.
        return False
    # Perhaps only some of them failed, and those have been served since.
    statuses = instance.get_status_by_partition(asset, sorted(concerned), users_partitions) or {}
    return not any(status is not None and status.value == "FAILED" for status in statuses.values())


# Failures: the operator hears what fails, once, and when it works again.


LONGEST_LOG_BYTES = 1_000_000
LOG = "failures.log"
"""The home's own log, which receives reports as an address does."""


def build_failures_sensor(
    settings: Settings,
    checks: Sequence[dg.AssetCheckKey],
    makers: Mapping[dg.AssetKey, Job],
    status: dg.DefaultSensorStatus,
) -> dg.SensorDefinition:
    """Define the sensor; it never starts a run, so each tick ends with a skip reason.

    Args:
        checks: the checks to look at.
        makers: the assets that must be fresh, and the job that makes each.
    """

    @dg.sensor(
        name="failures_sensor",
        minimum_interval_seconds=60,
        default_status=status,
        description="Reports failed runs and checks and assets that are out of date: "
        "to the addresses of APERTURE_ALERT_URLS, and to the home's failures.log.",
    )
    def failures_sensor(
        context: dg.SensorEvaluationContext, database: dg.ResourceParam[Database], clock: dg.ResourceParam[Clock]
    ) -> dg.SensorResult:
        instance, now = context.instance, clock.now()
        secrets = settings.secret_values()

        def clean(text: str) -> str:
            return storable(redact(text, secrets))

        with database.transaction() as connection:
            known = alerts.read_problems(connection)
        runs, cursor = ended_runs(instance, context.cursor, now=now)
        # Other programs on the instance report their own.
        here = context.code_location_origin
        own = {None, here.location_name if here is not None else LOCATION}
        runs = [record for record in runs if location_of(record.dagster_run) in own]
        looks = [look_at_runs(instance, runs, known, clean=clean), look_at_freshness(instance, makers, settings)]
        # Checks are evaluated in runs.
        if runs or context.cursor is None:
            looks.append(look_at_checks(instance, checks, patience=REMINDER, clean=clean))
        jobs = {job.name: job for job in makers.values()}.values()
        # Whoever has switched this sensor off and on again knows; nothing else stood still.
        last_look = None if context.is_first_tick_since_sensor_start else context.last_tick_completion_time
        outage = report_outage(last_look, jobs, settings, database, now=now)
        lines = [f"{now.isoformat(timespec='seconds')} {line}" for line in outage]
        said = outage + _write_log(settings.home_path, [*lines, *(line for look in looks for line in look.lines)])
        said += report(looks, settings, database, now=now)
        for line in said:
            context.log.info(line)
        return dg.SensorResult(skip_reason=" ".join(said) or "Nothing new is wrong.", cursor=cursor)

    return failures_sensor


def report(looks: Sequence[Sightings], settings: Settings, database: Database, *, now: datetime) -> list[str]:
    """Store what is wrong, send each address the reports that are due, and say what was reported and what failed.

    An attempt is recorded before it is made, so that a process that dies meanwhile repeats it only after a while.
    """
    notifier = Notifier(settings)
    with database.transaction() as connection:
        alerts.keep_addresses(connection, [LOG, *(address.digest for address in notifier.addresses)])
        told = alerts.read_told(connection)
        problems = update(
            alerts.read_problems(connection),
            [one for look in looks for one in look.wrong],
            [one for look in looks for one in look.well],
            told={key for keys in told.values() for key in keys},
            now=now,
        )
        alerts.write_problems(connection, problems)
        logged = due(problems, told.get(LOG, {}), now=now)
        alerts.note_attempt(connection, LOG, logged, now=now)
        alerts.note_told(connection, LOG, logged, now=now)
    said = _write_log(settings.home_path, [_line(one, now) for one in logged if _belongs_in_log(one)])
    said += [f"{opening(one)}." for one in logged]
    for address in notifier.addresses:
        reports = due(problems, told.get(address.digest, {}), now=now)
        if not reports:
            continue
        with database.transaction() as connection:
            alerts.note_attempt(connection, address.digest, reports, now=now)
        message = compose(reports, timezone=settings.schedule_timezone, ui_url=settings.alert_ui_url)
        reason = notifier.send(address, message)
        if reason is not None:
            said.append(f"No message to {address.shown}: {reason}. It is tried again later.")
            continue
        with database.transaction() as connection:
            alerts.note_told(connection, address.digest, reports, now=now)
    return said


def _belongs_in_log(report: Report) -> bool:
    """Tell whether a report needs a line of its own: each failed run has one already."""
    return report.problem.category != "run" or report.occasion == "over"


def _line(report: Report, now: datetime) -> str:
    sentence = report.problem.sentence
    said = f"{headline(report)}: {sentence}" if sentence and report.occasion != "over" else f"{headline(report)}."
    return f"{now.isoformat(timespec='seconds')} {said}"


def _write_log(home: Path, lines: Sequence[str]) -> list[str]:
    """Append lines to failures.log, and say so if that fails: a full disk must not hold the messages back."""
    try:
        if lines:
            prepare_home(home)
        for line in lines:
            append_line(home / LOG, printable(line))
    except (OSError, FileError) as error:
        return [sentence(f"{LOG} could not be written: {error}")]
    return []


def append_line(path: Path, line: str) -> None:
    """Append a line to a log that only its owner can read; when the log is long, its older half goes first."""
    path.touch(mode=0o600)
    if path.stat().st_size > LONGEST_LOG_BYTES:
        write_file(path, path.read_bytes()[-LONGEST_LOG_BYTES // 2 :].partition(b"\n")[2])
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def build_sensors(
    settings: Settings,
    jobs: Sequence[Job],
    built: Mapping[str, Any],
    checks: Sequence[dg.AssetCheckKey],
    *,
    loaded_at: datetime,
) -> list[dg.SensorDefinition]:
    """Define all sensors, running unless the settings say otherwise.

    ``built`` holds the Dagster jobs by name; ``loaded_at`` says when the program started.
    """
    status = dg.DefaultSensorStatus.RUNNING if settings.schedules_enabled else dg.DefaultSensorStatus.STOPPED
    # Without Trakt, there is nothing to look for.
    outbox = [build_outbox_sensor(settings, built, status)] if settings.trakt_client_id is not None else []
    libraries = [build_libraries_sensor(settings, jobs, built, status)] if settings.publish else []
    return [
        *outbox,
        *libraries,
        build_first_sync_sensor(settings, jobs, built, status, loaded_at=loaded_at),
        build_users_sensor(settings, jobs, built, status, loaded_at=loaded_at),
        build_plays_sensor(settings, jobs, built, status),
        build_failures_sensor(settings, checks, freshness_makers(settings, jobs), status),
        # The conditions are in `aperture_dagster.automation`, and each asset names its own.
        dg.AutomationConditionSensorDefinition(
            "automation_sensor",
            target=dg.AssetSelection.all(),
            default_status=status,
            # Evaluating all conditions is the most expensive thing an idle daemon does, and changes come hours apart.
            minimum_interval_seconds=60,
            description=(
                "Starts what follows from a change (merged view, vectors, tastes, lists), and the checks that run once "
                "a day. It looks every minute; what it waits for is the automation condition of each asset."
            ),
        ),
    ]


def freshness_makers(settings: Settings, jobs: Sequence[Job]) -> dict[dg.AssetKey, Job]:
    """Return the assets that must be fresh, each with the first job that is to keep it so."""
    makers: dict[dg.AssetKey, Job] = {}
    for job in jobs:
        if job.why_off(settings) is None and job.freshness(settings.schedule_timezone) is not None:
            for asset in job.assets:
                makers.setdefault(dg.AssetKey(asset), job)
    return makers
