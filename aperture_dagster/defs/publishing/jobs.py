"""When lists are published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aperture_dagster.defs.jobs import Job

if TYPE_CHECKING:
    from aperture_dagster.settings import Settings


def publishing_is_off(settings: Settings) -> str | None:
    """Say why nothing is published; None while publishing is on."""
    return None if settings.publish else "Publishing is off: set APERTURE_PUBLISH and APERTURE_PUBLISH_ROOT."


JOBS = (
    Job(
        "sync_libraries",
        "Publish each user's recommendations on the media server, if that is turned on.",
        ("recommendation_libraries",),
        cron="0 5 * * *",
        why="After lists have been renewed, so that the day begins with them.",
        scope="users",
        off_if=publishing_is_off,
    ),
)
