"""The weekly summary: what `aperture status` says of the household, as a message to the operator."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from aperture_dagster.alerts.rules import Message
from aperture_dagster.catalogue.people import read_users, who_takes_part
from aperture_dagster.maintenance.status import (
    changes_since,
    describe_changes,
    describe_picks,
    household_rows,
    picks_watched,
)
from aperture_dagster.model.wording import counted
from aperture_dagster.ratings.merge import describe_held
from aperture_dagster.ratings.removals import held_by_user
from aperture_dagster.settings import Settings

JOB = "send_weekly_summary"
DAYS = 7


def why_no_summary(settings: Settings) -> str | None:
    """Return why no summary is sent; None if one is wanted and there is an address."""
    if JOB not in settings.schedules:
        return f"No weekly summary is wanted: give {JOB} a time in APERTURE_SCHEDULES."
    return None if settings.alert_addresses else "APERTURE_ALERT_URLS names no address."


def weekly_summary(connection: Connection, settings: Settings, *, now: datetime) -> Message:
    """Write the summary of the last seven days."""
    since, zone = now - timedelta(days=DAYS), settings.schedule_timezone
    keys = {user.user_id for user in who_takes_part(settings, read_users(connection))}
    rows = [row for row in household_rows(connection) if row["user_id"] in keys]
    ready = sum(row["films"] + row["series"] > 0 for row in rows)
    picks = describe_picks(picks_watched(connection, now=now, timezone=zone), DAYS)
    held = [describe_held(one) for one in held_by_user(connection)]
    paragraphs = [
        f"Lists: {ready} of {counted(len(rows), 'users')} have one.",
        f"Since {since.astimezone(ZoneInfo(zone)):%a %d %b}: {describe_changes(changes_since(connection, since))}.",
        f"Picks watched: {picks or 'nobody finished a title'}.",
        *(held or ["Nothing is held back."]),
    ]
    return Message("Aperture: the week", "\n\n".join(paragraphs), is_good=not held)
