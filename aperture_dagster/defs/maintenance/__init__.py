"""What keeps an installation in order."""

from aperture_dagster.defs.jobs import Group
from aperture_dagster.defs.maintenance.assets import (
    BACKUP_CHECKS,
    JOBS,
    PRICING_CHECKS,
    ai_price_list,
    ai_pricing,
    database_backup,
    databases_have_their_size,
    household_summary,
    housekeeping,
)

__all__ = ["GROUP"]

GROUP = Group(
    assets=(ai_price_list, ai_pricing, database_backup, housekeeping, household_summary),
    checks=(*PRICING_CHECKS, *BACKUP_CHECKS, databases_have_their_size),
    jobs=JOBS,
)
