"""Examine the home, the time zone of the schedules, and the backups."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from aperture_dagster.cli.doctor.finding import Finding
from aperture_dagster.cli.requirements import require_writable
from aperture_dagster.instance.home import use_dagster_home
from aperture_dagster.maintenance.status import LEAST_FREE_BYTES
from aperture_dagster.model import Clock
from aperture_dagster.postgres.backup.folder import backup_folder, is_in_container, read_backups, why_lost, why_overdue
from aperture_dagster.settings import Settings, misspelt_variables
from aperture_dagster.settings.home import describe_configuration


def examine_home(settings: Settings) -> Iterator[Finding]:
    """Where the settings and the home are, whether names of settings are spelt right, and the room on the disk."""
    home = settings.home_path
    yield Finding("settings", "ok", describe_configuration())
    for name, meant in misspelt_variables(os.environ).items():
        yield Finding("settings", "warning", f"{name} is set, and no setting: did you mean {meant}?")
    require_writable(home)
    dagster_home = use_dagster_home(settings, unless_set=True)
    yield Finding("dagster", "ok", f"commands need DAGSTER_HOME={dagster_home}")
    yield room_on_disk(str(home), shutil.disk_usage(home).free)


def room_on_disk(home: str, free: int) -> Finding:
    """Judge the room on the disk of the home, in bytes."""
    message = f"{home}, {free / 1e9:.1f} GB free"
    if free >= LEAST_FREE_BYTES:
        return Finding("home", "ok", message)
    state = "failed" if free < LEAST_FREE_BYTES / 10 else "warning"
    return Finding("home", state, f"{message}: make room, or set APERTURE_HOME to a folder on another disk")


def examine_time_zone(settings: Settings) -> Iterator[Finding]:
    """Whether the schedules have a zone that somebody chose: a container has none of its own."""
    zone = settings.schedule_timezone
    if settings.timezone is None and zone == "UTC":
        message = (
            "the schedules follow UTC, since nothing says where you are: set APERTURE_TIMEZONE, to UTC if it is right"
        )
        yield Finding("time zone", "warning", message)
    else:
        yield Finding("time zone", "ok", zone)


def examine_backups(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Whether the backups last, and the newest proven one is recent."""
    folder = backup_folder(settings)
    kept, lost = read_backups(folder), why_lost(settings)
    if lost is not None:
        yield Finding("backups", "failed", lost)
        return
    if not kept:
        yield Finding("backups", "off", f"none in {folder} yet; database_backup makes the first")
        return
    wrong = why_overdue(settings, kept, clock.now())
    if is_in_container(folder):
        wrong = wrong or f"{folder} is inside the container, and lost when that is updated: mount a volume."
    about = f"{sum(one.is_proven for one in kept)} proven in {folder}, the newest {kept[-1].path.name}"
    yield Finding("backups", "warning" if wrong else "ok", wrong or about)
