"""Titles that are not in the library: which there are, who might like them, and requests for them."""

from aperture_dagster.defs.discovery.assets import (
    GENERATE_SUGGESTIONS,
    SEND_REQUESTS,
    discovery_candidates,
    discovery_pool,
    seerr_requests,
    were_answered,
)
from aperture_dagster.defs.discovery.checks import CHECKS
from aperture_dagster.defs.jobs import Group

GROUP = Group(
    assets=(discovery_pool, discovery_candidates, seerr_requests),
    checks=(*CHECKS, were_answered),
    jobs=(GENERATE_SUGGESTIONS, SEND_REQUESTS),
)
