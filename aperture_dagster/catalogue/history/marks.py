"""Which items a user has played, started, liked or marked as favourite, and how marks are taken back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from aperture_dagster.media_server.records import LIKED_FROM, ItemState
from aperture_dagster.postgres.queries import execute, read_value


class Marks(NamedTuple):
    """Whether an item is a user's favourite, and whether they like it, so that their server lists it as such."""

    favorite: bool
    liked: bool


def items_with_versions(connection: Connection) -> list[str]:
    """Return the server ids of films and episodes that have alternate versions."""
    statement = """
        SELECT server_item_id FROM items i WHERE NOT is_version AND removed_at IS NULL
        AND EXISTS (SELECT 1 FROM item_versions v WHERE v.primary_item_id = i.item_id AND NOT v.is_published)
        ORDER BY server_item_id"""
    return list(execute(connection, statement).scalars())


# Not a join: where the statistics know nothing of a user, it would compare every item with every state.
_MARKED = """
    SELECT i.server_item_id,
    i.item_id = ANY(ARRAY(SELECT item_id FROM watch_state WHERE user_id = :user AND favorite)) AS favorite,
    i.item_id = ANY(ARRAY(SELECT item_id FROM shown_states WHERE user_id = :user AND rating >= :liked)) AS liked
    FROM items i WHERE i.removed_at IS NULL AND NOT i.is_published
    AND i.item_id = ANY(ARRAY(SELECT item_id FROM shown_states
      WHERE user_id = :user AND (played OR favorite OR position_share > 0 OR rating IS NOT NULL)))"""


def marked_items(connection: Connection, user_id: str) -> dict[str, Marks]:
    """Return items, by server id, with a mark (played, started, favourite or rated) when last read.

    The values say which are favourites or liked. Published copies are left out: they come and go with the lists.
    """
    rows = execute(connection, _MARKED, user=user_id, liked=LIKED_FROM)
    return {row.server_item_id: Marks(row.favorite, row.liked) for row in rows}


def copies_of_unmarked(connection: Connection, user_id: str, states: Sequence[ItemState]) -> list[ItemState]:
    """Return the states of other copies of films and episodes, without the marks that their user takes back.

    The user takes back every stored mark that ``states`` lack. A copy whose id now belongs to another item is left out,
    since it can no longer be requested.
    """
    # The view is read once, for all items of the user: joined row by row, each row would read all episodes again, which
    # is what the planner chooses for a user whom its statistics do not know yet.
    statement = """
        WITH theirs AS MATERIALIZED (SELECT * FROM items WHERE item_id = ANY(ARRAY(
          SELECT item_id FROM watch_state WHERE user_id = :user)))
        SELECT c.server_item_id, c.is_episode, w.played, w.play_count, w.position_share, w.last_played_at,
        w.favorite AND NOT bool_or(u.unfavorite) AS favorite, w.rating, bool_or(u.unwatched) AS unwatched
        FROM (SELECT i.*, o.favorite AND NOT s.favorite AS unfavorite,
            (o.played OR o.play_count > 0 OR o.position_share > 0) AND NOT s.started AS unwatched
          FROM unnest(CAST(:ids AS text[]), CAST(:started AS boolean[]), CAST(:favorites AS boolean[]))
            AS s (id, started, favorite)
          JOIN theirs i ON i.server_item_id = s.id JOIN watch_state o ON o.user_id = :user AND o.item_id = i.item_id) u
        JOIN theirs c ON c.work_id = u.work_id AND c.is_episode = u.is_episode AND c.item_id <> u.item_id
          AND (NOT c.is_episode OR (c.season, c.number) = (u.season, u.number))
        JOIN shown_states w ON w.user_id = :user AND w.item_id = c.item_id
        WHERE c.server_item_id IS NOT NULL AND (u.unfavorite AND w.favorite
          OR u.unwatched AND (w.played OR w.play_count > 0 OR w.position_share > 0))
        GROUP BY c.server_item_id, c.is_episode, w.played, w.play_count, w.position_share, w.last_played_at, w.favorite,
        w.rating"""
    lacking = {
        "ids": [one.server_item_id for one in states],
        "started": [one.was_started for one in states],
        "favorites": [one.favorite for one in states],
    }
    found: list[ItemState] = []
    for *values, is_unwatched in execute(connection, statement, user=user_id, **lacking):
        copy = ItemState(*values)
        found.append(ItemState(copy.server_item_id, copy.is_episode, favorite=copy.favorite) if is_unwatched else copy)
    return found


def count_marked_items(connection: Connection, user_id: str) -> int:
    """Count what :func:`marked_items` returns."""
    return read_value(connection, f"SELECT count(*) FROM ({_MARKED}) m", user=user_id, liked=LIKED_FROM)
