"""Reports of what is wrong: each address hears of it once, and again when it is over; so does failures.log."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from aperture_dagster import alerts as alerts
from aperture_dagster.alerts import (
    Notifier,
    Report,
    compose,
    due,
    headline,
    opening,
    update,
)
from aperture_dagster.files.private import FileError, prepare_home, write_file
from aperture_dagster.instance.failures import sentence
from aperture_dagster.model import printable
from aperture_dagster.postgres.database import Database
from aperture_dagster.sensors.troubles import Sightings
from aperture_dagster.settings import Settings

LONGEST_LOG_BYTES = 1_000_000
LOG = "failures.log"
"""The home's own log, which receives reports as an address does."""


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
    said = write_log(settings.home_path, [_line(one, now) for one in logged if _belongs_in_log(one)])
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


def write_log(home: Path, lines: Sequence[str]) -> list[str]:
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
