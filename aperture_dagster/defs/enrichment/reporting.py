"""What the page of a source shows: coverage, failures, quota."""

from datetime import UTC
from typing import Any

from aperture_dagster.defs.reporting import table
from aperture_dagster.instance.markdown import markdown_table
from aperture_dagster.postgres.database import Database
from aperture_dagster.worklist.engine import Tally
from aperture_dagster.worklist.populations import Source
from aperture_dagster.worklist.queue import coverage, not_fetched, outcome_summary, total, without_id
from aperture_dagster.worklist.services import QuotaLedger


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
