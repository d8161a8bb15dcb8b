"""Backups of the product's database, made and proven every night."""

from datetime import timedelta

import dagster as dg

from aperture_dagster.automation import daily_check
from aperture_dagster.defs.failures import operator_errors
from aperture_dagster.defs.markdown import markdown_table
from aperture_dagster.defs.reporting import MEGABYTE, in_megabytes, materialized, warn_unless
from aperture_dagster.resources.clock import Clock
from aperture_dagster.settings import Settings
from aperture_dagster.storage.backup.create import BackupReport, create_backup
from aperture_dagster.storage.backup.manifest import Backup, read_backups
from aperture_dagster.storage.backup.places import backup_folder
from aperture_dagster.storage.backup.retention import why_overdue

SHOWN = 10
# A backup by hand may be under way.
PATIENCE_SECONDS = 600.0


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
        report = create_backup(
            settings,
            clock,
            reason="schedule",
            patience_seconds=PATIENCE_SECONDS,
            progress=lambda stage, done, total: None if done else context.log.info(f"Backup: {stage}."),
        )
    manifest = report.backup.manifest
    for note in report.notes:
        context.log.warning(note)
    if manifest.proven is None:
        context.log.warning(f"The backup was dumped, but not proven: {manifest.unproven_because}")
    return materialized(
        context,
        {
            "dagster/row_count": manifest.fingerprint.rows,
            "size_mb": manifest.bytes / MEGABYTE,
            "proven": manifest.proven is not None,
            "seconds": sum(report.seconds.values()),
            **{f"{stage}_seconds": seconds for stage, seconds in report.seconds.items()},
            "file": dg.MetadataValue.path(str(report.backup.path)),
            "backups": markdown_table([_row(one) for one in reversed(report.kept[-SHOWN:])]),
            **_sentences(report),
        },
    )


def _sentences(report: BackupReport) -> dict[str, str]:
    """Return what was deleted and what to know, where there is anything."""
    found = {"deleted": ", ".join(report.deleted), "notes": " ".join(report.notes)}
    found["not_proven_because"] = report.backup.manifest.unproven_because or ""
    return {name: text for name, text in found.items() if text}


def _row(backup: Backup) -> dict[str, object]:
    one = backup.manifest
    state = "no" if one.proven is None else "yes" if backup.is_proven else "changed since"
    return {
        "file": backup.path.name,
        "MB": in_megabytes(backup.bytes),
        "rows": f"{one.fingerprint.rows:,}",
        "proven": state,
    }


@dg.asset_check(
    asset=database_backup,
    description="The new backup was restored and equals the database. If not, it is kept but does not count, and no "
    "older one is deleted; the result says what is missing.",
)
def was_proven(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    """Warn if the newest backup could not be proven, and say what is missing."""
    backups = read_backups(backup_folder(settings)).kept
    newest = backups[-1].manifest if backups else None
    found = "There is no backup." if newest is None else newest.unproven_because or ""
    return warn_unless(not found, found, {"unproven": sum(not one.is_proven for one in backups)})


@daily_check(
    asset=database_backup,
    description="There is a proven backup from the last two days. If not, look at the last run of database_backup, and "
    "run `aperture backup create`.",
)
def is_recent_and_proven(settings: dg.ResourceParam[Settings], clock: dg.ResourceParam[Clock]) -> dg.AssetCheckResult:
    """Warn if the newest proven backup is old, or its file is not what it was."""
    kept = read_backups(backup_folder(settings)).kept
    now = clock.now()
    found = why_overdue(kept, now) or ""
    proven = [one.manifest.made_at for one in kept if one.is_proven]
    metadata: dict[str, float] = {"proven": len(proven)}
    if proven:
        metadata["age_hours"] = (now - proven[-1]) / timedelta(hours=1)
    return warn_unless(not found, found, metadata)


BACKUP_CHECKS = (was_proven, is_recent_and_proven)
