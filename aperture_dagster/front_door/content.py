"""What is on a member's pages: their lists, in words, without the titles that they may not see by now."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from aperture_dagster.catalogue.people import User
from aperture_dagster.discovery.suggestions import (
    candidate_table,
    dismiss_title,
    dismissed_titles,
    suggested_title,
    where_to_stream,
    why_suggested,
)
from aperture_dagster.discovery.suitability import read_pool_titles, today_of, why_forbidden
from aperture_dagster.model.wording import counted
from aperture_dagster.popularity.queries import shows_table
from aperture_dagster.popularity.series import episode_label
from aperture_dagster.settings import Settings
from aperture_dagster.taste.lists import profile_table, reason_of, recommendation_table, top_picks_table
from aperture_dagster.taste.rewatches import watch_again
from aperture_dagster.taste.sight import VisibleTitle, titles_in_sight

LABELS = {"movie": "Films", "series": "Series"}
Row = Mapping[str, Any]


class Card(NamedTuple):
    """A title on a page: ``lines`` are shown below its name; ``item`` is its id on the media server, if it is there."""

    rank: int
    work: int
    title: str
    year: int | None
    lines: Sequence[str]
    item: str | None = None


class Shelf(NamedTuple):
    """Titles below a heading. ``action`` is the path to which the button of each sends the number of its work."""

    heading: str
    cards: Sequence[Card]
    action: str = "/not-for-me"
    button: str = "Not for me"


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a member; ``nothing`` says why there is none of its titles, ``lines`` come before them."""

    heading: str
    nothing: str
    shelves: Sequence[Shelf] = field(default_factory=tuple)
    lines: Sequence[str] = field(default_factory=tuple)


def for_you(connection: Connection, viewer: User, settings: Settings, now: datetime) -> Page:
    """Return the films and series that are recommended to a member, and what they may like to watch again."""
    rows = recommendation_table(connection, viewer.user_id)
    shelves = _shelves(rows, titles_in_sight(connection, viewer, _works(rows)), lambda row: [reason_of(row)])
    rows = watch_again(connection, viewer.user_id, today_of(now, settings))
    if again := _cards(rows, titles_in_sight(connection, viewer, _works(rows)), _times):
        shelves.append(Shelf("Watch again", again))
    return Page(
        f"For {viewer.name}", "Your list is made once the library and what you watched have been read.", shelves
    )


def shows(connection: Connection, viewer: User, settings: Settings, now: datetime) -> Page:
    """Return the series that a member watches, with the next episode of each."""
    rows = shows_table(connection, viewer.user_id, today=today_of(now, settings))
    visible = titles_in_sight(connection, viewer, _works(rows))
    cards = _cards(rows, visible, _progress)
    nothing = "A series appears here once you have watched some episodes of it."
    return Page("Shows you watch", nothing, [Shelf("Series", cards)] if cards else [])


def top_picks(connection: Connection, viewer: User, settings: Settings, now: datetime) -> Page:
    """Return what is popular in the household."""
    rows = top_picks_table(connection, today_of(now, settings))
    shelves = _shelves(rows, titles_in_sight(connection, viewer, _works(rows)), lambda row: [])
    return Page("Top Picks", "This list needs a few plays of several people.", shelves)


def suggestions(connection: Connection, viewer: User, settings: Settings, now: datetime) -> Page:
    """Return titles that are not in the library and would suit a member, with where they stream."""
    rows = candidate_table(connection, viewer.user_id, country=settings.country)
    titles = read_pool_titles(connection, _works(rows))
    allowed = {one.work_id for one in titles if why_forbidden(one, viewer, settings.country) is None}
    shown = [row for row in rows if row["work_id"] in allowed]
    shelves = [
        Shelf(
            label,
            [
                Card(place, row["work_id"], row["title"], row["year"], _outside(row))
                for place, row in enumerate(ours, start=1)
            ],
        )
        for media_type, label in LABELS.items()
        if (ours := [row for row in shown if row["media_type"] == media_type])
    ]
    return Page("Not in the library", "Nothing is suggested at the moment.", shelves)


def my_taste(connection: Connection, viewer: User, settings: Settings, now: datetime) -> Page:
    """Return what a member likes, in words, and what they have hidden."""
    likes = [row["taste"] for row in profile_table(connection, [viewer.user_id]) if row["taste"]]
    cards = [
        Card(place, row["work_id"], row["title"], None, [f"Hidden on {row['dismissed_at']:%Y-%m-%d}"])
        for place, row in enumerate(dismissed_titles(connection, viewer.user_id), start=1)
    ]
    shelves = [Shelf("Not for you", cards, "/not-for-me/undo", "Show it again")] if cards else []
    return Page(
        "My taste",
        "You have hidden nothing. “Not for me” below a title takes it off all of your lists.",
        shelves,
        likes,
    )


def hide(connection: Connection, viewer: User, work_id: int, now: datetime) -> bool:
    """Take a title off all lists of a member; False if it is none that they could find on one."""
    title = next((one.title for one in titles_in_sight(connection, viewer, [work_id]).values()), None)
    if title is None:
        title = suggested_title(connection, viewer.user_id, work_id)
    if title is None:
        return False
    dismiss_title(connection, viewer.user_id, work_id, title, now=now)
    return True


def _works(rows: Collection[Row]) -> list[int]:
    return [row["work_id"] for row in rows]


def _shelves(rows: Sequence[Row], visible: Mapping[int, VisibleTitle], say: Any) -> list[Shelf]:
    """Arrange films and series, without those that are not visible."""
    found = {
        label: _cards([row for row in rows if row["media_type"] == media_type], visible, say)
        for media_type, label in LABELS.items()
    }
    return [Shelf(label, cards) for label, cards in found.items() if cards]


def _cards(rows: Sequence[Row], visible: Mapping[int, VisibleTitle], say: Any) -> list[Card]:
    seen = [(row, visible[row["work_id"]]) for row in rows if row["work_id"] in visible]
    return [
        Card(place, title.work_id, title.title, title.year, say(row), title.server_item_id)
        for place, (row, title) in enumerate(seen, start=1)
    ]


def _times(row: Row) -> list[str]:
    return [f"Watched {row['times']} times, last in {row['last']:%B %Y}"]


def _progress(row: Row) -> list[str]:
    """Say which episode is next, how many there are to watch, and when the next one airs."""
    label = episode_label(row["next_season"], row["next_number"])
    name = " · ".join(part for part in (label, row["next_title"]) if part)
    lines = [f"Next: {name}", f"{counted(row['behind'], 'episodes')} to watch"] if name else ["You are up to date"]
    if row["days_until"] is not None:
        when = "today" if row["days_until"] == 0 else f"in {counted(row['days_until'], 'days')}"
        lines.append(f"New episode {when}")
    return lines


def _outside(row: Row) -> list[str]:
    streams = where_to_stream(row["providers"])
    return [why_suggested(row), *([f"Streams on {streams}"] if streams and not streams.startswith("rent") else [])]
