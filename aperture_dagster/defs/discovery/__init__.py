"""Titles that are not in the library: which there are, and who might like them."""

from aperture_dagster.defs.discovery.candidates import discovery_candidates
from aperture_dagster.defs.discovery.checks import CHECKS
from aperture_dagster.defs.discovery.household import household_candidates
from aperture_dagster.defs.discovery.jobs import JOBS
from aperture_dagster.defs.discovery.pool import discovery_pool
from aperture_dagster.defs.groups import Group

GROUP = Group(assets=(discovery_pool, discovery_candidates, household_candidates), checks=CHECKS, jobs=JOBS)
