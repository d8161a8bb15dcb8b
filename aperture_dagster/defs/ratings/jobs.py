"""When ratings are compared with Trakt."""

from aperture_dagster.defs.jobs import Job
from aperture_dagster.ratings.accounts import why_no_sync, why_nobody

SYNC_JOB = "sync_trakt_ratings"


JOBS = (
    Job(
        SYNC_JOB,
        "Keep the ratings of connected users in step with Trakt, both ways.",
        ("trakt_ratings",),
        cron="0 */2 * * *",
        why="A rating given in one place reaches the other; one that waits for Trakt is sent at once.",
        scope="users",
        quiet=True,
        off_if=why_no_sync,
        idle_if=why_nobody,
    ),
)
