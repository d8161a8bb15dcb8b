"""What is in the letter of a member: only titles that they may see by now, in their language."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import Connection

from aperture_dagster.catalogue.people import User
from aperture_dagster.model.moments import SKEW
from aperture_dagster.postgres.queries import execute
from aperture_dagster.settings import Settings
from aperture_dagster.shelves.lists import Card, Shelf, cards_of, for_you, suggestions, works_of
from aperture_dagster.taste.lists import reason_of
from aperture_dagster.taste.sight import titles_in_sight
from aperture_dagster.texts.translations import Texts

MOST = {"movie": 5, "series": 2}
MOST_NEW = 5
NEW_FOR = timedelta(days=7)
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


def read_letter(connection: Connection, member: User, settings: Settings, now: datetime, _: Texts) -> list[Shelf]:
    """Return the shelves of a member's letter; those without titles are left out."""
    page = for_you(connection, member, settings, now, _)
    films, series = (
        [card._replace(lines=[reason_of(card.row, _)]) for card in page.listed(media_type)[:most]]
        for media_type, most in MOST.items()
    )
    shelves = [
        Shelf(_("Films for you"), films),
        Shelf(_("Series for you"), series),
        Shelf(_("New in the library"), _new_titles(connection, member, now)),
        Shelf(_("Not in the library"), suggestions(connection, member, settings, now, _).listed()[:1]),
    ]
    return [shelf for shelf in shelves if shelf.cards]


def _new_titles(connection: Connection, member: User, now: datetime) -> list[Card]:
    """List what was added within a week, and that the member has not begun: what suits them best comes first."""
    statement = """
        SELECT t.work_id FROM present_titles t
        LEFT JOIN recommendations r ON (r.user_id, r.work_id) = (:user, t.work_id)
        WHERE NOT EXISTS (SELECT 1 FROM watch_state w WHERE (w.user_id, w.work_id) = (:user, t.work_id)
          AND (w.played OR w.play_count > 0 OR w.position_share > 0))
        GROUP BY t.work_id HAVING min(coalesce(t.added_at, t.first_seen_at)) BETWEEN :since AND :latest
        ORDER BY min(r.rank), min(coalesce(t.added_at, t.first_seen_at)) DESC, t.work_id"""
    found = execute(connection, statement, user=member.user_id, since=now - NEW_FOR, latest=now + SKEW)
    rows = [{"work_id": work} for work in found.scalars()]
    return cards_of(rows, titles_in_sight(connection, member, works_of(rows)), lambda row: [])[:MOST_NEW]


def write_letter(shelves: Sequence[Shelf], member: User, _: Texts, **links: Any) -> str:
    """Write a letter as HTML. ``links``: ``pages`` of the member, and ``unsubscribe``."""
    return _TEMPLATES.get_template("letter.html").render(shelves=shelves, name=member.name, _=_, **links)
