"""The weekly summary: what `aperture status` says of the household, as a message to the operator."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection

from aperture_dagster.alerts.rules import Message
from aperture_dagster.maintenance.status import describe_household
from aperture_dagster.settings import Settings

JOB = "send_weekly_summary"
DAYS = timedelta(days=7)


def why_no_summary(settings: Settings) -> str | None:
    """Return why no summary is sent; None if one is wanted and there is an address."""
    if JOB not in settings.schedules:
        return f"No weekly summary is wanted: give {JOB} a time in APERTURE_SCHEDULES."
    return None if settings.alert_addresses else "APERTURE_ALERT_URLS names no address."


def weekly_summary(connection: Connection, settings: Settings, *, now: datetime) -> Message:
    """Write the summary of the last seven days."""
    got, waiting = describe_household(connection, settings, since=now - DAYS, now=now)
    paragraphs = [*got, *(waiting or ["Nothing is held back."])]
    return Message("Aperture: the week", "\n\n".join(paragraphs), is_good=not waiting)
