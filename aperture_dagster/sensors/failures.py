"""Failures: the operator hears what fails, once, and when it works again."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import dagster as dg

from aperture_dagster.alerts import queries as alerts
from aperture_dagster.alerts.rules import REMINDER, Notifier, Report, compose, due, headline, opening, update
from aperture_dagster.defs.jobs import Job
from aperture_dagster.files.private import FileError, prepare_home, write_file
from aperture_dagster.http.errors import redact
from aperture_dagster.instance.failures import sentence
from aperture_dagster.instance.home import LOCATION
from aperture_dagster.instance.runs import location_of
from aperture_dagster.model.clock import Clock
from aperture_dagster.model.wording import printable
from aperture_dagster.postgres.bulk import storable
from aperture_dagster.postgres.database import Database
from aperture_dagster.sensors.outage import report_outage
from aperture_dagster.sensors.problems import Sightings, ended_runs, look_at_checks, look_at_freshness, look_at_runs
from aperture_dagster.settings import Settings

LONGEST_LOG_BYTES = 1_000_000
LOG = "failures.log"
"""The home's own log, which is told like an address."""


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
        outage = report_outage(context.last_tick_completion_time, jobs, settings, database, now=now)
        lines = [f"{now.isoformat(timespec='seconds')} {line}" for line in outage]
        said = outage + _write_log(settings.home_path, [*lines, *(line for look in looks for line in look.lines)])
        said += report(looks, settings, database, now=now)
        for line in said:
            context.log.info(line)
        return dg.SensorResult(skip_reason=" ".join(said) or "Nothing new is wrong.", cursor=cursor)

    return failures_sensor


def report(looks: Sequence[Sightings], settings: Settings, database: Database, *, now: datetime) -> list[str]:
    """Remember what is wrong, tell each address what it is to be told, and say what was reported and what failed.

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
