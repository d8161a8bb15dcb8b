"""What the household as a whole watches."""

from aperture_dagster.defs.groups import Group
from aperture_dagster.defs.popularity.jobs import JOBS
from aperture_dagster.defs.popularity.top_picks import top_picks_asset


def group(timezone: str) -> Group:
    """The group, with days of the operator's time zone."""
    return Group(assets=(top_picks_asset(timezone),), jobs=JOBS)
