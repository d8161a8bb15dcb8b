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
from aperture_dagster.popularity.queries import shows_table
from aperture_dagster.popularity.series import episode_label
from aperture_dagster.settings import Settings
from aperture_dagster.taste.lists import profile_table, reason_of, recommendation_table, top_picks_table
from aperture_dagster.taste.rewatches import watch_again
from aperture_dagster.taste.sight import VisibleTitle, titles_in_sight
from aperture_dagster.texts.translations import ENGLISH, Texts, marked

LABELS = {"movie": marked("Films"), "series": marked("Series")}
NAMED_TRAITS = 4
Row = Mapping[str, Any]


class Card(NamedTuple):
    """A title on a page: ``lines`` are shown below its name; ``item`` is its id on the media server, if it is there.

    ``row`` is that of the list.
    """

    rank: int
    work: int
    title: str
    year: int | None
    lines: Sequence[str]
    row: Row
    item: str | None = None


class Shelf(NamedTuple):
    """Titles below a heading. ``action`` is the path to which the button of each sends the number of its work.

    Heading and button are translated where they are shown.
    """

    heading: str
    cards: Sequence[Card]
    action: str = "/not-for-me"
    button: str = marked("Not for me")


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a member; ``nothing`` says why there is none of its titles, ``lines`` come before them."""

    heading: str
    nothing: str
    shelves: Sequence[Shelf] = field(default_factory=tuple)
    lines: Sequence[str] = field(default_factory=tuple)


def for_you(connection: Connection, viewer: User, settings: Settings, now: datetime, _: Texts) -> Page:
    """Return the films and series that are recommended to a member, and what they may like to watch again."""
    rows = recommendation_table(connection, viewer.user_id)
    shelves = _shelves(rows, titles_in_sight(connection, viewer, _works(rows)), lambda row: [reason_of(row, _)])
    rows = watch_again(connection, viewer.user_id, today_of(now, settings))
    if again := _cards(rows, titles_in_sight(connection, viewer, _works(rows)), lambda row: [_times(row, _)]):
        shelves.append(Shelf(marked("Watch again"), again))
    return Page(
        _("For %(name)s", name=viewer.name),
        _("Your list is made once the library and what you watched have been read."),
        shelves,
    )


def shows(connection: Connection, viewer: User, settings: Settings, now: datetime, _: Texts) -> Page:
    """Return the series that a member watches, with the next episode of each."""
    rows = shows_table(connection, viewer.user_id, today=today_of(now, settings))
    visible = titles_in_sight(connection, viewer, _works(rows))
    cards = _cards(rows, visible, lambda row: _progress(row, _))
    nothing = _("A series appears here once you have watched some episodes of it.")
    return Page(_("Shows you watch"), nothing, [Shelf(LABELS["series"], cards)] if cards else [])


def top_picks(connection: Connection, viewer: User, settings: Settings, now: datetime, _: Texts) -> Page:
    """Return what is popular in the household."""
    rows = top_picks_table(connection, today_of(now, settings))
    shelves = _shelves(rows, titles_in_sight(connection, viewer, _works(rows)), lambda row: [])
    return Page(_("Top Picks"), _("This list needs a few plays of several people."), shelves)


def suggestions(connection: Connection, viewer: User, settings: Settings, now: datetime, _: Texts) -> Page:
    """Return titles that are not in the library and would suit a member, with where they stream."""
    rows = candidate_table(connection, viewer.user_id, country=settings.country)
    titles = read_pool_titles(connection, _works(rows))
    allowed = {one.work_id for one in titles if why_forbidden(one, viewer, settings.country) is None}
    shown = [row for row in rows if row["work_id"] in allowed]
    shelves = [
        Shelf(
            label,
            [
                Card(place, row["work_id"], row["title"], row["year"], _outside(row, _), row)
                for place, row in enumerate(ours, start=1)
            ],
        )
        for media_type, label in LABELS.items()
        if (ours := [row for row in shown if row["media_type"] == media_type])
    ]
    return Page(_("Not in the library"), _("Nothing is suggested at the moment."), shelves)


def my_taste(connection: Connection, viewer: User, settings: Settings, now: datetime, _: Texts) -> Page:
    """Return what a member likes, in words, and what they have hidden."""
    cards = [
        Card(
            place,
            row["work_id"],
            row["title"],
            None,
            [_("Hidden on %(day)s", day=_.day(today_of(row["dismissed_at"], settings)))],
            row,
        )
        for place, row in enumerate(dismissed_titles(connection, viewer.user_id), start=1)
    ]
    shelves = [Shelf(marked("Not for you"), cards, "/not-for-me/undo", marked("Show it again"))] if cards else []
    return Page(
        _("My taste"),
        _("You have hidden nothing. “Not for me” below a title takes it off all of your lists."),
        shelves,
        [line for row in profile_table(connection, [viewer.user_id]) for line in _likes(row, _)],
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
        Card(place, title.work_id, title.title, title.year, say(row), row, title.server_item_id)
        for place, (row, title) in enumerate(seen, start=1)
    ]


def _times(row: Row, _: Texts) -> str:
    return _("Watched %(times)s times, last on %(day)s", times=_.number(row["times"]), day=_.day(row["last"]))


def _likes(row: Row, _: Texts) -> list[str]:
    """Say how many films or series a member likes, and what sets these apart."""
    liked = int(row["liked"])
    if not liked:
        return []
    if row["media_type"] == "movie":
        lines = [_.plural("You like %(count)s film.", "You like %(count)s films.", liked)]
    else:
        lines = [_.plural("You like %(count)s series.", "You like %(count)s series.", liked)]
    if row["genres"]:
        lines.append(_("Compared with the library, more %(genres)s.", genres=_.listed(row["genres"][:NAMED_TRAITS])))
    if row["keywords"]:
        lines.append(_("Often about: %(subjects)s.", subjects=_.listed(row["keywords"][:NAMED_TRAITS])))
    return [" ".join(lines)]


def next_episode(row: Row, _: Texts = ENGLISH) -> str:
    """Say which episode of a series is next."""
    label = episode_label(row["next_season"], row["next_number"])
    name = " · ".join(part for part in (label, row["next_title"]) if part)
    return _("Next: %(episode)s", episode=name) if name else _("You are up to date")


def _progress(row: Row, _: Texts) -> list[str]:
    """Say which episode is next, how many there are to watch, and when the next one airs."""
    behind, days = row["behind"], row["days_until"]
    lines = [next_episode(row, _)]
    if behind:
        lines.append(_.plural("%(count)s episode to watch", "%(count)s episodes to watch", behind))
    if days is not None:
        in_days = _.plural("New episode in %(count)s day", "New episode in %(count)s days", days)
        lines.append(_("New episode today") if days == 0 else in_days)
    return lines


def _outside(row: Row, _: Texts) -> list[str]:
    streams = where_to_stream(row["providers"])
    shown = streams and not streams.startswith("rent")
    return [why_suggested(row, _), *([_("Streams on %(services)s", services=streams)] if shown else [])]
