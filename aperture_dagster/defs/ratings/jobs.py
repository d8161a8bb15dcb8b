"""When ratings are compared with Trakt."""

from aperture_dagster.defs.jobs import Job
from aperture_dagster.model.clock import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.ratings.accounts import TraktAccounts
from aperture_dagster.settings import Settings

SYNC_JOB = "sync_trakt_ratings"


def why_no_sync(settings: Settings) -> str | None:
    """Say why there is nothing to keep in step by the settings: Trakt is off, and so is the media server's part."""
    return None if settings.ratings_to_server else _accounts(settings).why_off()


def why_nobody(settings: Settings) -> str | None:
    """Say that nobody has a working connection, unless the media server gets ratings, too."""
    if settings.ratings_to_server:
        return None
    connected = [one for one in _accounts(settings).accounts() if one.state == "connected" and not one.gone]
    return None if connected else "Nobody is connected to Trakt: run `aperture trakt connect USER`."


def _accounts(settings: Settings) -> TraktAccounts:
    return TraktAccounts(settings, Database(settings), Clock())


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
