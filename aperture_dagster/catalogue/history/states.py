"""Watch states: what the server says of a user and an item, and the plays that follow from its changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from aperture_dagster.catalogue.history.plays import forget_echoes
from aperture_dagster.catalogue.history.progress import lock_history
from aperture_dagster.catalogue.history.viewings import Viewing, ViewState, viewing_between
from aperture_dagster.catalogue.tables import plays, watch_state
from aperture_dagster.media_server.records import ItemState
from aperture_dagster.postgres.bulk import WriteCounts, as_copied, driver_cursor, storable, upsert_values
from aperture_dagster.postgres.queries import (
    array_of,
    execute,
    lock_until_commit,
    read_rows,
)


@dataclass(frozen=True, slots=True)
class SeenRating:
    """The rating of one item as the media server reports it; ``rating`` is None for an unrated item.

    ``is_published``: the item is a published copy, whose ratings do not stay there.
    """

    work_id: int
    item_id: int
    is_episode: bool
    rating: float | None
    is_published: bool = False


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


def _subject(row: Any, played_at: datetime) -> tuple[Any, ...]:
    """Return a key for a viewing of a film or episode that is the same for all of its copies."""
    if not row.is_episode:
        return (row.work_id, played_at)
    if row.season is None or row.number is None:
        return (row.work_id, "item", row.logged_as, played_at)
    return (row.work_id, row.season, row.number, played_at)


def recent_works(connection: Connection, user_id: str, limit: int) -> list[dict[str, Any]]:
    """List the films and series that a user watched last, the latest first: ``work_id`` and ``played_at``."""
    statement = """
        SELECT work_id, max(last_played_at) AS played_at FROM watch_state
        WHERE user_id = :user AND last_played_at <= now() GROUP BY work_id ORDER BY 2 DESC, 1 LIMIT :limit"""
    return read_rows(connection, statement, user=user_id, limit=limit)
