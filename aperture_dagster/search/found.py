"""What a member finds: the titles that fit a question, of those that they may see at this moment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from aperture_dagster.catalogue.people import User
from aperture_dagster.discovery.suggestions import pool_names
from aperture_dagster.discovery.suitability import findable
from aperture_dagster.members.visible_titles import titles_in_sight
from aperture_dagster.popularity.series import episode_label
from aperture_dagster.postgres.queries import array_of, execute
from aperture_dagster.settings import Settings
from aperture_dagster.shelves import Card, Page, Shelf
from aperture_dagster.texts import Texts, marked

if TYPE_CHECKING:
    from aperture_dagster.search.index import Index
    from aperture_dagster.search.matches import Match

SHOWN, SHOWN_OUTSIDE = 40, 12
"""Titles on a page, of the library and outside it."""


def find_page(
    connection: Connection,
    viewer: User,
    settings: Settings,
    now: datetime,
    _: Texts,
    *,
    question: str,
    index: Index | None,
) -> Page:
    """Return what a member finds; ``index`` is None while it is being made."""
    heading = _("Find")
    if not question:
        return Page(
            heading,
            _("Write a name, of a title, a person or an episode, or say in your words what you would like to see."),
        )
    if index is None:
        return Page(heading, _("The library is being read for the first search. Try again in a few seconds."))
    # numpy takes memory that only those who search need.
    from aperture_dagster.search.matches import find_matches

    matches = find_matches(index, question, liked_works(connection, viewer.user_id))
    shelves = _shelves(connection, viewer, settings, now, _, index, matches)
    nothing = _(
        "Nothing that you may see fits “%(question)s”. Try another spelling, or fewer words.", question=question
    )
    return Page(_("Found for “%(question)s”", question=question), nothing, shelves)


def _shelves(
    connection: Connection,
    viewer: User,
    settings: Settings,
    now: datetime,
    _: Texts,
    index: Index,
    matches: Sequence[Match],
) -> list[Shelf]:
    """Arrange the matches that a member may see: those in the library, then those outside it."""
    by_work = {int(index.work_ids[match.row]): match for match in matches}
    visible = titles_in_sight(connection, viewer, list(by_work))
    owned = [visible[work] for work in by_work if work in visible][:SHOWN]
    episodes = _episodes(connection, [item for title in owned if (item := by_work[title.work_id].episode)])
    cards = [
        Card(
            place, title.work_id, title.title, title.year, _why(by_work[title.work_id], episodes), {},
            title.server_item_id,
        )
        for place, title in enumerate(owned, start=1)
    ]  # fmt: skip
    pool = [work for work, match in by_work.items() if not index.is_owned[match.row]]
    outside = findable(connection, settings, viewer, now=now, works=pool)[:SHOWN_OUTSIDE] if pool else []
    rows = pool_names(connection, outside)
    more = [
        Card(place, work, row["title"], row["year"], _why(by_work[work], {}), row)
        for place, (work, row) in enumerate(rows.items(), start=1)
    ]
    shelves = [Shelf(marked("In the library"), cards), Shelf(marked("Not in the library"), more)]
    return [shelf for shelf in shelves if shelf.cards]


def liked_works(connection: Connection, user_id: str) -> dict[int, float]:
    """Return what a member likes, and how much."""
    statement = "SELECT work_id, weight FROM taste_weights WHERE user_id = :user AND weight > 0"
    return {row.work_id: row.weight for row in execute(connection, statement, user=user_id)}


def _why(match: Match, episodes: dict[int, str]) -> list[str]:
    """Say why a title was found, unless its name says so."""
    return [text for text in (match.person, episodes.get(match.episode or 0)) if text]


def _episodes(connection: Connection, items: Sequence[int]) -> dict[int, str]:
    """Return what episodes are called, with their numbers."""
    statement = """
        SELECT item_id, season, number, title FROM present_episodes WHERE item_id = ANY(CAST(:items AS bigint[]))"""
    return {
        row.item_id: " · ".join(part for part in (episode_label(row.season, row.number), row.title) if part)
        for row in execute(connection, statement, items=array_of(items))
    }
