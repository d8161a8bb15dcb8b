"""What the household as a whole watches, and the series that each user watches."""

from aperture_dagster.defs.jobs import Group
from aperture_dagster.defs.popularity.assets import (
    JOBS,
    household_overview,
    lead_to_unwatched_episodes,
    shows_you_watch,
    top_picks_asset,
)
from aperture_dagster.defs.schedules import fresh_for_every_user
from aperture_dagster.settings import Settings

__all__ = ["group", "shows_you_watch"]


def group(settings: Settings) -> Group:
    """The group, with days of the operator's time zone, and Top Picks from the configured sources."""
    return Group(
        assets=(top_picks_asset(settings), shows_you_watch, household_overview),
        checks=(lead_to_unwatched_episodes, fresh_for_every_user(shows_you_watch, "sync_watching_libraries")),
        jobs=JOBS,
    )
