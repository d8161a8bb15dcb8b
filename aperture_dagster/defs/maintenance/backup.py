"""Backups of the product's database, made and proven every night."""

import dagster as dg

from aperture_dagster.automation import daily_check
from aperture_dagster.defs.reporting import MEGABYTE, in_megabytes, materialized, warn_unless
from aperture_dagster.instance.failures import operator_errors
from aperture_dagster.instance.markdown import markdown_table
from aperture_dagster.model.clock import Clock
from aperture_dagster.postgres.backup.create import create_backup
from aperture_dagster.postgres.backup.folder import backup_folder, read_backups, why_overdue
from aperture_dagster.postgres.owner import ensure_owner
from aperture_dagster.settings import Settings

SHOWN = 10


@dg.multi_asset(
    # The job has the asset's name, so the step needs another.
    name="make_backup",
    specs=[
        dg.AssetSpec(
            "database_backup",
            group_name="maintenance",
            kinds={"postgres"},
            description="The newest backup of the product's database, one file per night: "
            "`aperture-backup-YYYY-MM-DD.sql.gz`. It gets its name after it has been restored into a scratch database "
            "and compared, row by row, with what was dumped; only then are the oldest backups deleted. Dagster's own "
            "database is not in it.",
        )
    ],
)
def database_backup(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], clock: dg.ResourceParam[Clock]
) -> dg.MaterializeResult:
    """Make a backup, prove it, and delete the oldest ones."""
    with operator_errors(context, settings):
        made = create_backup(settings, clock.now(), ensure_owner, report=context.log.info)
        kept = read_backups(backup_folder(settings))[-SHOWN:]
    metadata = {
        "dagster/row_count": made.rows,
        "size_mb": made.bytes / MEGABYTE,
        "proven": made.unproven_because is None,
        "seconds": made.seconds,
        "file": dg.MetadataValue.path(str(made.path)),
        "backups": markdown_table(
            [
                {"file": one.path.name, "MB": in_megabytes(one.bytes), "proven": "yes" if one.is_proven else "no"}
                for one in reversed(kept)
            ]
        ),
    }
    if made.deleted:
        metadata["deleted"] = ", ".join(made.deleted)
    if made.unproven_because:
        context.log.warning(f"The backup was dumped, but not proven: {made.unproven_because}")
        metadata["not_proven_because"] = made.unproven_because
    return materialized(context, metadata)


@dg.asset_check(
    asset=database_backup,
    description="The new backup was restored and equals the database. If not, it is kept but does not count, and no "
    "older one is deleted; the log of the run says what is missing.",
)
def was_proven(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    """Warn if the newest backup could not be proven."""
    backups = read_backups(backup_folder(settings))
    found = "There is no backup." if not backups else ""
    if backups and not backups[-1].is_proven:
        found = f"{backups[-1].path.name} could not be proven: the log of the run that made it says why."
    return warn_unless(not found, found, {"unproven": sum(not one.is_proven for one in backups)})


@daily_check(
    asset=database_backup,
    description="There is a proven backup from the last two days. If not, look at the last run of database_backup, and "
    "run `aperture backup create`.",
)
def is_recent_and_proven(settings: dg.ResourceParam[Settings], clock: dg.ResourceParam[Clock]) -> dg.AssetCheckResult:
    """Warn if the newest proven backup is old."""
    backups = read_backups(backup_folder(settings))
    found = why_overdue(settings, backups, clock.now()) or ""
    return warn_unless(not found, found, {"proven": sum(one.is_proven for one in backups)})


BACKUP_CHECKS = (was_proven, is_recent_and_proven)
