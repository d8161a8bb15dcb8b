"""Users' ratings in step with Trakt."""

from aperture_dagster.defs.groups import Group
from aperture_dagster.defs.ratings.checks import CHECKS
from aperture_dagster.defs.ratings.jobs import JOBS
from aperture_dagster.defs.ratings.trakt import trakt, trakt_ratings

__all__ = ["GROUP", "trakt_ratings"]

GROUP = Group(assets=(trakt, trakt_ratings), checks=CHECKS, jobs=JOBS)
