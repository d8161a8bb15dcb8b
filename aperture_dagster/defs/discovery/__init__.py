"""Titles that are not in the library: which there are, who might like them, and requests for them."""

from aperture_dagster.defs.discovery.candidates import discovery_candidates
from aperture_dagster.defs.discovery.checks import CHECKS
from aperture_dagster.defs.discovery.pool import GENERATE_SUGGESTIONS, discovery_pool
from aperture_dagster.defs.discovery.requests import SEND_REQUESTS, seerr_requests, were_answered
from aperture_dagster.defs.groups import Group

GROUP = Group(
    assets=(discovery_pool, discovery_candidates, seerr_requests),
    checks=(*CHECKS, were_answered),
    jobs=(GENERATE_SUGGESTIONS, SEND_REQUESTS),
)
