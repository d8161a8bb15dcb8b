"""Users' ratings in step with Trakt."""

from aperture_dagster.defs.jobs import Group
from aperture_dagster.defs.ratings.assets import CHECKS, JOBS, trakt, trakt_ratings

__all__ = ["GROUP", "trakt_ratings"]

GROUP = Group(assets=(trakt, trakt_ratings), checks=CHECKS, jobs=JOBS)
