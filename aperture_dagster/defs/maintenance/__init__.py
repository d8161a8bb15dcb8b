"""What keeps the installation itself in order."""

from aperture_dagster.defs.groups import Group
from aperture_dagster.defs.maintenance.housekeeping import databases_have_their_size, housekeeping
from aperture_dagster.defs.maintenance.jobs import JOBS

GROUP = Group(assets=(housekeeping,), checks=(databases_have_their_size,), jobs=JOBS)
