"""How suggestions are shown on the assets' pages."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import dagster as dg

from aperture_dagster.defs.markdown import Markup, markdown_list, markdown_table
from aperture_dagster.defs.reporting import is_brief, score_table
from aperture_dagster.settings import Settings
from aperture_dagster.storage.suggestions import where_to_stream, why_suggested
from aperture_dagster.wording import shortened, titled

SHOWN = 4
POSTER = "w92"
LONGEST_TITLE = 40


def shown_lists(
    context: dg.AssetExecutionContext, settings: Settings, rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Show the top of a user's films and series: posters, reasons and services; only titles in runs of automation."""
    from aperture_dagster.ranking.discovery import DISCOVERY_COMPONENTS

    shown: dict[str, Any] = {}
    scores: dict[str, Any] = {}
    for media_type, name in (("movie", "films"), ("series", "series")):
        own = [row for row in rows if row["media_type"] == media_type]
        if is_brief(context):
            shown[name] = markdown_list(map(titled, own[:SHOWN]), numbered=True)
            continue
        shown[name] = markdown_table([_described(settings, row) for row in own[:SHOWN]])
        scores[f"{name}_score"] = score_table(own[:SHOWN], DISCOVERY_COMPONENTS)
    return shown | scores


def household_lists(settings: Settings, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Show the top of the household's films and series, and whom each would please."""
    shown: dict[str, Any] = {}
    for media_type, name in (("movie", "films"), ("series", "series")):
        own = [row for row in rows if row["media_type"] == media_type]
        shown[name] = markdown_table(
            [
                {
                    "rank": row["rank"],
                    "poster": poster(settings, row["poster_path"]),
                    "title": titled({**row, "title": shortened(row["title"], LONGEST_TITLE)}),
                    "would please": ", ".join(row["users"][:3]) + (" …" if len(row["users"]) > 3 else ""),
                    "stream": where_to_stream(row["providers"]),
                }
                for row in own[:SHOWN]
            ]
        )
    return shown


def poster(settings: Settings, path: str | None) -> Markup:
    """Return Markdown that shows a small poster from TMDb; empty without one."""
    return Markup(f"![]({settings.tmdb_image_url}/{POSTER}{quote(path)})" if path else "")


def _described(settings: Settings, row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "rank": row["rank"],
        "poster": poster(settings, row["poster_path"]),
        "title": titled({**row, "title": shortened(row["title"], LONGEST_TITLE)}),
        "why": why_suggested(row),
        "stream": where_to_stream(row["providers"]),
    }
