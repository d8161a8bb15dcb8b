"""What an asset's page shows of a published library."""

from __future__ import annotations

from typing import Any

import dagster as dg

from aperture_dagster.defs.reporting import is_brief
from aperture_dagster.publishing.outcome import Outcome
from aperture_dagster.publishing.plan import DesiredEntry
from aperture_dagster.resources.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.storage.publishable import scores_and_reasons

SHOWN = 10
SHOWN_BRIEFLY = 3
POSTER_HEIGHT = 120
LABELS = {"movie": "films", "series": "series"}


def list_page(
    context: dg.AssetExecutionContext, settings: Settings, database: Database, outcome: Outcome
) -> dict[str, Any]:
    """Show the top of a library with posters, and what entered, left and moved since the last time."""
    with database.transaction() as connection:
        notes = scores_and_reasons(connection, outcome.list_key)
    shown = outcome.listed[: SHOWN_BRIEFLY if is_brief(context) else SHOWN]
    lines = ["| | | title | | |", "|---|---|---|---|---|"]
    for entry in shown:
        score, reason = notes.get(entry.work_id, (None, ""))
        rating = "" if score is None else f"{score:.2f}"
        cells = (
            str(entry.rank),
            f"![]({_poster(settings, entry)})",
            f"{_escaped(entry.title)} {_moved(outcome, entry)}".strip(),
            rating,
            _escaped(reason),
        )
        lines.append(f"| {' | '.join(cells)} |")
    if outcome.left:
        lines += ["", f"Left: {', '.join(map(_escaped, outcome.left[:SHOWN]))}"]
    name = outcome.list_key.rpartition("/")[2]
    return {LABELS.get(name, "series"): dg.MetadataValue.md("\n".join(lines) if shown else "*nothing*")}


def _poster(settings: Settings, entry: DesiredEntry) -> str:
    """The address of a poster on the media server, which serves pictures without a key."""
    picture = next(one.picture for one in entry.files if one.picture is not None)
    return f"{settings.media_server_url}/Items/{picture.server_item_id}/Images/Primary?maxHeight={POSTER_HEIGHT}"


def _moved(outcome: Outcome, entry: DesiredEntry) -> str:
    before = outcome.ranks_before.get(entry.work_id)
    if before is None:
        return "**new**" if outcome.ranks_before else ""
    if before == entry.rank:
        return ""
    return f"▲{before - entry.rank}" if before > entry.rank else f"▼{entry.rank - before}"


def _escaped(text: str) -> str:
    """A text that neither ends a cell nor starts a link."""
    return "".join(f"\\{one}" if one in "\\|[]<>*_`" else one for one in " ".join(text.split()))
