"""What keeps an installation in order."""

from aperture_dagster.defs.groups import Group
from aperture_dagster.defs.maintenance.backup import BACKUP_CHECKS, database_backup
from aperture_dagster.defs.maintenance.jobs import JOBS

__all__ = ["GROUP"]

GROUP = Group(assets=(database_backup,), checks=BACKUP_CHECKS, jobs=JOBS)
