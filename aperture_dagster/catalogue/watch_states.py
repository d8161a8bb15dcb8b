"""Watch history: the server's state per user and item, and the append-only log of plays derived from state changes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, select

from aperture_dagster.catalogue.queries import GONE
from aperture_dagster.catalogue.rules import Viewing, ViewState, viewing_between
from aperture_dagster.catalogue.tables import history_syncs, plays, watch_state
from aperture_dagster.media_server.records import LIKED_FROM, ItemState
from aperture_dagster.postgres.bulk import WriteCounts, as_copied, driver_cursor, storable, upsert_values
from aperture_dagster.postgres.queries import (
    array_of,
    execute,
    lock_until_commit,
    read_frame,
    read_rows,
    read_value,
)

if TYPE_CHECKING:
    import pandas as pd

FULL_SYNC_EVERY = timedelta(hours=24)
SAME_PLAY = timedelta(hours=4)
"""Dates of one play in two programs are closer than this: one dates its beginning, the other its end."""


@dataclass(frozen=True, slots=True)
class SyncMark:
    """How far a user's history has been read."""

    watermark: datetime | None
    synced_at: datetime | None
    full_synced_at: datetime | None

    def full_is_due(self, now: datetime) -> bool:
        """Return whether the whole history was last compared a day ago or more, or by a clock set back since."""
        age = now - self.full_synced_at if self.full_synced_at is not None else None
        return age is None or not timedelta(0) <= age < FULL_SYNC_EVERY


@dataclass(frozen=True, slots=True)
class SeenRating:
    """The rating of one item as the media server reports it; ``rating`` is None if there is none.

    ``is_published``: the item is a published copy, whose ratings do not stay there.
    """

    work_id: int
    item_id: int
    is_episode: bool
    rating: float | None
    is_published: bool = False


class Marks(NamedTuple):
    """Whether an item is a user's favourite, and whether they like it, so that their server lists it as such."""

    favorite: bool
    liked: bool


@dataclass(slots=True)
class PageResult:
    """Result of a page of states: rows written, plays logged, states that were not stored, and the ratings in them.

    ``unmatched`` are those states with content whose item is missing from the catalogue, or has another name there;
    ``rating_changes`` is how many ratings changed, once they have been taken over.
    """

    states: WriteCounts
    plays: int
    unknown: int
    ratings: list[SeenRating] = field(default_factory=list)
    unmatched: list[ItemState] = field(default_factory=list)
    rating_changes: int = 0


def read_mark(connection: Connection, user_id: str) -> SyncMark:
    """Return how far the user's history has been read."""
    row = connection.execute(select(history_syncs).where(history_syncs.c.user_id == user_id)).first()
    return SyncMark(row.watermark, row.synced_at, row.full_synced_at) if row else SyncMark(None, None, None)


def write_mark(connection: Connection, user_id: str, watermark: datetime | None, *, now: datetime, full: bool) -> None:
    """Record that the history has been read up to ``watermark``; ``full``: all of it was compared."""
    statement = """
        INSERT INTO history_syncs (user_id, watermark, synced_at, full_synced_at) VALUES (:user, :mark, :now, :full_at)
        ON CONFLICT (user_id) DO UPDATE SET watermark = excluded.watermark, synced_at = excluded.synced_at,
        full_synced_at = coalesce(excluded.full_synced_at, history_syncs.full_synced_at)"""
    execute(connection, statement, user=user_id, mark=watermark, now=now, full_at=now if full else None)


def lock_history(connection: Connection, user_id: str) -> None:
    """Let no other process write this user's history or ratings until the end of the transaction.

    Whoever needs the lock of the catalogue, too, takes it afterwards.
    """
    lock_until_commit(connection, f"history:{user_id}")


class _Item(NamedTuple):
    """An item that a server id resolves to, and the user's state of it if that is ``known``."""

    server_item_id: str
    item_id: int
    logged_as: int
    work_id: int
    is_episode: bool
    season: int | None
    number: int | None
    name: str | None
    series_name: str | None
    is_published: bool
    known: bool
    played: bool
    play_count: int
    position_share: float
    last_played_at: datetime | None


_STATE_COLUMNS = (
    "user_id", "item_id", "work_id", "is_episode",
    "played", "play_count", "position_share", "last_played_at", "favorite",
)  # fmt: skip
_PLAY_COLUMNS = ("user_id", "item_id", "played_at", "work_id", "is_episode", "play_count", "completion")
_ITEM_COLUMNS = ", ".join(f"i.{name}" for name in _Item._fields[: _Item._fields.index("known")])
# Resolve server ids to items: present items before alternate versions, and those before removed items.
_ITEMS = """
    SELECT DISTINCT ON (server_item_id) * FROM items WHERE server_item_id = ANY(%(ids)s) ORDER BY server_item_id,
    CASE WHEN is_version THEN 1 WHEN removed_at IS NULL THEN 0 ELSE 2 END, item_id"""


def write_states(
    connection: Connection,
    user_id: str,
    states: Sequence[ItemState],
    *,
    now: datetime,
) -> PageResult:
    """Write a page of a user's states, and the plays derived from state changes.

    A state whose item has another name in the catalogue counts as unknown: the server may have reassigned the id since
    the catalogue was read. The next full comparison reads it again. Ratings are left to the caller.
    """
    # Prevent two processes from logging the same play, and items from moving to another work meanwhile.
    lock_history(connection, user_id)
    lock_until_commit(connection, "catalogue", shared=True)
    listed = {state.server_item_id: state for state in states}
    matched = [
        (row, state)
        for row in _read_items(connection, user_id, list(listed))
        if _is_same_item(row, state := listed[row.server_item_id])
    ]
    # A published STRM file that was never probed is marked as played as soon as it is started.
    same = [(row, state) for row, state in matched if state.has_runtime or not (row.is_published and state.played)]
    state_rows: list[tuple[Any, ...]] = []
    viewings: list[tuple[_Item, Viewing]] = []
    for row, state in same:
        before = ViewState(row.played, row.play_count, row.position_share, row.last_played_at) if row.known else None
        after = ViewState(state.played, state.play_count, state.position_share, state.last_played_at)
        state_rows.append(
            (
                user_id,
                row.item_id,
                row.work_id,
                row.is_episode,
                state.played,
                state.play_count,
                round(state.position_share, 4),
                state.last_played_at,
                state.favorite,
            )
        )
        viewing = viewing_between(before, after, now=now)
        if viewing is not None:
            viewings.append((row, viewing))
    counts = upsert_values(connection, watch_state, _STATE_COLUMNS, state_rows)
    ratings = [
        SeenRating(row.work_id, row.item_id, row.is_episode, state.rating, row.is_published) for row, state in same
    ]
    logged = upsert_values(connection, plays, _PLAY_COLUMNS, _play_rows(connection, user_id, viewings))
    forget_echoes(connection, user_id, [row.logged_as for row, _ in viewings])
    known = {row.server_item_id for row, _ in matched}
    unmatched = [state for state in listed.values() if state.server_item_id not in known and state.has_content]
    return PageResult(counts, logged.written, len(listed) - len(same), ratings, unmatched)


def _read_items(connection: Connection, user_id: str, server_item_ids: Sequence[str]) -> list[_Item]:
    """Return the items that server ids resolve to, with a user's states of them."""
    statement = f"""
        SELECT {_ITEM_COLUMNS}, w.item_id IS NOT NULL AS known, w.played, w.play_count, w.position_share,
        w.last_played_at FROM ({_ITEMS}) i
        LEFT JOIN watch_state w ON w.user_id = %(user)s AND w.item_id = i.item_id"""
    values = {"ids": as_copied(server_item_ids), "user": user_id}
    # The tuples of the driver become tuples with names faster than SQLAlchemy's rows do.
    with driver_cursor(connection) as cursor:
        return list(map(_Item._make, cursor.execute(statement, values)))


def _is_same_item(row: _Item, state: ItemState) -> bool:
    """Return whether kind, names and numbers of an item and of a state agree, where both are known."""
    known = (row.is_episode, row.name, row.series_name, row.season, row.number)
    reported = (state.is_episode, state.name, state.series_name, state.season, state.number)
    return known == reported or all(map(_agree, known, reported))


def _agree(known: Any, reported: Any) -> bool:
    return known == reported or known in (None, "") or storable(reported) in (None, "", known)


def _play_rows(
    connection: Connection, user_id: str, viewings: Sequence[tuple[_Item, Viewing]]
) -> Iterable[tuple[Any, ...]]:
    """Convert viewings of items (rows of ``_ITEMS``) to values of ``plays``. Those of existing rows only increase.

    Copies that share their state on the server all report the viewing of one of them: viewings of a film or episode at
    the same time are logged once.
    """
    if not viewings:
        return []
    statement = """
        SELECT p.work_id, p.is_episode, e.season, e.number, p.item_id AS logged_as, p.played_at, p.play_count,
        p.completion FROM plays p LEFT JOIN episodes e ON e.item_id = p.item_id
        WHERE p.user_id = :user AND p.work_id = ANY(:works) AND p.played_at = ANY(:dates)"""
    works = list({row.work_id for row, _ in viewings})
    dates = list({viewing.played_at for _, viewing in viewings})
    found = execute(connection, statement, user=user_id, works=array_of(works), dates=array_of(dates))
    logged = {_subject(row, row.played_at): (row.logged_as, row.play_count, row.completion) for row in found}
    play_rows: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for row, (played_at, play_count, completion) in viewings:
        key = _subject(row, played_at)
        item_id, completion = row.logged_as, round(completion, 4)
        known = logged.get(key)
        if known is not None:
            item_id, play_count, completion = known[0], max(known[1], play_count), max(known[2], completion)
        logged[key] = (item_id, play_count, completion)
        play_rows[key] = (user_id, item_id, played_at, row.work_id, row.is_episode, play_count, completion)
    return play_rows.values()


def forget_echoes(connection: Connection, user_id: str, items: Sequence[int]) -> None:
    """Delete imported plays of some items that the media server has reported, too."""
    if not items:
        return
    statement = """
        DELETE FROM plays i USING plays s LEFT JOIN episodes e ON e.item_id = s.item_id
        WHERE i.user_id = :user AND i.imported_from IS NOT NULL
        AND s.user_id = :user AND s.imported_from IS NULL AND s.play_count > 0 AND s.work_id = i.work_id
        AND (s.item_id = ANY(:items) OR i.item_id = ANY(:items))
        AND s.played_at BETWEEN i.played_at - CAST(:patience AS interval) AND i.played_at + CAST(:patience AS interval)
        AND (s.item_id = i.item_id OR NOT s.is_episode OR EXISTS (
          SELECT 1 FROM episodes o WHERE o.item_id = i.item_id AND (o.season, o.number) = (e.season, e.number)))"""
    execute(connection, statement, user=user_id, items=array_of(items), patience=SAME_PLAY)


def _subject(row: Any, played_at: datetime) -> tuple[Any, ...]:
    """Return a key for a viewing of a film or episode that is the same for all of its copies."""
    if not row.is_episode:
        return (row.work_id, played_at)
    if row.season is None or row.number is None:
        return (row.work_id, "item", row.logged_as, played_at)
    return (row.work_id, row.season, row.number, played_at)


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
    i.item_id = ANY(ARRAY(SELECT item_id FROM ratings WHERE user_id = :user AND source = 'server'
      AND rating >= :liked)) AS liked
    FROM items i WHERE i.removed_at IS NULL AND NOT i.is_published
    AND i.item_id = ANY(ARRAY(SELECT w.item_id FROM watch_state w
      WHERE w.user_id = :user AND (w.played OR w.favorite OR w.position_share > 0
        OR EXISTS (SELECT 1 FROM ratings r WHERE r.user_id = w.user_id AND r.source = 'server'
          AND r.work_id = w.work_id AND r.item_id = w.item_id AND r.rating IS NOT NULL))))"""


def marked_items(connection: Connection, user_id: str) -> dict[str, Marks]:
    """Return items, by server id, with a mark (played, started, favourite or rated) when last read.

    The values say which are favourites or liked. Published copies are left out: they come and go with the lists.
    """
    rows = execute(connection, _MARKED, user=user_id, liked=LIKED_FROM)
    return {row.server_item_id: Marks(row.favorite, row.liked) for row in rows}


def copies_of_unmarked(connection: Connection, user_id: str, states: Sequence[ItemState]) -> list[ItemState]:
    """Return the states of other copies of films and episodes, without the marks that their user takes back.

    These are what ``states`` lack of what is stored. A copy whose id is that of another item now is left out: nobody
    can ask for it.
    """
    # The view is read once, for all items of the user: joined row by row, each row would read all episodes again, which
    # is what the planner chooses for a user whom its statistics do not know yet.
    statement = """
        WITH theirs AS MATERIALIZED (SELECT * FROM items WHERE item_id = ANY(ARRAY(
          SELECT item_id FROM watch_state WHERE user_id = :user)))
        SELECT c.server_item_id, c.is_episode, w.played, w.play_count, w.position_share, w.last_played_at,
        w.favorite AND NOT bool_or(u.unfavorite) AS favorite, r.rating, bool_or(u.unwatched) AS unwatched
        FROM (SELECT i.*, o.favorite AND NOT s.favorite AS unfavorite,
            (o.played OR o.play_count > 0 OR o.position_share > 0) AND NOT s.started AS unwatched
          FROM unnest(CAST(:ids AS text[]), CAST(:started AS boolean[]), CAST(:favorites AS boolean[]))
            AS s (id, started, favorite)
          JOIN theirs i ON i.server_item_id = s.id JOIN watch_state o ON o.user_id = :user AND o.item_id = i.item_id) u
        JOIN theirs c ON c.work_id = u.work_id AND c.is_episode = u.is_episode AND c.item_id <> u.item_id
          AND (NOT c.is_episode OR (c.season, c.number) = (u.season, u.number))
        JOIN watch_state w ON w.user_id = :user AND w.item_id = c.item_id
        LEFT JOIN ratings r ON (r.user_id, r.source, r.work_id, r.item_id) = (:user, 'server', w.work_id, w.item_id)
        WHERE c.server_item_id IS NOT NULL AND (u.unfavorite AND w.favorite
          OR u.unwatched AND (w.played OR w.play_count > 0 OR w.position_share > 0))
        GROUP BY c.server_item_id, c.is_episode, w.user_id, w.item_id, r.rating"""
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


def read_plays(connection: Connection, user_ids: Collection[str], *, since: datetime, until: datetime) -> pd.DataFrame:
    """Read the log of plays of users in (since, until]: ``user_id``, ``work_id``, ``played_at``, ``plays``,
    ``completion``, ``episode_id`` (the same for all copies of an episode; null for films and specials). Users who left
    are skipped.
    """
    statement = """
        SELECT user_id, p.work_id, p.played_at, p.play_count AS plays, p.completion,
        CASE WHEN p.is_episode AND e.season IS DISTINCT FROM 0
          THEN coalesce('S' || coalesce(e.season, 1) || 'E' || e.number, p.item_id::text) END AS episode_id
        FROM plays p JOIN present_users USING (user_id) LEFT JOIN episodes e ON e.item_id = p.item_id
        WHERE user_id = ANY(:users) AND p.played_at > :since AND p.played_at <= :until"""
    return read_frame(connection, statement, users=list(user_ids), since=since, until=until)


def plays_by_week(connection: Connection, *, since: date, timezone: str) -> dict[date, int]:
    """Count the plays of present users by week, from ``since`` on; keys are Mondays in ``timezone``."""
    statement = """
        SELECT date_trunc('week', played_at AT TIME ZONE :zone)::date AS week, sum(play_count)::int AS plays FROM plays
        JOIN present_users USING (user_id) WHERE played_at AT TIME ZONE :zone >= :since GROUP BY week ORDER BY week"""
    return {row["week"]: row["plays"] for row in read_rows(connection, statement, since=since, zone=timezone)}


def first_play(connection: Connection) -> datetime | None:
    """Return the time of the first play in the log."""
    return read_value(connection, "SELECT min(played_at) FROM plays")


def latest_plays(connection: Connection, user_ids: Sequence[str], *, timezone: str = "UTC") -> list[dict[str, Any]]:
    """List the 20 latest plays of users with times in ``timezone``, for the asset's page."""
    statement = f"""
        SELECT u.name AS user, to_char(p.played_at AT TIME ZONE :zone, 'YYYY-MM-DD HH24:MI') AS played_at,
        CASE WHEN t.{GONE} THEN '(no longer in the library)' ELSE t.title END AS title,
        CASE WHEN e.item_id IS NOT NULL THEN format('S%sE%s', e.season, e.number) END AS episode,
        round(p.completion::numeric, 2)::float8 AS completion FROM plays p JOIN users u USING (user_id)
        LEFT JOIN episodes e ON e.item_id = p.item_id
        LEFT JOIN titles t ON t.item_id = coalesce(e.series_item_id, p.item_id)
        WHERE p.user_id = ANY(:users) ORDER BY p.played_at DESC, title LIMIT 20"""
    return read_rows(connection, statement, users=list(user_ids), zone=timezone)


def stale_histories(connection: Connection, *, now: datetime) -> list[dict[str, Any]]:
    """List present users whose history was read more than a day ago, or more than a day from now (wrong clock)."""
    statement = """
        SELECT u.partition_key AS partition, u.name, h.synced_at::text AS last_read FROM present_users u
        LEFT JOIN history_syncs h USING (user_id) WHERE h.synced_at IS NULL OR
        h.synced_at NOT BETWEEN :day_before AND :day_after ORDER BY h.synced_at NULLS FIRST, u.name"""
    day = timedelta(days=1)
    return read_rows(connection, statement, day_before=now - day, day_after=now + day)


def recent_works(connection: Connection, user_id: str, limit: int) -> list[dict[str, Any]]:
    """List the films and series that a user watched last, the latest first: ``work_id`` and ``played_at``."""
    statement = """
        SELECT work_id, max(last_played_at) AS played_at FROM watch_state
        WHERE user_id = :user AND last_played_at <= now() GROUP BY work_id ORDER BY 2 DESC, 1 LIMIT :limit"""
    return read_rows(connection, statement, user=user_id, limit=limit)
