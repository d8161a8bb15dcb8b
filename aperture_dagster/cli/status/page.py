"""What ``aperture status`` prints for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from rich.text import Text

from aperture_dagster.cli.terminal import Terminal
from aperture_dagster.maintenance.status import (
    PICK_DAYS,
    Status,
    Wrong,
    describe_changes,
    describe_picks,
)
from aperture_dagster.model import counted, describe_future
from aperture_dagster.settings import Settings

MARKS = {"success": ("✓", "green"), "failure": ("✗", "red"), "canceled": ("-", "dim"), None: ("-", "dim")}


def print_status(settings: Settings, found: Status, wrong: Sequence[Wrong], console: Terminal) -> None:
    """Print what is there, the jobs, and what is wrong."""
    zone = ZoneInfo(settings.schedule_timezone)
    for name, text in _facts(settings, found, zone):
        console.print_hanging(Text.assemble((f"{name:<12}", "bold"), text), hang=12)
    jobs = [job for job in found.jobs if job.is_on or job.outcome is not None]
    if any(job.outcome is not None or job.is_running for job in jobs):
        console.print()
        width = max(len(job.name) for job in jobs)
        for job in jobs:
            before = "" if job.is_running else "never ran"
            made = f"made {_local(job.made_at, zone)} by other runs" if job.made_at else before
            words = [_local(job.ended_at, zone)] if job.ended_at else [made] * bool(made)
            words += ["running now"] * job.is_running + ["off"] * (not job.is_on)
            words += [f"next {_local(job.next_at, zone)}"] if job.next_at else []
            mark = Text(*MARKS[job.outcome])
            console.print_hanging(mark + Text(f" {job.name:<{width}}  {', '.join(words)}"), hang=width + 4)
    noted = [f"{check.name}: {check.sentence}" for check in found.checks if check.is_warning]
    future = describe_future(found.dated_in_future, found.at)
    others = {"clock": future, "outage": found.outage}
    noted += [f"{name}: {sentence}" for name, sentence in others.items() if sentence is not None]
    noted += [f"users: {sentence}" for sentence in found.forgotten_soon]
    if noted:
        console.print()
        for sentence in noted:
            console.print_hanging(Text.assemble(("! ", "yellow"), sentence))
    console.print()
    for one in wrong:
        console.print_hanging(Text.assemble(("✗ ", "red"), (one.subject, "bold"), f": {one.sentence}"))
    if wrong:
        console.print_hanging("`aperture doctor` examines connections and settings, and says what to do.", "dim")
    else:
        console.print_hanging("Nothing is wrong.", "green")


def _facts(settings: Settings, found: Status, zone: ZoneInfo) -> list[tuple[str, str]]:
    """Say what is there, a line for each subject."""
    demo = ", the demo" if found.is_demo else ""
    facts = [("home", f"{settings.home_path}, {found.free_bytes / 1e9:.1f} GB free{demo}")]
    address = f", {settings.media_server_url}" if settings.media_server_url else ""
    if found.server:
        product = f"{found.server['product']} {found.server['version']} {found.server['name']!r}"
        facts.append(("server", f"{product}{address}"))
    elif address:
        facts.append(("server", f"not read yet{address}"))
    if found.up_is_running and all(part.name != "aperture up" for part in found.parts):
        facts.append(("parts", "services of their own"))
    else:
        ui = f", the UI is at {found.ui}" if found.ui else ""
        facts.append(("aperture up", f"running{ui}" if found.up_is_running else "not running"))
    if not found.database:
        return facts
    taking_part = [user for user in found.users if user.takes_part]
    dates = [user.listed_at for user in taking_part if user.listed_at is not None]
    oldest = f", the oldest of {_local(min(dates), zone)}" if dates else ""
    lists = f"{sum(user.has_list for user in taking_part)} have a list{oldest}"
    sizes = [(found.movies, "films"), (found.series, "series"), (found.episodes, "episodes")]
    kind = "embedded" if settings.database_url is None else "APERTURE_DATABASE_URL"
    versions = f"PostgreSQL {found.database['postgresql']}, {kind}, schema {found.database['schema']}"
    newest = f", the newest of {max(found.proven_backups)}" if found.proven_backups else ""
    return [
        *facts,
        ("titles", ", ".join(counted(*size) for size in sizes)),
        ("last 24 h", describe_changes(found.last_day)),
        *(
            (f"picks, {days} d", f"watched: {said}")
            for days in PICK_DAYS
            if (said := describe_picks(found.picks_watched, days))
        ),
        ("users", f"{len(taking_part)} of {len(found.users)} take part, {lists}"),
        ("checks", f"{found.checks_passed} passed{f', {len(found.checks)} did not' if found.checks else ''}"),
        ("database", f"{versions}, {found.database['bytes'] / 1e6:,.1f} MB"),
        ("backups", f"{len(found.proven_backups)} proven{newest}"),
    ]


def _local(moment: datetime, zone: ZoneInfo) -> str:
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M}"
