"""What keeps an installation in order: backups, housekeeping, prices of AI models, and when they take place."""

from datetime import timedelta
from typing import Any

import dagster as dg

from aperture_dagster.alerts import Message, Notifier
from aperture_dagster.defs.catalogue import movies, series
from aperture_dagster.defs.daily_checks import daily_check
from aperture_dagster.defs.discovery import discovery_pool
from aperture_dagster.defs.enrichment import enriched_metadata
from aperture_dagster.defs.reporting import materialized, table, warn_unless
from aperture_dagster.defs.taste import embedder, embeddings
from aperture_dagster.instance.failures import operator_errors
from aperture_dagster.instance.forgetting import Forgetting
from aperture_dagster.instance.home import LOCATION
from aperture_dagster.instance.markdown import MEGABYTE, in_megabytes, markdown_table
from aperture_dagster.instance.pools import PRICES
from aperture_dagster.instance.purge import Retention, database_bytes, purge, runs_with_files
from aperture_dagster.instance.run_files import bytes_below, purge_run_files, shorten_server_log
from aperture_dagster.instance.runs import location_of
from aperture_dagster.jobs import Group, Job
from aperture_dagster.maintenance import KEEP_UNUSED, Freed, forget_pictures, size_of_database, tidy_database
from aperture_dagster.model import Clock, Progress
from aperture_dagster.postgres.backup.create import create_backup
from aperture_dagster.postgres.backup.folder import backup_folder, read_backups, why_lost, why_overdue
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import content_version
from aperture_dagster.prices.costs import estimate_usage, read_configured_model, read_costs, shown
from aperture_dagster.prices.endpoint import why_not_offered
from aperture_dagster.prices.refresh import OFF, PriceList, refresh_offered, refresh_prices
from aperture_dagster.prices.stored import listed_prices, read_offered
from aperture_dagster.settings import Settings
from aperture_dagster.taste.configured_embedder import Embedders

__all__ = ["GROUP"]


SHOWN_BACKUPS = 10


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
        made = create_backup(settings, clock.now(), report=context.log.info, log=context.log)
        kept = read_backups(backup_folder(settings))[-SHOWN_BACKUPS:]
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
    return warn_unless(not found, found, {"unproven": sum(not backup.is_proven for backup in backups)})


@daily_check(
    asset=database_backup,
    description="There is a proven backup from the last two days. If not, look at the last run of database_backup, and "
    "run `aperture backup create`.",
)
def is_recent_and_proven(settings: dg.ResourceParam[Settings], clock: dg.ResourceParam[Clock]) -> dg.AssetCheckResult:
    """Warn if the newest proven backup is old."""
    backups = read_backups(backup_folder(settings))
    found = why_lost(settings) or why_overdue(settings, backups, clock.now()) or ""
    return warn_unless(not found, found, {"proven": sum(backup.is_proven for backup in backups)})


BACKUP_CHECKS = (was_proven, is_recent_and_proven)


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
        freed.append(purge_run_files(settings.home_path / "dagster", kept, before=logs_before))
        freed.append(shorten_server_log(home / "postgres"))
        freed.append(forget_pictures(home, before=now - KEEP_UNUSED))
        night = Forgetting(settings, database, context.instance, clock, context.log).look_after_departures()
        for sentence in [*night.soon, *night.notes]:
            context.log.warning(sentence)
        if night.announced:
            message = Message("Aperture: users who left", "\n\n".join(night.announced), is_good=False)
            for address, reason in Notifier(settings).send_to_all(message):
                if reason is not None:
                    context.log.warning(f"No message to {address.shown}: {reason}.")
        with database.transaction() as connection:
            product_bytes = size_of_database(connection)
        sizes = {
            "product_database_bytes": product_bytes,
            "dagster_database_bytes": database_bytes(context.instance) or 0,
            "home_bytes": bytes_below(home),
        }
    departures: dict[str, Any] = {"users_forgotten": night.forgotten}
    if night.soon:
        departures["users_forgotten_soon"] = markdown_table([{"who and when": sentence} for sentence in night.soon])
    return materialized(context, _report(freed, sizes) | departures)


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


SHOWN_PRICES = 25

ai_price_list = dg.AssetSpec(
    "ai_price_list",
    group_name="maintenance",
    description="A public list of the prices of AI models.",
    kinds={"json"},
)


@dg.asset(
    group_name="maintenance",
    deps=[ai_price_list, embedder, movies, series, enriched_metadata, embeddings, discovery_pool],
    kinds={"postgres"},
    pool=PRICES,
    metadata={"dagster/table_name": "ai_prices"},
)
def ai_pricing(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    ai_price_list: dg.ResourceParam[PriceList],
    embedder: dg.ResourceParam[Embedders],
    clock: dg.ResourceParam[Clock],
) -> dg.MaterializeResult:
    """Prices of embedding models in US dollars per million tokens, from a public price list, one row per model.

    Shows what each model that can be configured costs for this library, once and per month, and how many models the
    configured endpoint offers. Models that the list never had, and all of them offline, have a price of the package.
    """
    with operator_errors(context, settings):
        progress = Progress(context.log, "lists of prices and models", 2)
        progress.begin()
        written, list_trouble = refresh_prices(ai_price_list, database, clock, context.log)
        progress.add()
        offered_trouble = refresh_offered(settings, embedder, database)
        progress.add()
        with database.transaction() as connection:
            configured = read_configured_model(settings, connection)
            offered = len(read_offered(connection, settings.embedder_url))
            usage = estimate_usage(connection, clock.now())
            costs = read_costs(connection, settings, usage)
            version = content_version(connection, "ai_prices", columns=["provider", "model", "price", "gone_since"])
            rows = len(listed_prices(connection))
    notes = [f"{trouble.rstrip('.')}." for trouble in (list_trouble, offered_trouble) if trouble is not None]
    for note in notes:
        context.log.warning(f"{note} What was known before stays as it was.")
    if settings.prices_url is None:
        notes.append(OFF)
    metadata: dict[str, Any] = {
        "dagster/row_count": rows,
        "rows_written": written,
        "configured_model": configured.model,
        "configured_price": f"{shown(configured.price)}: {configured.why}",
        "costs": table([cost.row() for cost in costs[:SHOWN_PRICES]]),
        "models": len(costs),
        "texts": usage.texts,
        "tokens": usage.tokens,
        "rate_of_change": usage.why,
        "offered": offered,
    }
    # Only what is known can be plotted.
    own = next(cost for cost in costs if cost.is_configured)
    if own.library is not None:
        metadata["usd_library"] = float(own.library)
    if own.per_month is not None:
        metadata["usd_per_month"] = float(own.per_month)
    if notes:
        metadata["note"] = " ".join(notes)
    return materialized(context, metadata, version=version)


@dg.asset_check(
    asset=ai_pricing,
    description="The price of the configured embedding model is known and still in the price list, or the model runs "
    "on this machine. If not, set APERTURE_EMBEDDER_PRICE, or choose another model.",
)
def knows_the_configured_model(
    settings: dg.ResourceParam[Settings], database: dg.ResourceParam[Database]
) -> dg.AssetCheckResult:
    """Warn of a configured model whose price is unknown or no longer listed, and say what to set."""
    with database.transaction() as connection:
        configured = read_configured_model(settings, connection)
    found = "" if configured.price is not None else f"The price of {configured.model} is unknown. {configured.why}"
    if configured.gone_since is not None:
        found = f"The price of {configured.model} may be out of date. {configured.why}"
    metadata = {"model": configured.model, "provider": configured.provider or "unknown", "why": configured.why}
    return warn_unless(not found, found, metadata)


@dg.asset_check(
    asset=ai_pricing,
    description="The endpoint still offers the configured embedding model, as far as it lists its models.",
)
def offers_the_configured_model(
    settings: dg.ResourceParam[Settings], database: dg.ResourceParam[Database]
) -> dg.AssetCheckResult:
    """Warn of a configured model that the endpoint's list lacks."""
    with database.transaction() as connection:
        offered = read_offered(connection, settings.embedder_url)
    found = why_not_offered(settings, offered) or ""
    return warn_unless(not found, found, {"offered": len(offered)})


PRICING_CHECKS = (knows_the_configured_model, offers_the_configured_model)


JOBS = (
    Job(
        "refresh_ai_pricing",
        "Read current prices of embedding models, and what each costs for this library.",
        ("ai_pricing",),
        cron="0 8 * * 1",
        why="Prices change rarely.",
        first_run=True,
        needs=("embeddings",),
        # First lists come first.
        after=("watch_history",),
    ),
    Job(
        "database_backup",
        "Back up the product's database, prove that the backup restores, and delete the oldest ones.",
        ("database_backup",),
        cron="0 1 * * *",
        why="Before the night's jobs change anything.",
    ),
    Job(
        "housekeeping",
        "Delete old runs, events, logs and whatever else nothing uses any more.",
        ("housekeeping",),
        cron="30 1 * * *",
        why="Dagster itself keeps every event forever.",
    ),
)


GROUP = Group(
    assets=(ai_price_list, ai_pricing, database_backup, housekeeping),
    checks=(*PRICING_CHECKS, *BACKUP_CHECKS),
    jobs=JOBS,
)
