"""Find the originals whose copies may have news, with these copies."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.media_server.records import ItemState
from aperture_dagster.postgres.queries import execute
from aperture_dagster.publishing.copies.news import opinion_to_write, play_to_write


@dataclass(slots=True)
class Subject:
    """A title or episode: its original, and the copies that a user may see, by their ids on the server.

    ``ticked`` are the copies that have a tick when the original is played, ``known`` the ids of which a state is
    stored.
    """

    original_id: str
    copies: list[str] = field(default_factory=list)
    ticked: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)

    @property
    def ids(self) -> list[str]:
        """The ids of the original and its copies."""
        return [self.original_id, *self.copies]

    def to_write(self, found: Mapping[str, ItemState], now: datetime) -> dict[str, Any]:
        """Return what to write to the original, given the states that the server shows."""
        original, copies = found[self.original_id], [found[one] for one in self.copies if one in found]
        return play_to_write(original, copies, now=now) | opinion_to_write(original, copies)


def shows_series(connection: Connection, user_id: str) -> bool:
    """Return whether a user sees published series on the home screen: those of Shows You Watch are kept out of it."""
    statement = """
        SELECT EXISTS (SELECT 1 FROM published_libraries WHERE media_type = 'series'
        AND (user_id IS NULL OR user_id = :user) AND list_key NOT LIKE 'shows_you_watch/%')"""
    return bool(execute(connection, statement, user=user_id).scalar())


def copies_of_series(connection: Connection, offered: Collection[str]) -> list[str]:
    """Return the ids of all published episodes of the series in the lists to which some of these episodes belong."""
    statement = """
        SELECT DISTINCT p.server_item_id FROM published_copies n
        JOIN item_versions nv USING (server_item_id) JOIN episodes ne ON ne.item_id = nv.primary_item_id
        JOIN published_copies p ON p.list_key = n.list_key JOIN item_versions v ON v.server_item_id = p.server_item_id
        JOIN episodes e ON e.item_id = v.primary_item_id AND e.work_id = ne.work_id
        WHERE n.server_item_id = ANY(:offered)"""
    return list(execute(connection, statement, offered=list(offered)).scalars())


def due_subjects(
    connection: Connection, user_id: str, *, leaving: Collection[str] | None = None, also: Collection[str] = ()
) -> list[Subject]:
    """List the titles and episodes of which a copy has a state that it should not have, as far as is known.

    Args:
        connection: to the database.
        user_id: of the user.
        leaving: only those with one of these copies.
        also: copies that may have more than is known.
    """
    statement = """
        SELECT v.primary_item_id AS item, p.server_item_id AS copy_id,
          coalesce(t.server_item_id, e.server_item_id) AS original_id,
          t.media_type = 'movie' AND p.list_key LIKE 'top_picks/%' AS keeps_tick,
          o.item_id IS NOT NULL AS has_original,
          coalesce(o.played AND o.last_played_at IS NOT NULL, false) AS is_played,
          c.item_id IS NOT NULL AS has_copy,
          coalesce(c.played AND c.play_count = 0 AND c.position_share = 0 AND c.last_played_at IS NOT NULL, false)
            AS is_tick,
          coalesce(c.played OR c.play_count > 0 OR c.position_share > 0 OR c.last_played_at IS NOT NULL, false)
            AS has_play,
          coalesce(c.favorite, false) OR EXISTS (SELECT 1 FROM ratings r WHERE r.user_id = :user
            AND r.source = 'server' AND r.item_id = v.item_id AND r.rating > 0) AS has_opinion
        FROM published_copies p JOIN published_libraries l USING (list_key)
        JOIN item_versions v ON v.server_item_id = p.server_item_id AND v.is_published
        LEFT JOIN present_titles t ON t.item_id = v.primary_item_id
        LEFT JOIN present_episodes e ON e.item_id = v.primary_item_id
        LEFT JOIN watch_state o ON o.user_id = :user AND o.item_id = v.primary_item_id
        LEFT JOIN watch_state c ON c.user_id = :user AND c.item_id = v.item_id
        WHERE (l.user_id IS NULL OR l.user_id = :user) AND coalesce(t.server_item_id, e.server_item_id) IS NOT NULL
        AND (o.item_id IS NOT NULL OR c.item_id IS NOT NULL OR p.server_item_id = ANY(:also)) ORDER BY 1, 2"""
    subjects: dict[int, Subject] = {}
    due: set[int] = set()
    for row in execute(connection, statement, user=user_id, also=list(also)):
        subject = subjects.setdefault(row.item, Subject(row.original_id))
        subject.copies.append(row.copy_id)
        subject.known |= {row.original_id} if row.has_original else set()
        subject.known |= {row.copy_id} if row.has_copy else set()
        if row.keeps_tick:
            subject.ticked.add(row.copy_id)
        has_tick = row.keeps_tick and row.is_tick
        is_marked = row.has_opinion or (row.has_play and not has_tick)
        lacks_tick = row.keeps_tick and row.is_played != row.is_tick
        if is_marked or lacks_tick or row.copy_id in also:
            due.add(row.item)
    if leaving is not None:
        due = {one for one in due if not set(leaving).isdisjoint(subjects[one].copies)}
    return [subject for item, subject in subjects.items() if item in due]
