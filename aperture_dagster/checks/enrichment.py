"""What must be true of what others know of the titles."""

import dagster as dg

from aperture_dagster.assets.common import TMDB, table
from aperture_dagster.assets.enrichment import enriched_metadata, tmdb_metadata
from aperture_dagster.resources.providers import Database, TmdbService


@dg.asset_check(asset=tmdb_metadata, description="Most titles have been found on TMDb, and few attempts fail.")
def covers_the_library(
    database: dg.ResourceParam[Database], tmdb_service: dg.ResourceParam[TmdbService]
) -> dg.AssetCheckResult:
    """Warn when more than a tenth of the titles that were asked about failed with an error."""
    from aperture_dagster.storage.enrichment import outcomes

    if not tmdb_service.configured:
        return dg.AssetCheckResult(passed=True, description="skipped: TMDB_API_KEY is not set")
    with database.transaction() as connection:
        standing = outcomes(connection, TMDB)
    by_outcome = {row["outcome"]: row["titles"] for row in standing}
    total = sum(by_outcome.values())
    errors = by_outcome.get("error", 0)
    return dg.AssetCheckResult(
        passed=errors <= 0.1 * total,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"titles": total, "errors": errors, "outcomes": table(standing)},
        description=f"{errors} of {total} titles could not be fetched; they are tried again." if errors else None,
    )


@dg.asset_check(asset=enriched_metadata, blocking=True, description="Every title of the library is in the merged view.")
def has_every_title(database: dg.ResourceParam[Database]) -> dg.AssetCheckResult:
    """Fail when a title of the library is missing: it could never be embedded nor recommended."""
    from aperture_dagster.storage.enrichment import unmerged_titles

    with database.transaction() as connection:
        missing = unmerged_titles(connection)
    return dg.AssetCheckResult(passed=missing == 0, metadata={"missing": missing})


CHECKS = [covers_the_library, has_every_title]
