"""The lists that clients can show: what is recommended to a member, and lists that are shown to everybody."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from aperture_dagster.catalogue.people import User
from aperture_dagster.discovery.suitability import today_of
from aperture_dagster.front_door.clients.answers import ListedTitle, as_item, similarity_of
from aperture_dagster.members.for_later import titles_for_later
from aperture_dagster.members.visible_titles import VisibleTitle, titles_in_sight
from aperture_dagster.postgres.queries import array_of, read_rows
from aperture_dagster.publishing.server.home_rows import LENGTH, ROWS, row_titles
from aperture_dagster.settings import Settings
from aperture_dagster.shelves import Page, recommended
from aperture_dagster.taste.lists import reason_of
from aperture_dagster.texts import Texts, marked


class Watchlist(NamedTuple):
    """A list that is shown to everybody; each member finds their own titles on it, where it is a personal one.

    Clients keep its number, so a number never becomes that of another list. ``row_id`` is the row of the home screen
    with the same titles; without one, it is what members put aside.
    """

    number: int
    row_id: str | None
    name: str
    description: str


WATCHLISTS = (
    Watchlist(1, "AperturePicks", marked("Top Picks"), marked("What is popular in the household")),
    Watchlist(2, "ApertureShows", marked("Shows you watch"), marked("Series with an episode for you to watch")),
    Watchlist(3, "ApertureAgain", marked("Watch again"), marked("What you like to watch more than once")),
    Watchlist(4, None, marked("For later"), marked("What you put aside for later")),
)


def items_of(connection: Connection, titles: Sequence[VisibleTitle]) -> list[dict[str, Any]]:
    """Describe titles for clients, in the same order, by what was read with the library."""
    statement = """
        SELECT item_id, genres, runtime_minutes, community_rating::float8 AS community_rating FROM present_titles
        WHERE item_id = ANY(CAST(:items AS bigint[]))"""
    rows = read_rows(connection, statement, items=array_of([title.item_id for title in titles]))
    facts = {row["item_id"]: row for row in rows}
    return [
        as_item(
            {
                **facts[title.item_id],
                "server_item_id": title.server_item_id,
                "title": title.title,
                "media_type": title.media_type,
                "year": title.year,
                "picture_tag": title.picture_tag,
            }
        )
        for title in titles
        if title.item_id in facts
    ]


def recommended_titles(
    connection: Connection, user: User, media_type: str | None, limit: int, settings: Settings, now: datetime, _: Texts
) -> list[ListedTitle]:
    """Return the first of what is recommended to a member, films and series in turn, with the stored reasons."""
    cards = Page("", "", recommended(connection, user, settings, now, _)).listed(media_type)
    best: dict[str, float] = {}
    for card in cards:
        of_type = card.row["media_type"]
        best[of_type] = max(card.row["score"], best.get(of_type, 0.0))
    cards = sorted(cards, key=lambda card: (card.rank, card.row["media_type"]))[:limit]
    works = [card.work for card in cards]
    liked = {work for card in cards for work in card.row["liked"]}
    visible = titles_in_sight(connection, user, works)
    # What a member hid they may see all the same, and it remains a reason.
    reasons = titles_in_sight(connection, user, liked, with_hidden=True)
    shown = [visible[work] for work in works if work in visible]
    items = {item["id"]: item for item in items_of(connection, [*shown, *reasons.values()])}
    return [
        ListedTitle(
            items[visible[card.work].server_item_id],
            similarity_of(card.row["score"], best[card.row["media_type"]]),
            [items[reasons[work].server_item_id] for work in card.row["liked"] if work in reasons],
            reason_of(card.row, _),
        )
        for card in cards
        if card.work in visible and visible[card.work].server_item_id in items
    ]


def watchlist_items(
    connection: Connection, watchlist: Watchlist, user: User, settings: Settings, now: datetime
) -> list[dict[str, Any]]:
    """Return the titles that a member finds on a list."""
    if watchlist.row_id is None:
        works = [row["work_id"] for row in titles_for_later(connection, user.user_id)]
        visible = titles_in_sight(connection, user, works)
        return items_of(connection, [visible[work] for work in works if work in visible][:LENGTH])
    row = next(row for row in ROWS if row.row_id == watchlist.row_id)
    return items_of(connection, row_titles(connection, row, user, today_of(now, settings)))
