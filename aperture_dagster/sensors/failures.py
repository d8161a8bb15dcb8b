"""Failures: runs whose process is gone are ended, and the operator hears what fails, once, and when it works again."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import dagster as dg

from aperture_dagster.defs.failures import sentence
from aperture_dagster.defs.jobs import Job
from aperture_dagster.instance.dead_runs import end_dead_runs
from aperture_dagster.instance.home import LOCATION
from aperture_dagster.instance.runs import location_of
from aperture_dagster.library.alerts import Report, compose, headline, opening, plan_alerts
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.notifications import Notifier
from aperture_dagster.resources.redaction import redact
from aperture_dagster.sensors.problems import Cursor, ended_runs, look_at_checks, look_at_freshness, look_at_runs
from aperture_dagster.settings import Settings
from aperture_dagster.storage import alerts
from aperture_dagster.storage.bulk import storable
from aperture_dagster.storage.files import FileError, prepare_home, write_file
from aperture_dagster.wording import printable

LONGEST_LOG_BYTES = 1_000_000


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
        description="Ends runs whose process is gone, and reports failed runs and checks and assets that are out of "
        "date: to the addresses of APERTURE_ALERT_URLS, and to the home's failures.log.",
    )
    def failures_sensor(
        context: dg.SensorEvaluationContext, database: dg.ResourceParam[Database], clock: dg.ResourceParam[Clock]
    ) -> dg.SensorResult:
        instance = context.instance
        ended = ", ".join(f"{run.job_name} ({run.run_id[:8]})" for run in end_dead_runs(instance, settings))
        said = [f"Ended: {ended}."] if ended else []
        # The runs that ended a moment ago count, too.
        now = clock.now()
        reminder = timedelta(hours=settings.alert_reminder_hours)
        secrets = settings.secret_values()

        def clean(text: str) -> str:
            return storable(redact(text, secrets))

        with database.transaction() as connection:
            known = alerts.read_problems(connection)
        runs, cursor = ended_runs(instance, Cursor.parse(context.cursor, now), now=now)
        # Other programs on the instance report their own.
        here = context.code_location_origin
        own = {None, here.location_name if here is not None else LOCATION}
        runs = [record for record in runs if location_of(record.dagster_run) in own]
        looks = [
            look_at_runs(instance, runs, known, settings, clean=clean),
            look_at_freshness(instance, makers, settings),
        ]
        # Checks are evaluated in runs.
        if runs or context.cursor is None:
            looks.append(look_at_checks(instance, checks, patience=reminder, clean=clean))
        wrong = [one for look in looks for one in look.wrong]
        well = [one for look in looks for one in look.well]
        plan = plan_alerts(known, wrong, well, now=now, reminder=reminder)
        notifier = Notifier(settings)
        addresses = [address.digest for address in notifier.addresses]
        if plan.problems != known or plan.closed:
            with database.transaction() as connection:
                alerts.write_problems(connection, plan.problems, closed=plan.closed)
                if plan.reports and addresses:
                    message = compose(plan.reports, timezone=settings.schedule_timezone, ui_url=settings.alert_ui_url)
                    alerts.queue_message(connection, addresses, message, now=now)
        lines = [line for look in looks for line in look.lines]
        lines += [f"{now.isoformat(timespec='seconds')} {_line(one)}" for one in plan.reports if _belongs_in_log(one)]
        said += _write_log(settings.home_path, lines)
        said += [f"{opening(report)}." for report in plan.reports]
        said += deliver(database, notifier, clock)
        for line in [*lines, *said]:
            context.log.info(line)
        return dg.SensorResult(skip_reason=" ".join(said) or "Nothing new is wrong.", cursor=str(cursor))

    return failures_sensor


def deliver(database: Database, notifier: Notifier, clock: Clock) -> list[str]:
    """Send the messages that are due, and say what could not be sent.

    An attempt is recorded before it is made, so a process that dies between sending and recording that sends a message
    twice at most.
    """
    addresses = {address.digest: address for address in notifier.addresses}
    with database.transaction() as connection:
        dropped = alerts.drop_messages(connection, addresses, now=clock.now())
        queued = alerts.claim_messages(connection, addresses, now=clock.now())
    said = [f"Given up: {title}." for title in dropped]
    if not queued:
        return said
    outcomes = notifier.send({one.address: one.message for one in queued})
    with database.transaction() as connection:
        for one in queued:
            reason = outcomes[one.address]
            if reason is None:
                alerts.confirm_sent(connection, one)
            else:
                alerts.confirm_not_sent(connection, one)
                said.append(f"No message to {addresses[one.address].shown}: {reason}. It is tried again later.")
    return said


def _belongs_in_log(report: Report) -> bool:
    """Tell whether a report needs a line of its own: each failed run has one already."""
    return report.problem.category != "run" or report.occasion == "over"


def _line(report: Report) -> str:
    sentence = report.problem.sentence
    return f"{headline(report)}: {sentence}" if sentence and report.occasion != "over" else f"{headline(report)}."


def _write_log(home: Path, lines: Sequence[str]) -> list[str]:
    """Append lines to failures.log, and say so if that fails: a full disk must not hold the messages back."""
    try:
        if lines:
            prepare_home(home)
        for line in lines:
            append_line(home / "failures.log", printable(line))
    except (OSError, FileError) as error:
        return [sentence(f"failures.log could not be written: {error}")]
    return []


def append_line(path: Path, line: str) -> None:
    """Append a line to a log that only its owner can read; when the log is long, its older half goes first."""
    path.touch(mode=0o600)
    if path.stat().st_size > LONGEST_LOG_BYTES:
        write_file(path, path.read_bytes()[-LONGEST_LOG_BYTES // 2 :].partition(b"\n")[2])
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
