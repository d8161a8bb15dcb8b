"""Titles that are not in the library: which there are, who might like them, and requests for them."""

from aperture_dagster.defs.discovery.candidates import discovery_candidates
from aperture_dagster.defs.discovery.checks import CHECKS
from aperture_dagster.defs.discovery.household import household_candidates
from aperture_dagster.defs.discovery.jobs import JOBS
from aperture_dagster.defs.discovery.pool import discovery_pool
from aperture_dagster.defs.discovery.seerr import SEND_REQUESTS, seerr_requests, were_answered
from aperture_dagster.defs.groups import Group

GROUP = Group(
    assets=(discovery_pool, discovery_candidates, household_candidates, seerr_requests),
    checks=(*CHECKS, were_answered),
    jobs=(*JOBS, SEND_REQUESTS),
)
