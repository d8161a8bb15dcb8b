"""What keeps an installation in order."""

from aperture_dagster.defs.groups import Group
from aperture_dagster.defs.maintenance.backup import BACKUP_CHECKS, database_backup
from aperture_dagster.defs.maintenance.housekeeping import databases_have_their_size, housekeeping
from aperture_dagster.defs.maintenance.jobs import JOBS
from aperture_dagster.defs.maintenance.pricing import PRICING_CHECKS, ai_price_list, ai_pricing

__all__ = ["GROUP"]

GROUP = Group(
    assets=(ai_price_list, ai_pricing, database_backup, housekeeping),
    checks=(*PRICING_CHECKS, *BACKUP_CHECKS, databases_have_their_size),
    jobs=JOBS,
)
