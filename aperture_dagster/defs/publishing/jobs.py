"""When lists are published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aperture_dagster.defs.jobs import Job
from aperture_dagster.defs.publishing.library_access import why_nobody_is_listed, why_nothing_to_share

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
    Job(
        "sync_library_access",
        "Let users who were given a list of libraries see those that were added to the media server.",
        ("library_access",),
        cron="*/15 * * * *",
        why="A new library reaches everybody soon, as it would without a list.",
        quiet=True,
        idle_if=why_nobody_is_listed,
        skip_if=why_nothing_to_share,
    ),
)
