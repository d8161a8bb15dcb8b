"""What ``aperture status --json`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from aperture_dagster.maintenance.status import (
    Status,
    Wrong,
)
from aperture_dagster.settings import Settings

FORMAT = 1
"""Version of the JSON; keys are only added to it."""


def as_document(settings: Settings, found: Status, wrong: Sequence[Wrong]) -> dict[str, Any]:
    """Return what `aperture status --json` prints; ``docs/status.md`` explains each key."""
    taking_part = [user for user in found.users if user.takes_part]
    dates = [user.listed_at for user in taking_part if user.listed_at is not None]
    return {
        "format": FORMAT,
        "ok": not wrong,
        "at": iso(found.at),
        "wrong": [asdict(one) for one in wrong],
        "home": {"path": str(settings.home_path), "free_bytes": found.free_bytes, "is_demo": found.is_demo},
        "server": {
            "url": settings.media_server_url,
            **{key: found.server.get(key) for key in ("product", "version", "name")},
        },
        "up": {"is_running": found.up_is_running, "ui": found.ui, "parts": [asdict(part) for part in found.parts]},
        "users": {
            "on_server": len(found.users),
            "taking_part": len(taking_part),
            "with_list": sum(user.has_list for user in taking_part),
            "without_list": sorted(user.name for user in taking_part if not user.has_list),
        },
        "titles": {"movies": found.movies, "series": found.series, "episodes": found.episodes},
        "lists": {"newest_at": iso(max(dates, default=None)), "oldest_at": iso(min(dates, default=None))},
        "last_day": dict(found.last_day),
        "outage": found.outage,
        "forgotten_soon": list(found.forgotten_soon),
        "picks_watched": [asdict(one) | {"rate": one.rate} for one in found.picks_watched],
        "jobs": [
            asdict(job) | {name: iso(getattr(job, name)) for name in ("ended_at", "next_at", "made_at")}
            for job in found.jobs
        ],
        "checks": {"passed": found.checks_passed, "not_passed": [asdict(check) for check in found.checks]},
        "out_of_date": list(found.out_of_date),
        "database": {
            "is_embedded": settings.database_url is None,
            **{key: found.database.get(key) for key in ("postgresql", "schema", "bytes")},
        },
        "backups": {
            "kept": found.backups,
            "proven": len(found.proven_backups),
            "newest_proven_on": max(found.proven_backups).isoformat() if found.proven_backups else None,
        },
        "dated_in_future": [
            {"what": one.what, "rows": one.rows, "latest_at": iso(one.latest)} for one in found.dated_in_future
        ],
    }


def iso(moment: datetime | None) -> str | None:
    """Return a moment as ISO 8601 in UTC, to the second."""
    return moment.astimezone(UTC).isoformat(timespec="seconds") if moment is not None else None
