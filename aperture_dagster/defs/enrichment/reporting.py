"""What the page of a source shows: coverage, failures, quota."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from typing import Any

import dagster as dg

from aperture_dagster.defs.reporting import SHOWN_NAMES, materialized, table
from aperture_dagster.instance.markdown import markdown_table
from aperture_dagster.postgres.database import Database
from aperture_dagster.worklist.engine import Tally
from aperture_dagster.worklist.populations import Source
from aperture_dagster.worklist.queue import not_fetched, outcome_summary, without_id
from aperture_dagster.worklist.quota import QuotaLedger
from aperture_dagster.worklist.services import Service


def total(rows: Sequence[Mapping[str, Any]], outcome: str) -> int:
    """Sum the items with an outcome over all kinds."""
    return sum(row["items"] for row in rows if row["outcome"] == outcome)


def coverage(rows: Sequence[Mapping[str, Any]]) -> float:
    """Return the share (0-1) of the items that a source can be asked about and has answered; 1 if there are none."""
    askable = sum(row["items"] for row in rows) - total(rows, "no_id")
    return total(rows, "ok") / askable if askable else 1.0


def source_metadata(
    database: Database, source: Source, tally: Tally, *, requests: int, quota: QuotaLedger | None = None
) -> dict[str, Any]:
    """Return the metadata of a run of a source: numbers, and tables only if it asked about anything.

    Most runs find nothing due, and a table costs as much in the event log as the whole rest of the run.
    """
    with database.transaction() as connection:
        rows = outcome_summary(connection, source)
        failed, unknowable = [], []
        if tally.asked:
            failed, unknowable = not_fetched(connection, source), without_id(connection, source)
    metadata: dict[str, Any] = {
        "dagster/row_count": total(rows, "ok"),
        "coverage": round(coverage(rows), 4),
        "asked": tally.asked,
        "fetched": tally.ok,
        "not_found": tally.not_found,
        "errors": tally.error,
        "no_id": total(rows, "no_id"),
        "still_due": tally.still_due,
        "rows_written": tally.rows,
        "requests": requests,
    }
    if quota is not None:
        metadata["quota_used"], metadata["quota_limit"] = quota.usage()
    if tally.resumes_at is not None:
        metadata["resumes_at"] = tally.resumes_at.astimezone(UTC).isoformat(timespec="minutes")
    if tally.asked:
        metadata["outcomes"] = markdown_table(rows, ["kind", "outcome", "items", "share", "next_due"])
        if failed:
            metadata["not_fetched"] = table(failed, ["name", "outcome", "detail", "attempts"])
    if unknowable:
        metadata["without_id"] = markdown_table(unknowable)
    return metadata


def skipped(
    context: dg.AssetExecutionContext, service: Service, version: str, *, without: str | None = None
) -> dg.MaterializeResult:
    """Return the result of a service that has no key, after logging what is missing ``without`` it.

    The asset counts as materialized, with the ``version`` of the rows that are there, so what waits for it continues.
    """
    reason = f"skipped: {service.key_setting} is not set"
    context.log.warning(f"{reason}; {without or service.without_key}.")
    return materialized(context, {"skipped": reason, "rows_written": 0, "requests": 0}, version=version)


def log_waiting(context: dg.AssetExecutionContext, source: Source) -> Callable[[float], None]:
    """Return a function that logs, at first and then every minute, that another run uses the source."""

    def waiting(seconds: float) -> None:
        if int(seconds) % 60 == 0:
            context.log.info(f"Another run is asking {source.label}; waiting for it ({seconds:.0f} s so far).")

    return waiting


def warn_of_titles_without_id(context: dg.AssetExecutionContext, database: Database, source: Source) -> None:
    """Warn of titles that no source can be asked about, which nobody would notice otherwise."""
    with database.transaction() as connection:
        count = total(outcome_summary(connection, source), "no_id")
        names = [row["title"] for row in without_id(connection, source, limit=SHOWN_NAMES)]
    if count:
        context.log.warning(
            f"Titles without an id that any source knows: {count:,} ({', '.join(names)}"
            f"{', …' if count > len(names) else ''}). They are not enriched; an AniDB id is not enough. Let the media "
            "server identify them by TMDb, IMDb or, for series, TVDb."
        )
