"""What an asset's page shows of a published library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from aperture_dagster.defs.reporting import is_brief, table
from aperture_dagster.instance.markdown import course, markdown, markdown_list
from aperture_dagster.instance.pictures import poster_row
from aperture_dagster.model.clock import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.publishing.outcome import Outcome
from aperture_dagster.publishing.plan import DesiredEntry
from aperture_dagster.publishing.publishable import scores_and_reasons
from aperture_dagster.settings import Settings

SHOWN = 10
SHOWN_BRIEFLY = 3
LABELS = {"movie": "films", "series": "series"}


def page_of(
    context: dg.AssetExecutionContext,
    settings: Settings,
    database: Database,
    clock: Clock,
    outcomes: Sequence[Outcome],
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """Show libraries, and count what changed in libraries, collections and playlists."""
    today = clock.now().astimezone(ZoneInfo(settings.schedule_timezone)).date()
    page: dict[str, Any] = {}
    for outcome in outcomes:
        if outcome.kind == "library":
            with database.transaction() as connection:
                notes = scores_and_reasons(connection, outcome.list_key, today=today)
            page |= _list_page(context, settings, outcome, notes)
    for name in ("entries", "added", "changed", "removed"):
        page[name] = sum(getattr(one, name) for one in outcomes)
    if waiting := sum(one.waiting for one in outcomes):
        page["waiting"] = waiting
    if skipped := [reason for one in outcomes for reason in one.skipped]:
        page |= {"skipped": len(skipped), "skipped_titles": markdown_list(skipped[:20])}
    return page | ({"warnings": markdown_list(warnings)} if warnings else {})


def _list_page(
    context: dg.AssetExecutionContext,
    settings: Settings,
    outcome: Outcome,
    notes: Mapping[int, tuple[float | None, str]],
) -> dict[str, Any]:
    """Show the top of a library with posters, and what entered, left and moved since the last time."""
    shown = outcome.listed[: SHOWN_BRIEFLY if is_brief(context) else SHOWN]
    label = LABELS.get(outcome.list_key.rpartition("/")[2], "series")
    records = []
    for entry in shown:
        score, reason = notes.get(entry.work_id, (None, ""))
        record = {"rank": entry.rank, "title": entry.title, "change": _change(outcome, entry), "score": score}
        records.append(record | {"because": reason})
    # A column without any value says nothing.
    columns = [name for name in (records[0] if records else ()) if any(one[name] not in (None, "") for one in records)]
    page: dict[str, Any] = {}
    if posters := poster_row(settings, _pictured(shown)):
        page[f"{label}_posters"] = markdown(posters)
    page[label] = table(records, columns)
    if outcome.left:
        page[f"{label}_left"] = ", ".join(outcome.left[:SHOWN])
    return page


def _pictured(entries: Iterable[DesiredEntry]) -> list[tuple[str, str | None]]:
    """Return the titles that have a picture on the media server, with its id there, in rank order."""
    pictures = (
        (entry.title, next((one.picture for one in entry.files if one.picture is not None), None)) for entry in entries
    )
    return [(title, one.server_item_id) for title, one in pictures if one is not None and one.tag is not None]


def _change(outcome: Outcome, entry: DesiredEntry) -> str:
    before = outcome.ranks_before.get(entry.work_id)
    if before is None:
        return "new" if outcome.ranks_before else ""
    return course(before, entry.rank)
