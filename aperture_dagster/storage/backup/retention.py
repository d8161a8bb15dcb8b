"""Which backups may be deleted once a newer one has been proven, and whether the newest is recent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from aperture_dagster.storage.backup.manifest import Backup

PROVEN_WITHIN = timedelta(days=2)
CLOCKS_DIFFER_BY = timedelta(hours=1)


def why_overdue(backups: Sequence[Backup], now: datetime) -> str | None:
    """Say that no backup was proven lately, or that the clock hides it; None if all is well.

    A backup that is dated in the future may be of any age, so the others are judged first.
    """
    proven = [one for one in backups if one.is_proven]
    if not proven:
        return "There is no proven backup: run `aperture backup create`."
    dated = [one for one in proven if one.manifest.made_at - now <= CLOCKS_DIFFER_BY]
    age = now - dated[-1].manifest.made_at if dated else timedelta.max
    if age > PROVEN_WITHIN and proven[-1] not in dated:
        return (
            f"The newest proven backup, {proven[-1].path.name}, is dated in the future: the clock was wrong then, or "
            "is now. Set it, and run `aperture backup create`."
        )
    if age <= PROVEN_WITHIN:
        return None
    return (
        f"The newest proven backup, {dated[-1].path.name}, is {age.days} days old: look at the latest runs of "
        "database_backup, or run `aperture backup create`."
    )


def expired(backups: Sequence[Backup], *, owner: str, keep: int, today: date) -> list[Backup]:
    """Return the backups of an installation that are older than its ``keep`` newest proven ones.

    Backups are ordered by number, not by date. Those of other installations, and those dated in the future, are neither
    counted nor returned; a proven one whose file has changed in size is not counted.
    """
    own = [one for one in backups if one.manifest.owner == owner and not is_future(one, today)]
    proven = sorted((one.manifest.number for one in own if one.is_proven), reverse=True)
    if len(proven) <= keep:
        return []
    return [one for one in own if one.manifest.number < proven[keep - 1]]


def is_future(backup: Backup, today: date) -> bool:
    """Return whether a backup is dated later than today: the clock was wrong then, or is now."""
    return max(backup.day, backup.manifest.day) > today
