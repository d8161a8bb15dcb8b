"""What users may see and ask of their lists: nothing hidden, titles to watch again, and more like a title."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.catalogue.access import Copy, visible_copies, within_limit
from aperture_dagster.catalogue.people import User
from aperture_dagster.postgres.queries import array_of, execute, read_rows

# Which of a few titles a user may see, and wants to: by the rules of the lists, with the policies of the last sync.
#
# Lists are made ahead. What a user may see can have changed since, so whatever shows a list asks again.


@dataclass(frozen=True, slots=True)
class VisibleTitle:
    """A title in the library, with the copy of it that a user may see; ``server_item_id`` is that copy's."""

    work_id: int
    media_type: str
    item_id: int
    server_item_id: str
    title: str
    year: int | None
    picture_tag: str | None


def titles_in_sight(
    connection: Connection, user: User, works: Collection[int], *, with_hidden: bool = False
) -> dict[int, VisibleTitle]:
    """Return by work those of some works that are in the library, and that a user may see.

    ``with_hidden``: also those that they have hidden.
    """
    statement = """
        SELECT t.work_id, t.media_type, t.item_id, t.library_id, t.tags, t.path, t.server_item_id, t.picture_tag,
        coalesce(e.title, t.title) AS title, coalesce(e.year, t.year) AS year, e.official_rating AS merged_rating,
        t.official_rating FROM present_titles t LEFT JOIN enriched_metadata e USING (work_id)
        WHERE t.work_id = ANY(CAST(:works AS bigint[]))
        AND (:hidden OR NOT EXISTS (SELECT 1 FROM hidden_works d WHERE (d.user_id, d.work_id) = (:user, t.work_id)))
        ORDER BY t.work_id, t.item_id"""
    rows = execute(connection, statement, works=array_of(works), user=user.user_id, hidden=with_hidden).all()
    allowed: set[int] = set()
    usual: dict[int, int] = {}
    for row in rows:
        # As in the lists, the rating of a work is the merged one, or else that of its first copy.
        if row.work_id not in usual:
            usual[row.work_id] = row.item_id
            if within_limit(row.merged_rating or row.official_rating, user.max_parental_rating):
                allowed.add(row.work_id)
    copies = [Copy(row.work_id, row.item_id, row.library_id, tuple(row.tags), row.path) for row in rows]
    shown = visible_copies(copies, user.access, usual)
    return {
        row.work_id: VisibleTitle(
            row.work_id, row.media_type, row.item_id, row.server_item_id, row.title, row.year, row.picture_tag
        )
        for row in rows
        if row.work_id in allowed and shown.get(row.work_id) == row.item_id
    }


def hidden_titles(connection: Connection) -> dict[str, frozenset[int]]:
    """Return by user the works of the library that they never want to find on a list."""
    found: dict[str, set[int]] = {}
    statement = "SELECT user_id, work_id FROM hidden_works WHERE work_id IN (SELECT work_id FROM present_titles)"
    for user_id, work_id in execute(connection, statement):
        found.setdefault(user_id, set()).add(work_id)
    return {user_id: frozenset(works) for user_id, works in found.items()}


# What to watch again, for users who do: children ask for the same film twenty times.


LEAST_TITLES = 3
"""Titles that a user has seen twice, at least: with fewer, there is no row."""
LEAST_SHARE = 0.25
"""Share of what a user has seen that they have seen twice, at least. Servers count a play at each start, so a film that
somebody watched on two evenings looks the same."""
DAYS = 60
"""Days for which a title is left alone after it was watched."""
LENGTH = 24


def watch_again(connection: Connection, user_id: str, today: date) -> list[dict[str, Any]]:
    """List what a user has seen at least twice, and not lately: ``work_id``, ``times`` and ``last``.

    A series was seen as often as most of its watched episodes. What was seen most often comes first, then what was last
    seen longest ago. The list is empty for those who seldom watch anything again.
    """
    # The states of copies count as one, as in the histories.
    statement = """
        WITH seen AS (
          SELECT w.work_id, coalesce(v.primary_item_id, CASE WHEN w.is_episode THEN w.item_id END) AS part,
          max(CASE WHEN w.played THEN greatest(w.play_count, 1) ELSE w.play_count END) AS plays,
          max(w.last_played_at) AS last
          FROM watch_state w LEFT JOIN item_versions v ON v.item_id = w.item_id AND w.is_episode
          WHERE w.user_id = :user GROUP BY 1, 2),
        works AS (
          SELECT work_id, percentile_disc(0.5) WITHIN GROUP (ORDER BY plays) AS times, max(last) AS last
          FROM seen WHERE plays > 0 GROUP BY work_id),
        habit AS (SELECT count(*) FILTER (WHERE times > 1) AS again, count(*) AS titles FROM works)
        SELECT work_id, times, last FROM works, habit
        WHERE times > 1 AND last < CAST(:today AS date) - CAST(:days AS integer)
        AND again >= :least AND again >= CAST(:share AS float8) * titles
        ORDER BY times DESC, last, work_id LIMIT :length"""
    return read_rows(
        connection, statement, user=user_id, today=today, days=DAYS, least=LEAST_TITLES, share=LEAST_SHARE,
        length=LENGTH,
    )  # fmt: skip


# Titles of which users asked for more like them; each is part of their taste until they take it back.


def want_more(connection: Connection, user_id: str, work_id: int, title: str, *, now: datetime) -> None:
    """Note that a user wants more like a title; what was noted before keeps its date."""
    statement = """
        INSERT INTO more_like_this (user_id, work_id, title, asked_at) VALUES (:user, :work, :title, :now)
        ON CONFLICT DO NOTHING"""
    execute(connection, statement, user=user_id, work=work_id, title=title, now=now)


def want_no_more(connection: Connection, user_id: str, work_id: int) -> None:
    """Forget that a user wanted more like a title."""
    execute(
        connection, "DELETE FROM more_like_this WHERE (user_id, work_id) = (:user, :work)", user=user_id, work=work_id
    )


def titles_to_follow(connection: Connection, user_id: str) -> list[dict[str, Any]]:
    """List the titles of which a user wants more, the latest first: ``work_id``, ``title`` and ``asked_at``."""
    statement = """
        SELECT work_id, title, asked_at FROM more_like_this WHERE user_id = :user
        ORDER BY asked_at DESC, title"""
    return read_rows(connection, statement, user=user_id)


def said_hashes(connection: Connection) -> dict[str, str]:
    """Return a hash of what each user said by hand and their list follows; users who said nothing are absent."""
    # What is not in the library is on no list that could follow.
    statement = """
        SELECT user_id, count(*) || ':' || sum(hash_record_extended(ROW(work_id, what, rating, said_at), 0)) FROM (
          SELECT user_id, work_id, 'hidden' AS what, NULL::float8 AS rating, dismissed_at AS said_at FROM dismissals d
          WHERE EXISTS (SELECT 1 FROM present_titles t WHERE t.work_id = d.work_id)
          UNION ALL SELECT user_id, NULL, array_to_string(excluded_genres, '/'), NULL, NULL FROM member_choices
          WHERE cardinality(excluded_genres) > 0
          UNION ALL SELECT user_id, work_id, 'more', NULL, asked_at FROM more_like_this
          UNION ALL SELECT user_id, work_id, 'rated', rating, updated_at FROM ratings WHERE source = 'own') said
        GROUP BY user_id"""
    return {user_id: digest for user_id, digest in execute(connection, statement)}
