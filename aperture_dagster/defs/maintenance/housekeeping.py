"""Housekeeping: whatever grows for ever otherwise is deleted by age."""

from datetime import timedelta
from typing import Any

import dagster as dg

from aperture_dagster.defs.reporting import MEGABYTE, in_megabytes, latest_numbers, materialized, warn_unless
from aperture_dagster.instance.failures import operator_errors
from aperture_dagster.instance.home import LOCATION
from aperture_dagster.instance.markdown import markdown_table
from aperture_dagster.instance.purge import Retention, database_bytes, purge, runs_with_files
from aperture_dagster.instance.run_files import bytes_below, purge_run_files, shorten_server_log
from aperture_dagster.instance.runs import location_of
from aperture_dagster.maintenance.tidying import Freed, size_of_database, tidy_database
from aperture_dagster.model.clock import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings

SIZES = ("product_database_bytes", "dagster_database_bytes")


@dg.multi_asset(
    # The job has the asset's name, so the step needs another.
    name="purge",
    specs=[
        dg.AssetSpec(
            "housekeeping",
            group_name="maintenance",
            kinds={"postgres"},
            description="What was deleted because it is old and nothing uses it, one row per part: logs, runs, "
            "vectors, request counts. Histories, lists and the latest state of each asset stay; the settings say how "
            "long the rest is kept. Nothing depends on this asset, and what it does changes no data version.",
        )
    ],
)
def housekeeping(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    clock: dg.ResourceParam[Clock],
) -> dg.MaterializeResult:
    """Delete what is old, in both databases and in the home."""
    now = clock.now()
    logs_before = now - timedelta(days=settings.keep_logs_days)
    with operator_errors(context, settings):
        retention = Retention(logs=logs_before, runs=now - timedelta(days=settings.kept_runs_days), now=now)
        location = location_of(context.run) or LOCATION
        freed = purge(context.instance, retention, location=location)
        freed += tidy_database(database, now)
        home = settings.home_path
        kept = runs_with_files(context.instance, location=location)
        freed.append(purge_run_files(settings.shared_path / "dagster", kept, before=logs_before))
        freed.append(shorten_server_log(home / "postgres"))
        with database.transaction() as connection:
            product_bytes = size_of_database(connection)
        sizes = {
            "product_database_bytes": product_bytes,
            "dagster_database_bytes": database_bytes(context.instance) or 0,
            "home_bytes": bytes_below(home),
        }
    return materialized(context, _report(freed, sizes))


def _report(freed: list[Freed], sizes: dict[str, int]) -> dict[str, Any]:
    """Build the metadata: totals, sizes and each part as numbers, and a table of what was freed."""
    parts = {f"{one.part}_{what}": count for one in freed for what, count in (("rows", one.rows), ("bytes", one.bytes))}
    rows = [
        {"part": one.part.replace("_", " "), "rows": f"{one.rows:,}", "MB": in_megabytes(one.bytes)} for one in freed
    ]
    return {
        "rows_freed": sum(one.rows for one in freed),
        "bytes_freed": sum(one.bytes for one in freed),
        **sizes,
        "freed": markdown_table(rows),
        **parts,
    }


@dg.asset_check(
    asset=housekeeping,
    description="Both databases together are below APERTURE_DATABASES_LIMIT_MB. If not, the result says which settings "
    "make them smaller.",
)
def databases_have_their_size(
    context: dg.AssetCheckExecutionContext, settings: dg.ResourceParam[Settings]
) -> dg.AssetCheckResult:
    """Warn if the databases are larger than the settings say that they should be."""
    sizes = latest_numbers(context, SIZES)
    total, limit = sum(sizes.values()), settings.databases_limit_mb
    found = (
        f"The databases take {in_megabytes(total)} MB, more than {limit:,} MB. Shorten APERTURE_KEEP_LOGS_DAYS or "
        "APERTURE_KEEP_RUNS_DAYS, or raise APERTURE_DATABASES_LIMIT_MB if the library is large."
        if total > limit * MEGABYTE
        else ""
    )
    return warn_unless(not found, found, {"total_bytes": total, **sizes})
