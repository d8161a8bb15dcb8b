"""What is in the letter of a member: only titles that they may see by now, in their language."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import Connection

from aperture_dagster.catalogue.people import User
from aperture_dagster.discovery.suggestions import candidate_table, said_to_stream, why_suggested
from aperture_dagster.discovery.suitability import read_pool_titles, why_forbidden
from aperture_dagster.model.moments import SKEW
from aperture_dagster.model.wording import titled
from aperture_dagster.postgres.queries import execute
from aperture_dagster.settings import Settings
from aperture_dagster.taste.lists import reason_of, recommendation_table
from aperture_dagster.taste.sight import titles_in_sight
from aperture_dagster.texts.translations import Texts

MOST = {"movie": 5, "series": 2}
MOST_NEW = 5
NEW_FOR = timedelta(days=7)
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


class Part(NamedTuple):
    """A part of a letter: a heading, and titles with what is said of them."""

    heading: str
    titles: Sequence[tuple[str, str]]


def read_letter(connection: Connection, member: User, settings: Settings, now: datetime, _: Texts) -> list[Part]:
    """Return the parts of a member's letter; those without titles are left out."""
    rows = recommendation_table(connection, member.user_id)
    visible = titles_in_sight(connection, member, [row["work_id"] for row in rows])
    listed = {
        media_type: [
            (titled(row), reason_of(row, _))
            for row in rows
            if row["media_type"] == media_type and row["work_id"] in visible
        ][:most]
        for media_type, most in MOST.items()
    }
    parts = [
        Part(_("Films for you"), listed["movie"]),
        Part(_("Series for you"), listed["series"]),
        Part(_("New in the library"), _new_titles(connection, member, now)),
        Part(_("Not in the library"), _suggestion(connection, member, settings, _)),
    ]
    return [part for part in parts if part.titles]


def _new_titles(connection: Connection, member: User, now: datetime) -> list[tuple[str, str]]:
    """List what was added within a week, and that the member has not begun: what suits them best comes first."""
    statement = """
        SELECT t.work_id FROM present_titles t
        LEFT JOIN recommendations r ON (r.user_id, r.work_id) = (:user, t.work_id)
        WHERE NOT EXISTS (SELECT 1 FROM watch_state w WHERE (w.user_id, w.work_id) = (:user, t.work_id)
          AND (w.played OR w.play_count > 0 OR w.position_share > 0))
        GROUP BY t.work_id HAVING min(coalesce(t.added_at, t.first_seen_at)) BETWEEN :since AND :latest
        ORDER BY min(r.rank), min(coalesce(t.added_at, t.first_seen_at)) DESC, t.work_id"""
    found = execute(connection, statement, user=member.user_id, since=now - NEW_FOR, latest=now + SKEW)
    works = list(found.scalars())
    visible = titles_in_sight(connection, member, works)
    seen = [visible[work] for work in works if work in visible][:MOST_NEW]
    return [(titled({"title": one.title, "year": one.year}), "") for one in seen]


def _suggestion(connection: Connection, member: User, settings: Settings, _: Texts) -> list[tuple[str, str]]:
    """Return the first suggestion that the member may get."""
    rows = candidate_table(connection, member.user_id, country=settings.country)
    pool = {one.work_id: one for one in read_pool_titles(connection, [row["work_id"] for row in rows])}
    for row in rows:
        title = pool.get(row["work_id"])
        if title is not None and why_forbidden(title, member, settings.country) is None:
            return [(titled(row), ". ".join([why_suggested(row, _), *said_to_stream(row, _)]))]
    return []


def write_letter(parts: Sequence[Part], member: User, _: Texts, **links: Any) -> str:
    """Write a letter as HTML. ``links``: ``pages`` of the member, and ``unsubscribe``."""
    return _TEMPLATES.get_template("letter.html").render(parts=parts, name=member.name, _=_, **links)
