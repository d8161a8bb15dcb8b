"""Titles that are not in the library, and requests for them."""

from aperture_dagster.defs.discovery.seerr import SEND_REQUESTS, seerr_requests
from aperture_dagster.defs.groups import Group

GROUP = Group(assets=(seerr_requests,), jobs=(SEND_REQUESTS,))
