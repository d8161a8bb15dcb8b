"""Metadata that every source shows on its asset's page: coverage, failures, quota."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from aperture_dagster.defs.reporting import SHOWN_NAMES, table
from aperture_dagster.library.sources import Source
from aperture_dagster.storage.work_list import not_fetched, outcome_summary, without_id

if TYPE_CHECKING:
    from aperture_dagster.resources.providers import Database
    from aperture_dagster.resources.quota import QuotaLedger
    from aperture_dagster.worklist.engine import Tally

BAR_WIDTH = 30
SHADES = {"ok": "█", "not_found": "▒", "error": "▓", "waiting": "░", "no_id": "·"}


def coverage_picture(rows: Sequence[Mapping[str, Any]]) -> str:
    """A bar per kind of item, in Markdown: how much of the library a source has answered about, and how.

    Args:
        rows: of :func:`aperture_dagster.storage.work_list.outcome_summary`.
    """
    if not rows:
        return "*nothing in the library yet*"
    lines = []
    for kind in dict.fromkeys(row["kind"] for row in rows):
        own = {row["outcome"]: row for row in rows if row["kind"] == kind}
        total = sum(row["items"] for row in own.values())
        bar = "".join(SHADES[name] * round(BAR_WIDTH * own[name]["items"] / total) for name in SHADES if name in own)
        told = ", ".join(f"{own[name]['items']:,} {name.replace('_', ' ')}" for name in SHADES if name in own)
        lines.append(f"`{kind:<10} {bar[:BAR_WIDTH]:<{BAR_WIDTH}}` {told}")
    legend = " ".join(f"`{shade}` {name.replace('_', ' ')}" for name, shade in SHADES.items())
    return "\n\n".join([*lines, legend])


def coverage(rows: Sequence[Mapping[str, Any]]) -> float:
    """The share (0-1) of what a source can be asked about that it has answered; 1 when there is nothing."""
    askable = sum(row["items"] for row in rows if row["outcome"] != "no_id")
    answered = sum(row["items"] for row in rows if row["outcome"] == "ok")
    return answered / askable if askable else 1.0


def source_metadata(
    database: Database,
    source: Source,
    tally: Tally,
    *,
    requests: int,
    now: datetime,
    quota: QuotaLedger | None = None,
) -> dict[str, Any]:
    """The metadata of a run of a source: numbers with stable names first, then the state of its list."""
    with database.transaction() as connection:
        rows = outcome_summary(connection, source)
        troubled = not_fetched(connection, source)
        unknowable = without_id(connection, source)
    metadata: dict[str, Any] = {
        "dagster/row_count": sum(row["items"] for row in rows if row["outcome"] == "ok"),
        "coverage": round(coverage(rows), 4),
        "asked": tally.asked,
        "fetched": tally.ok,
        "not_found": tally.not_found,
        "errors": tally.error,
        "no_id": sum(row["items"] for row in rows if row["outcome"] == "no_id"),
        "still_due": tally.still_due,
        "rows_written": tally.rows,
        "requests": requests,
    }
    if quota is not None:
        used, limit = quota.usage()
        metadata |= {"quota_used": used, "quota_limit": limit}
    if tally.goes_on_at is not None:
        metadata["goes_on_at"] = tally.goes_on_at.astimezone(UTC).isoformat(timespec="minutes")
    if unknowable:
        metadata["without_id"] = table(unknowable)
    return metadata | {
        "coverage_by_kind": dg.MetadataValue.md(coverage_picture(rows)),
        "outcomes": table(rows),
        "not_fetched": table(troubled),
    }


def skipped(context: dg.AssetExecutionContext, source: Source, keeps: str) -> dg.MaterializeResult:
    """The result of a source that has no key: said in the log and on the page, and the graph goes on."""
    reason = f"skipped: {source.key_setting} is not set"
    context.log.warning(f"{reason}; {keeps}.")
    return dg.MaterializeResult(metadata={"skipped": reason, "rows_written": 0, "requests": 0})


def tell_waiting(context: dg.AssetExecutionContext, source: Source):
    """What to do while another run uses the source: say so at first, then every minute."""

    def waiting(seconds: float) -> None:
        if int(seconds) % 60 == 0:
            context.log.info(f"Another run is asking {source.label}; waiting for it ({seconds:.0f} s so far).")

    return waiting


def warn_of_titles_without_id(context: dg.AssetExecutionContext, database: Database, source: Source) -> None:
    """Say how many titles have no id that any source knows, which nobody would notice otherwise."""
    with database.transaction() as connection:
        count = sum(row["items"] for row in outcome_summary(connection, source) if row["outcome"] == "no_id")
        names = [row["title"] for row in without_id(connection, source, limit=SHOWN_NAMES)]
    if count:
        context.log.warning(
            f"Titles with no id that any source knows: {count:,} ({', '.join(names)}"
            f"{', …' if count > len(names) else ''}). They are not enriched; an AniDB id is not enough. Let the media "
            "server identify them by TMDb, IMDb or, for series, TVDb."
        )
