"""What must be true of what others know of the titles."""

from datetime import timedelta

import dagster as dg

from aperture_dagster.defs.enrichment.logos import studio_logos
from aperture_dagster.defs.enrichment.mdblist import mdblist_scores
from aperture_dagster.defs.enrichment.merged import enriched_metadata
from aperture_dagster.defs.enrichment.omdb import omdb_ratings
from aperture_dagster.defs.enrichment.tmdb import tmdb_metadata
from aperture_dagster.defs.reporting import table
from aperture_dagster.library.sources import MDBLIST, OMDB, SOURCES, TMDB, TMDB_IMAGES, Source
from aperture_dagster.resources.providers import Clock, Database
from aperture_dagster.settings import Settings

# An answer may be as old as this beyond its time before it counts as stale: a few runs may fail.
GRACE_DAYS = 3
TOLERATED = 0.1
A_DAY = timedelta(days=1)
SOURCE_ASSETS = ((TMDB, tmdb_metadata), (OMDB, omdb_ratings), (MDBLIST, mdblist_scores))


def _covers_the_library(source: Source, asset: dg.AssetsDefinition) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset,
        name="covers_the_library",
        description=f"Few answers of {source.label} are errors; few titles have no id by which it could be asked."
        if source.asks_by == "any_known"
        else f"Few answers of {source.label} are errors.",
    )
    def check(database: dg.ResourceParam[Database]) -> dg.AssetCheckResult:
        from aperture_dagster.defs.enrichment.reporting import coverage, coverage_picture
        from aperture_dagster.storage.work_list import outcome_summary

        with database.transaction() as connection:
            rows = outcome_summary(connection, source)
        by_outcome = {name: sum(row["items"] for row in rows if row["outcome"] == name) for name in OUTCOMES}
        tried = by_outcome["ok"] + by_outcome["not_found"] + by_outcome["error"]
        errors, no_id = by_outcome["error"], by_outcome["no_id"]
        few_without_id = source.asks_by != "any_known" or no_id <= TOLERATED * sum(by_outcome.values())
        told = [f"{errors:,} of {tried:,} titles could not be fetched; they are tried again."] if errors else []
        if no_id:
            told.append(f"{no_id:,} {'title has' if no_id == 1 else 'titles have'} no id that {source.label} knows.")
        return dg.AssetCheckResult(
            passed=errors <= TOLERATED * tried and few_without_id,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"coverage": coverage(rows), "picture": dg.MetadataValue.md(coverage_picture(rows))} | by_outcome,
            description=" ".join(told) or None,
        )

    return check


def _is_fresh(source: Source, asset: dg.AssetsDefinition) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset,
        name="is_fresh",
        description=f"Few of {source.label}'s answers are older than they should get.",
    )
    def check(database: dg.ResourceParam[Database], clock: dg.ResourceParam[Clock]) -> dg.AssetCheckResult:
        from aperture_dagster.storage.work_list import share_stale

        with database.transaction() as connection:
            stale, fetched = share_stale(connection, source, now=clock.now(), grace_days=GRACE_DAYS)
        share = stale / fetched if fetched else 0.0
        return dg.AssetCheckResult(
            passed=share <= TOLERATED,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"stale": stale, "fetched": fetched, "share_stale": round(share, 4)},
            description=f"{stale:,} of {fetched:,} answers are overdue by more than {GRACE_DAYS} days."
            if stale
            else None,
        )

    return check


def _has_values_in_range(source: Source, asset: dg.AssetsDefinition) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset,
        name="has_values_in_range",
        description=f"{source.label}'s numbers lie where they can.",
    )
    def check(database: dg.ResourceParam[Database]) -> dg.AssetCheckResult:
        from aperture_dagster.storage.enrichment import values_out_of_range

        with database.transaction() as connection:
            columns = values_out_of_range(connection, source.name)
        wrong = sum(row["out_of_range"] for row in columns)
        return dg.AssetCheckResult(
            passed=wrong == 0,
            metadata={"out_of_range": wrong, "columns": table(columns)},
            description=f"{wrong:,} values are out of range." if wrong else None,
        )

    return check


@dg.asset_check(asset=studio_logos, description="Few logos could not be fetched, and every stored one has its file.")
def has_its_files(settings: dg.ResourceParam[Settings], database: dg.ResourceParam[Database]) -> dg.AssetCheckResult:
    """Warn of logos that failed, and of files that are gone; both are fetched again."""
    from aperture_dagster.storage.studios import stored_logos
    from aperture_dagster.storage.work_list import outcome_summary

    folder = settings.home_path / "logos"
    with database.transaction() as connection:
        stored = stored_logos(connection)
        rows = outcome_summary(connection, TMDB_IMAGES)
    gone = [logo.name for logo in stored if not (folder / logo.file_name).is_file()]
    errors = sum(row["items"] for row in rows if row["outcome"] == "error")
    return dg.AssetCheckResult(
        passed=not gone and errors <= TOLERATED * (len(stored) + errors),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"stored": len(stored), "gone": len(gone), "errors": errors, "outcomes": table(rows)},
        description=f"{len(gone):,} files are gone, {errors:,} logos failed." if gone or errors else None,
    )


@dg.asset_check(asset=enriched_metadata, blocking=True, description="Every title of the library is in the merged view.")
def has_every_title(database: dg.ResourceParam[Database]) -> dg.AssetCheckResult:
    """Fail when a title of the library is missing: it could never be embedded nor recommended."""
    from aperture_dagster.storage.enrichment import unmerged_titles

    with database.transaction() as connection:
        missing = unmerged_titles(connection)
    return dg.AssetCheckResult(
        passed=missing == 0,
        metadata={"missing": missing},
        description=f"{missing:,} titles are not in the merged view" if missing else None,
    )


# On the view, which is made whenever the library was read: a source's own checks do not run while it fails.
@dg.asset_check(asset=enriched_metadata, description="No source of facts has failed for a day.")
def has_sources_that_answer(
    settings: dg.ResourceParam[Settings], database: dg.ResourceParam[Database], clock: dg.ResourceParam[Clock]
) -> dg.AssetCheckResult:
    """Warn of sources that have failed for more than a day: since when, and with what."""
    from aperture_dagster.storage.services import failing_services

    now = clock.now()
    with database.transaction() as connection:
        # Who is asked no more, for want of a key, cannot answer.
        asked = {source.name for source in SOURCES if getattr(settings, source.key_setting.lower())}
        failing = [row for row in failing_services(connection) if row["service"] in asked]
    labels = {source.name: source.label for source in SOURCES}
    for_long = [row for row in failing if now - row["failing_since"] > A_DAY]
    told = "; ".join(
        f"{labels.get(row['service'], row['service'])} has failed since {row['failing_since']:%Y-%m-%d %H:%M} "
        f"({row['trouble']})"
        for row in for_long
    )
    return dg.AssetCheckResult(
        passed=not for_long,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"failing": len(failing), "failing_for_a_day": len(for_long), "services": table(failing)},
        description=told or None,
    )


CHECKS_OF_A_SOURCE = (_covers_the_library, _is_fresh, _has_values_in_range)
OUTCOMES = ("ok", "not_found", "error", "waiting", "no_id")
CHECKS = [
    *(make(source, asset) for source, asset in SOURCE_ASSETS for make in CHECKS_OF_A_SOURCE),
    has_its_files,
    has_every_title,
    has_sources_that_answer,
]
