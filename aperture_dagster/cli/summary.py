"""The results of a demo: as JSON for programs, and as tables for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from itertools import zip_longest
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table
from rich.text import Text

from aperture_dagster.library.watching import episode_label
from aperture_dagster.resources.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.storage.catalogue import catalogue_size
from aperture_dagster.storage.history import count_plays
from aperture_dagster.storage.lists import profile_table, reason, recommendation_table, top_picks_table
from aperture_dagster.storage.people import read_users
from aperture_dagster.storage.published import published_summary
from aperture_dagster.storage.suggestions import candidate_table, why_suggested
from aperture_dagster.storage.watching import shows_table

SHOWN_USERS, SHOWN_FILMS, SHOWN_SERIES, SHOWN_WATCHED, SHOWN_OUTSIDE = 3, 7, 3, 3, 2


def summarize(settings: Settings, cycle: Mapping[str, Any]) -> dict[str, Any]:
    """Summarize the library, every user's list, Top Picks, and what the cycle cost."""
    today = datetime.now(ZoneInfo(settings.schedule_timezone)).date()
    with Database(settings).transaction() as connection:
        users = [user for user in read_users(connection) if not user.gone]
        active = [user for user in users if not user.is_disabled]
        lists = {user.name: recommendation_table(connection, user.user_id) for user in active}
        suggestions = {
            user.name: candidate_table(connection, user.user_id, country=settings.country) for user in active
        }
        shows = {user.name: shows_table(connection, user.user_id, today=today) for user in active}
        picks = top_picks_table(connection, today)
        published = _published(published_summary(connection), {user.user_id: user.name for user in active})
        counts = {"users": len(users), **catalogue_size(connection), "plays": count_plays(connection)}
    kept = ("media_type", "title", "year", "tmdb_id", "imdb_id")
    return {
        **counts,
        "recommendations": {
            name: [
                {key: row[key] for key in kept} | {"score": round(row["score"], 4), "because": reason(row["because"])}
                for row in rows
            ]
            for name, rows in lists.items()
        },
        "discovery": {
            name: [
                {key: row[key] for key in ("media_type", "title", "year", "tmdb_id")}
                | {"score": round(row["score"], 4), "because": why_suggested(row)}
                for row in rows
            ]
            for name, rows in suggestions.items()
        },
        "top_picks": {
            media_type: [
                {key: value for key, value in row.items() if key != "media_type"} for row in _of_type(picks, media_type)
            ]
            for media_type in ("movie", "series")
        },
        "shows_you_watch": {
            name: [
                {"title": row["title"], "next_episode": _next_episode(row)}
                | {key: row[key] for key in ("behind", "next_air_date", "days_until")}
                for row in rows
            ]
            for name, rows in shows.items()
        },
        "published": published,
        **cycle,
    }


def _published(rows: list[dict[str, Any]], names: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """What is on the media server by name: type, who sees it, how many entries, and how many changed last."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        users = [names[row["user_id"]]] if row["user_id"] in names else sorted(names.values())
        key = row["name"]
        if key in found and found[key]["type"] != row["type"]:
            key = f"{row['name']} ({row['type']})"
        one = found.setdefault(key, {"type": row["type"], "users": [], "entries": row["entries"], "changed": 0})
        one["users"] = sorted({*one["users"], *users})
        one["changed"] += row["changed"]
    return found


def _about(published: Mapping[str, Mapping[str, Any]]) -> str:
    """Say in a line what was published."""
    types = Counter(one["type"] for one in published.values())
    names = {"library": "libraries", "collection": "collections", "playlist": "playlists"}
    counts = " and ".join(f"{types[one]:,} {names[one] if types[one] > 1 else one}" for one in names if types[one])
    entries, changed = (sum(one[name] for one in published.values()) for name in ("entries", "changed"))
    return f"Published as {counts} on the media server: {entries:,} entries, {changed:,} of them changed now."


def _next_episode(row: Mapping[str, Any]) -> str | None:
    return episode_label(row["next_season"], row["next_number"]) or row["next_title"]


def _progress(row: Mapping[str, Any]) -> str:
    """Say in a line what is next in a series of ``shows_you_watch``."""
    parts = [f"next: {row['next_episode']}, {row['behind']} to watch" if row["next_episode"] else "all watched"]
    if row["days_until"] is not None:
        parts.append(f"new episode in {row['days_until']} days" if row["days_until"] else "new episode today")
    return "; ".join(parts)


def show(settings: Settings, summary: Mapping[str, Any], console: Console) -> None:
    """Print Top Picks, the lists of the users with the longest histories, what the first of them watches, and the
    figures.
    """
    picks = Table(title="Top Picks: what this household watches", title_justify="left", title_style="bold")
    for column in ("", "Film", "Viewers", "Series", "Viewers"):
        picks.add_column(column, justify="right" if column in ("", "Viewers") else "left")
    pairs = zip_longest(summary["top_picks"]["movie"], summary["top_picks"]["series"])
    for rank, pair in enumerate(pairs, start=1):
        cells = [cell for pick in pair for cell in ((_title(pick), str(pick["viewers"])) if pick else ("", ""))]
        picks.add_row(str(rank), *cells)
    console.print("", picks)
    with Database(settings).transaction() as connection:
        users = [user for user in read_users(connection) if not user.gone and not user.is_disabled]
        tastes = {user.name: profile_table(connection, [user.user_id]) for user in users}
    by_history = sorted(tastes, key=lambda name: -sum(row["titles"] for row in tastes[name]))
    for name in by_history[:SHOWN_USERS]:
        console.print("", Text(name, "bold"), sep="\n")
        for row in tastes[name]:
            if row["titles"]:
                console.print(Text(f"  {_noun(row, plural=True)}: {row['taste']}", "dim"))
        table = Table(show_header=False, box=None, padding=(0, 1))
        entries = summary["recommendations"][name]
        for row in _of_type(entries, "movie")[:SHOWN_FILMS] + _of_type(entries, "series")[:SHOWN_SERIES]:
            table.add_row(Text(_noun(row), "dim"), _title(row), Text(row["because"], "dim"))
        if name == by_history[0]:
            for row in summary["shows_you_watch"][name][:SHOWN_WATCHED]:
                table.add_row(Text("watching", "dim"), Text(row["title"]), Text(_progress(row), "dim"))
        outside = summary["discovery"][name]
        for row in _of_type(outside, "movie")[:SHOWN_OUTSIDE] + _of_type(outside, "series")[:SHOWN_OUTSIDE]:
            table.add_row(Text("not here", "dim"), _title(row), Text(row["because"], "dim"))
        console.print(table)
    console.print(
        f"\n{summary['movies']:,} films, {summary['series']:,} series, {summary['episodes']:,} episodes, "
        f"{summary['users']:,} users, {summary['plays']:,} plays; "
        f"{sum(summary['rows_written'].values()):,} rows written, {sum(summary['requests'].values()):,} requests sent."
    )
    if summary["published"]:
        console.print(_about(summary["published"]))


def _of_type(rows: list[dict[str, Any]], media_type: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["media_type"] == media_type]


def _title(row: Mapping[str, Any]) -> Text:
    return Text(f"{row['title']} ({row['year']})" if row["year"] else row["title"])


def _noun(row: Mapping[str, Any], *, plural: bool = False) -> str:
    return ("films" if plural else "film") if row["media_type"] == "movie" else "series"
