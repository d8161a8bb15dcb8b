"""Checks of what outside services say about the library's titles."""

from datetime import timedelta

import dagster as dg

from aperture_dagster.automation import daily_check
from aperture_dagster.defs.enrichment.assets import enriched_metadata, studio_logos
from aperture_dagster.defs.reporting import table, warn_unless
from aperture_dagster.enrichment.queries import unmerged_titles, values_out_of_range
from aperture_dagster.enrichment.sources import SERVICES, SOURCES, TitleSource
from aperture_dagster.enrichment.studios import stored_logos
from aperture_dagster.enrichment.tmdb.source import TMDB_IMAGES
from aperture_dagster.model.clock import Clock
from aperture_dagster.model.moments import elapsed
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.worklist.queue import count_stale, coverage, failing_services, outcome_summary, total
from aperture_dagster.worklist.services import Services

# An answer counts as overdue after its time and this, since a few runs may fail.
GRACE_DAYS = 3
TOLERATED = 0.1


def covers_the_library(source: TitleSource) -> dg.AssetChecksDefinition:
    """Return a check that warns of failed requests and, if the source knows every id, of titles without one."""
    knows_every_id = source.asks_by == "any_known"
    description = f"At most 10 % of the requests to {source.label} failed"
    description += ", and at most 10 % of the titles have no id that it knows" if knows_every_id else ""
    description += ". What failed is retried with growing pauses; the page of the asset says what, and why."

    @daily_check(asset=source.table, name="covers_the_library", description=description)
    def check(database: dg.ResourceParam[Database]) -> dg.AssetCheckResult:
        with database.transaction() as connection:
            rows = outcome_summary(connection, source)
        by_outcome = {name: total(rows, name) for name in ("ok", "not_found", "error", "waiting", "no_id")}
        errors, no_id = by_outcome["error"], by_outcome["no_id"]
        tried = by_outcome["ok"] + by_outcome["not_found"] + errors
        few_without_id = not knows_every_id or no_id <= TOLERATED * sum(by_outcome.values())
        found = [f"{errors:,} of {tried:,} titles could not be fetched; they are tried again."] if errors else []
        if no_id:
            found.append(f"{no_id:,} {'title has' if no_id == 1 else 'titles have'} no id that {source.label} knows.")
        passed = errors <= TOLERATED * tried and few_without_id
        return warn_unless(passed, " ".join(found), {"coverage": coverage(rows), **by_outcome})

    return check


def is_fresh(source: TitleSource) -> dg.AssetChecksDefinition:
    """Return a check that warns when many answers are overdue."""

    @daily_check(
        asset=source.table,
        name="is_fresh",
        description=f"At most 10 % of {source.label}'s answers are overdue by more than {GRACE_DAYS} days. If more "
        "are, the job does not keep up: look at its quota, and at the last runs.",
    )
    def check(database: dg.ResourceParam[Database], clock: dg.ResourceParam[Clock]) -> dg.AssetCheckResult:
        with database.transaction() as connection:
            stale, fetched = count_stale(connection, source, now=clock.now(), grace_days=GRACE_DAYS)
        share = stale / fetched if fetched else 0.0
        found = f"{stale:,} of {fetched:,} answers are overdue by more than {GRACE_DAYS} days." if stale else ""
        metadata = {"stale": stale, "fetched": fetched, "share_stale": round(share, 4)}
        return warn_unless(share <= TOLERATED, found, metadata)

    return check


def has_values_in_range(source: TitleSource) -> dg.AssetChecksDefinition:
    """Return a check that fails when numbers lie outside of the ranges that the source's table declares."""

    @daily_check(
        asset=source.table,
        name="has_values_in_range",
        description=f"{source.label}'s numbers lie within the ranges of their scales. If not, the service has changed "
        "a scale, and lists may be ranked wrongly: please report it.",
    )
    def check(database: dg.ResourceParam[Database]) -> dg.AssetCheckResult:
        with database.transaction() as connection:
            columns = values_out_of_range(connection, source.name)
        wrong = [row for row in columns if row["out_of_range"]]
        count = sum(row["out_of_range"] for row in wrong)
        return dg.AssetCheckResult(
            passed=not wrong,
            metadata={"out_of_range": count} | ({"columns": table(wrong)} if wrong else {}),
            description=f"{count:,} values are out of range." if wrong else None,
        )

    return check


@daily_check(
    asset=studio_logos,
    description="At most 10 % of the logos failed, and no stored one lost its file. Both are downloaded again by the "
    "next run of enrich_studio_logos.",
)
def has_its_files(settings: dg.ResourceParam[Settings], database: dg.ResourceParam[Database]) -> dg.AssetCheckResult:
    """Warn of logos that failed, and of files that are gone; both are fetched again."""
    folder = settings.shared_path / "logos"
    with database.transaction() as connection:
        stored = stored_logos(connection)
        errors = total(outcome_summary(connection, TMDB_IMAGES), "error")
    gone = [logo.name for logo in stored if not (folder / logo.file_name).is_file()]
    return warn_unless(
        not gone and errors <= TOLERATED * (len(stored) + errors),
        f"{len(gone):,} files are gone, {errors:,} logos failed." if gone or errors else "",
        {"stored": len(stored), "gone": len(gone), "errors": errors},
    )


@dg.asset_check(
    asset=enriched_metadata,
    blocking=True,
    description="Every title of the library is in the merged view; one that is missing could not be recommended. "
    "Materialize enriched_metadata again. Until it passes, nothing downstream is made.",
)
def has_every_title(database: dg.ResourceParam[Database]) -> dg.AssetCheckResult:
    """Fail when a title of the library is missing: it could be neither embedded nor recommended."""
    with database.transaction() as connection:
        missing = unmerged_titles(connection)
    return dg.AssetCheckResult(
        passed=missing == 0,
        metadata={"missing": missing},
        description=f"{missing:,} titles are not in the merged view" if missing else None,
    )


# A check on the view, because the checks of a source do not run while it fails.
@daily_check(
    asset=enriched_metadata,
    description="No source that has a key has failed for more than a day. If one has, its facts grow old: check its "
    "key and whether it can be reached (aperture doctor).",
)
def has_sources_that_answer(
    services: dg.ResourceParam[Services], database: dg.ResourceParam[Database], clock: dg.ResourceParam[Clock]
) -> dg.AssetCheckResult:
    """Warn of sources that have failed for more than a day: since when, and with what error."""
    now = clock.now()
    asked = {service.name: service.label for service in SERVICES if services.get(service).configured}
    with database.transaction() as connection:
        failing = [row for row in failing_services(connection) if row["service"] in asked]
    for_long = [row for row in failing if elapsed(row["failing_since"], now) > timedelta(days=1)]
    description = "; ".join(
        f"{asked[row['service']]} has failed since {row['failing_since']:%Y-%m-%d %H:%M} ({row['trouble']})"
        for row in for_long
    )
    metadata = {"failing": len(failing), "failing_for_a_day": len(for_long)}
    return warn_unless(not for_long, description, metadata | ({"services": table(failing)} if failing else {}))


CHECKS = [
    *(make(source) for source in SOURCES for make in (covers_the_library, is_fresh, has_values_in_range)),
    has_its_files,
    has_every_title,
    has_sources_that_answer,
]
