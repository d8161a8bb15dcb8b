"""What an outage meant: how long nothing ran, what was missed, and when lists follow.

Dagster starts each schedule that missed ticks once. Here is only what the operator hears of it.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from aperture_dagster.alerts import Message, Notifier
from aperture_dagster.jobs import Job
from aperture_dagster.maintenance.status import note_outage
from aperture_dagster.model import counted, duration
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings

OUTAGE = timedelta(hours=3)
"""Time without a look from which on it was an outage; a restart or an update takes less."""
COUNTED = timedelta(days=14)
"""Missed starts are counted for so long; after that, the number no longer matters."""
LISTS = "generate_recommendations"


def report_outage(
    last_look: float | None, jobs: Collection[Job], settings: Settings, database: Database, *, now: datetime
) -> list[str]:
    """Tell the operator about the time since the last look, if it was an outage; return what to log.

    Args:
        last_look: seconds since the epoch; None: there was none.
        jobs: those that the clock starts.
        settings: whom to tell, and where the clock is.
        database: remembers it for `aperture status`.
        now: the end of the outage.
    """
    since = datetime.fromtimestamp(last_look, UTC) if last_look is not None else now
    if now - since < OUTAGE:
        return []
    said = describe_outage(jobs, settings, since=since, now=now)
    with database.transaction() as connection:
        note_outage(connection, said, now=now)
    sent = Notifier(settings).send_to_all(Message("Aperture: it runs again", said, is_good=True))
    return [said, *(f"No message to {address.shown}: {reason}." for address, reason in sent if reason)]


def describe_outage(jobs: Collection[Job], settings: Settings, *, since: datetime, now: datetime) -> str:
    """Say what an outage meant."""
    zone = ZoneInfo(settings.schedule_timezone)
    missed = {
        job.name: count for job in jobs if (count := job.count_starts(max(since, now - COUNTED), now, settings)) > 0
    }
    said = f"Nothing ran for {duration((now - since).total_seconds())}, since {since.astimezone(zone):%a %d %b %H:%M}."
    if not missed:
        return f"{said} No run was missed."
    more = "more than " if now - since > COUNTED else ""
    runs, names = counted(sum(missed.values()), "runs"), counted(len(missed), "jobs")
    verb = "was" if sum(missed.values()) == 1 else "were"
    said += f" {more.capitalize()}{runs} of {names} {verb} missed; each job now runs once."
    lists = next((job for job in jobs if job.name == LISTS), None)
    at = lists.next_start(now, settings) if lists is not None else None
    if LISTS in missed:
        return f"{said} Lists follow with {LISTS}, one of them."
    return f"{said} Lists follow {at:%a %H:%M}." if at is not None else said
