"""What is on a member's pages: their lists, in words, without the titles that they may not see by now."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.watch_states import recent_works
from aperture_dagster.discovery.suggestions import (
    candidate_table,
    dismissed_titles,
    read_requests,
    where_to_stream,
    why_suggested,
)
from aperture_dagster.discovery.suitability import read_pool_titles, today_of, why_forbidden
from aperture_dagster.model.wording import counted
from aperture_dagster.popularity.queries import shows_table
from aperture_dagster.popularity.series import episode_label
from aperture_dagster.ratings.accounts import why_off
from aperture_dagster.ratings.in_force import ratings_in_force
from aperture_dagster.ratings.tokens import read_account
from aperture_dagster.settings import Settings
from aperture_dagster.taste.lists import liked_genres, profile_table, reason_of, recommendation_table, top_picks_table
from aperture_dagster.taste.more_like_this import titles_to_follow
from aperture_dagster.taste.sight import VisibleTitle, titles_in_sight

LABELS = {"movie": "Films", "series": "Series"}
NEW = "New since yesterday"
RECENT, GENRES = 12, 8
"""Titles and genres under *My taste*."""
CONNECT = "/trakt", "Connect Trakt"
STATES = {"sending": "not confirmed yet", "pending": "waits for approval"}
"""What states of requests are called, unless that is their name."""
RESERVE = 5
"""One part of so many of a list is shown only in place of titles that its member hides."""
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
    """Titles below a heading. ``button``: path and text of the only button of each, or nothing; None: the usual."""

    heading: str
    cards: Sequence[Card]
    button: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a member; ``nothing`` says why there is none of its titles, ``lines`` come before them.

    ``genres`` have the per cent of what they like; ``trakt`` says how their account there stands, and has the path and
    text of the button that changes it.
    """

    heading: str
    nothing: str
    shelves: Sequence[Shelf] = field(default_factory=tuple)
    lines: Sequence[str] = field(default_factory=tuple)
    genres: Sequence[tuple[str, int]] = field(default_factory=tuple)
    trakt: tuple[str, str, str] | None = None


def for_you(connection: Connection, viewer: User, settings: Settings, now: datetime) -> Page:
    """Return the films and series that are recommended to a member."""
    rows = recommendation_table(connection, viewer.user_id)
    today = today_of(now, settings)
    # On the first day of a list, everything would be new.
    news = {row["work_id"] for row in rows if row["listed_since"] == today} if _days(rows) - {today} else set()
    visible = titles_in_sight(connection, viewer, _works(rows))
    shelves = _shelves(rows, visible, lambda row: [*[NEW] * (row["work_id"] in news), reason_of(row)])
    nothing = "Your list is made once the library and what you watched have been read."
    return Page(f"For {viewer.name}", nothing, _in_view(shelves, settings.recommendations_per_list))


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
    in_view = [*_in_view(shelves, settings.discovery_per_list), *_requested(connection, viewer, settings)]
    return Page("Not in the library", "Nothing is suggested at the moment.", in_view)


def _requested(connection: Connection, viewer: User, settings: Settings) -> list[Shelf]:
    """Arrange what was requested for a member, with what became of it, without what they may not see by now."""
    rows = read_requests(connection, [viewer.user_id])
    works = [row.work_id for row in rows]
    titles = read_pool_titles(connection, works)
    allowed = {one.work_id for one in titles if why_forbidden(one, viewer, settings.country) is None}
    allowed |= titles_in_sight(connection, viewer, works).keys()
    shown = [row for row in rows if row.work_id in allowed]
    cards = [
        Card(place, row.work_id, row.title, None, [f"{row.requested_at:%Y-%m-%d}: {STATES.get(row.state, row.state)}"])
        for place, row in enumerate(shown, start=1)
    ]
    return [Shelf("Requested", cards, ())] if cards else []


def my_taste(connection: Connection, viewer: User, settings: Settings, now: datetime) -> Page:
    """Return what a member likes, in words, and what they have hidden."""
    user_id = viewer.user_id
    likes = [row["taste"] for row in profile_table(connection, [user_id]) if row["taste"]]
    recent = recent_works(connection, user_id, RECENT)
    watched = _cards(
        recent, titles_in_sight(connection, viewer, _works(recent)), lambda row: [f"{row['played_at']:%Y-%m-%d}"]
    )
    shares = liked_genres(connection, [user_id])[user_id]
    shelves = [
        Shelf("Recently watched", watched),
        _said_shelf(
            "More like these", titles_to_follow(connection, user_id), "asked_at", "/more-like-this/undo", "Undo"
        ),
        _said_shelf(
            "Not for you", dismissed_titles(connection, user_id), "dismissed_at", "/not-for-me/undo", "Show it again"
        ),
    ]
    return Page(
        "My taste",
        "Nothing was watched or said yet. “Not for me” below a title takes it off all of your lists.",
        [shelf for shelf in shelves if shelf.cards],
        likes,
        [(genre, round(100 * share)) for genre, share in list(shares.items())[:GENRES]],
        None if why_off(settings) is not None else _trakt_of(connection, user_id),
    )


def _trakt_of(connection: Connection, user_id: str) -> tuple[str, str, str]:
    account = read_account(connection, user_id)
    if account is None:
        return "Your ratings here and on Trakt are kept in step once you connect your account there.", *CONNECT
    if account.state != "connected":
        return f"Trakt does not accept the connection to {account.trakt_user} any more.", *CONNECT
    return f"Your ratings are kept in step with {account.trakt_user} on Trakt.", "/trakt/disconnect", "Disconnect"


def _said_shelf(heading: str, rows: Sequence[Row], at: str, *undo: str) -> Shelf:
    """Arrange titles by the names that they had when a member said something of them, which they can take back."""
    cards = [
        Card(place, row["work_id"], row["title"], None, [f"{row[at]:%Y-%m-%d}"])
        for place, row in enumerate(rows, start=1)
    ]
    path, text = undo
    return Shelf(heading, cards, (path, text))


def find_card(connection: Connection, viewer: User, settings: Settings, now: datetime, work_id: int) -> Card | None:
    """Return a title of the library, or one that is suggested to a member; None unless they may see it."""
    found = titles_in_sight(connection, viewer, [work_id]).get(work_id)
    if found is None:
        return _card_on(suggestions(connection, viewer, settings, now), work_id)
    plain = Card(0, work_id, found.title, found.year, [], found.server_item_id)
    return _card_on(for_you(connection, viewer, settings, now), work_id) or plain


def one_title(connection: Connection, viewer: User, settings: Settings, now: datetime, work: int) -> Page | None:
    """Return the page of a title; None if there is none that the member could find."""
    card = find_card(connection, viewer, settings, now, work)
    return None if card is None else Page(card.title, "", [Shelf("", [card])])


def own_ratings(connection: Connection, viewer: User, page: Page) -> dict[int, int]:
    """Return a member's ratings of the titles on a page, from 1 to 10."""
    works = [card.work for shelf in page.shelves for card in shelf.cards]
    found = ratings_in_force(connection, viewer.user_id, works=works)
    return {work: one.value for work, one in found.items() if one.value is not None}


def _card_on(page: Page, work_id: int) -> Card | None:
    return next((card for shelf in page.shelves for card in shelf.cards if card.work == work_id), None)


def _in_view(shelves: Sequence[Shelf], most: int) -> list[Shelf]:
    """Leave out what waits to take the place of titles that are hidden, of shelves of up to ``most`` titles."""
    return [shelf._replace(cards=shelf.cards[: most - most // RESERVE]) for shelf in shelves]


def _days(rows: Collection[Row]) -> set[date]:
    return {row["listed_since"] for row in rows}


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
