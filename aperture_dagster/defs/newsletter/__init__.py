"""A letter a week for members who want one."""

from aperture_dagster.defs.jobs import Group
from aperture_dagster.defs.newsletter.assets import JOBS, newsletters

GROUP = Group(assets=(newsletters,), jobs=JOBS)

__all__ = ["GROUP", "newsletters"]
