"""The results of a demo: as JSON for programs, and as tables for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich.cells import cell_len
from rich.text import Text

from aperture_dagster.catalogue.people import read_users
from aperture_dagster.catalogue.queries import catalogue_size
from aperture_dagster.catalogue.watch_states import count_plays
from aperture_dagster.cli.common import Terminal, fit, pad
from aperture_dagster.discovery.suggestions import candidate_table, why_suggested
from aperture_dagster.model import counted, listed, titled
from aperture_dagster.popularity.queries import shows_table
from aperture_dagster.popularity.series import episode_label
from aperture_dagster.postgres.database import Database
from aperture_dagster.publishing.published import published_summary
from aperture_dagster.settings import Settings
from aperture_dagster.taste.lists import profile_table, reason_of, recommendation_table, top_picks_table

SHOWN_USERS, SHOWN_FILMS, SHOWN_SERIES, SHOWN_WATCHED, SHOWN_OUTSIDE = 3, 7, 3, 3, 2
PARTS = ("; ", ", ", " and ")
"""What separates the parts of a reason; the last parts are left out where there is no room."""
# Columns of a title, and of the reason beside it.
LEAST_TITLE, LONGEST_TITLE, LEAST_REASON = 20, 40, 28


def summarize(settings: Settings, cycle: Mapping[str, Any]) -> dict[str, Any]:
    """Summarize the library, every user's list, Top Picks, and what the cycle cost."""
    today = datetime.now(ZoneInfo(settings.schedule_timezone)).date()
    with Database(settings).transaction() as connection:
        users = [user for user in read_users(connection) if not user.gone]
        active = [user for user in users if not user.is_disabled]
        lists = {user.name: recommendation_table(connection, user.user_id) for user in active}
        tastes = {user.name: profile_table(connection, [user.user_id]) for user in active}
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
        "taste": {
            name: [{key: value for key, value in row.items() if key != "user"} for row in rows]
            for name, rows in tastes.items()
        },
        "recommendations": {
            name: [
                {key: row[key] for key in kept} | {"score": round(row["score"], 4), "because": reason_of(row)}
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
                {key: value for key, value in row.items() if key not in ("work_id", "media_type")}
                for row in _of_type(picks, media_type)
            ]
            for media_type in ("movie", "series")
        },
        "shows_you_watch": {
            name: [
                {"title": row["title"], "next_episode": next_episode(row)}
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
    counts = listed([counted(types[one], name) for one, name in names.items() if types[one]])
    entries, changed = (sum(one[name] for one in published.values()) for name in ("entries", "changed"))
    return f"Published as {counts} on the media server: {counted(entries, 'entries')}, {changed:,} of them changed now."


def next_episode(row: Mapping[str, Any]) -> str | None:
    """Name the episode of ``shows_you_watch`` that a user watches next; None if there is none."""
    return episode_label(row["next_season"], row["next_number"]) or row["next_title"]


def progress_in(row: Mapping[str, Any]) -> str:
    """Say in a line what is next in a series of ``shows_you_watch``."""
    parts = [f"next: {row['next_episode']}, {row['behind']} to watch" if row["next_episode"] else "all watched"]
    if row["days_until"] is not None:
        when = f"in {counted(row['days_until'], 'days')}" if row["days_until"] else "today"
        parts.append(f"new episode {when}")
    return "; ".join(parts)


def show(summary: Mapping[str, Any], console: Terminal) -> None:
    """Print Top Picks, the lists of the users with the longest histories, what the first of them watches, and the
    figures.
    """
    _show_top_picks(summary["top_picks"], console)
    tastes = summary["taste"]
    by_history = sorted(tastes, key=lambda name: -sum(row["titles"] for row in tastes[name]))
    for name in by_history[:SHOWN_USERS]:
        console.print()
        console.print_hanging(name, "bold")
        for row in tastes[name]:
            if row["titles"]:
                console.print_hanging(f"{noun(row, plural=True)}: {row['taste']}", "dim", indent=2)
        entries = summary["recommendations"][name]
        rows = [
            (noun(row), titled(row), row["because"])
            for row in _of_type(entries, "movie")[:SHOWN_FILMS] + _of_type(entries, "series")[:SHOWN_SERIES]
        ]
        if name == by_history[0]:
            watching = summary["shows_you_watch"][name][:SHOWN_WATCHED]
            rows += [("watching", row["title"], progress_in(row)) for row in watching]
        outside = summary["discovery"][name]
        rows += [
            ("not here", titled(row), row["because"])
            for row in _of_type(outside, "movie")[:SHOWN_OUTSIDE] + _of_type(outside, "series")[:SHOWN_OUTSIDE]
        ]
        print_titles(rows, console)
    sizes = [(summary[name], name) for name in ("movies", "series", "episodes", "users", "plays")]
    counts = ", ".join(counted(count, "films" if name == "movies" else name) for count, name in sizes)
    written, sent = (sum(summary[name].values()) for name in ("rows_written", "requests"))
    console.print()
    console.print_hanging(f"{counts}; {counted(written, 'rows written')}, {counted(sent, 'requests sent')}.")
    if summary["published"]:
        console.print_hanging(_about(summary["published"]))


def _show_top_picks(picks: Mapping[str, list[dict[str, Any]]], console: Terminal) -> None:
    console.print()
    console.print_hanging("Top Picks: what this household watches", "bold")
    rows = [
        (kind, titled(pick), counted(pick["viewers"], "viewers"))
        for media_type, kind in (("movie", "film"), ("series", "series"))
        for pick in picks[media_type]
    ]
    print_titles(rows, console)


def print_titles(rows: Sequence[tuple[str, str, str]], console: Terminal) -> None:
    """Print a line for each title: what it is, its name, and the reason or state beside it (or below, without room)."""
    kinds = max((len(kind) for kind, _, _ in rows), default=0)
    room = console.text_width - kinds - 4
    titles = min(max((cell_len(title) for _, title, _ in rows), default=0), LONGEST_TITLE, max(room // 2, LEAST_TITLE))
    for kind, title, about in rows:
        start = Text.assemble(("  " + kind.ljust(kinds), "dim"), "  ")
        if room - titles - 2 < LEAST_REASON:
            console.print(start + Text(fit(title, room)), soft_wrap=True)
            if about:
                console.print(Text(" " * len(start) + fit(about, room, between=PARTS), "dim"), soft_wrap=True)
        else:
            line = (
                start
                + Text(pad(fit(title, titles), titles))
                + Text(f"  {fit(about, room - titles - 2, between=PARTS)}", "dim")
            )
            line.rstrip()
            console.print(line, soft_wrap=True)


def _of_type(rows: list[dict[str, Any]], media_type: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["media_type"] == media_type]


def noun(row: Mapping[str, Any], *, plural: bool = False) -> str:
    """Name what a row is about, by its media type."""
    return ("films" if plural else "film") if row["media_type"] == "movie" else "series"
