"""Watch history: the server's state per user and item, and the append-only log of plays made from its changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, text

from aperture_dagster.library.history import ViewState, viewing_between
from aperture_dagster.storage.bulk import WriteCounts, upsert
from aperture_dagster.storage.tables import history_syncs, plays, watch_state

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection

    from aperture_dagster.resources.media_server import ItemState

STATE_COLUMNS = (
    "user_id", "item_id", "work_id", "is_episode", "played", "play_count", "position_share", "last_played_at",
    "favorite", "rating",
)  # fmt: skip
PLAY_COLUMNS = ("user_id", "item_id", "played_at", "work_id", "is_episode", "play_count", "completion")


@dataclass(frozen=True, slots=True)
class SyncMark:
    """How far a user's history has been read."""

    watermark: datetime | None
    full_synced_at: datetime | None


@dataclass(slots=True)
class PageResult:
    """What a page of states did: rows of the state and of the log, and items that the catalogue does not know."""

    states: WriteCounts
    plays: int
    unknown: int


def read_mark(connection: Connection, user_id: str) -> SyncMark:
    """How far the user's history has been read."""
    row = connection.execute(select(history_syncs).where(history_syncs.c.user_id == user_id)).first()
    return SyncMark(row.watermark, row.full_synced_at) if row else SyncMark(None, None)


def write_mark(connection: Connection, user_id: str, watermark: datetime | None, *, now: datetime, full: bool) -> None:
    """Note that the history has been read up to ``watermark``, and whether all of it was compared."""
    connection.execute(
        text(
            "INSERT INTO history_syncs (user_id, watermark, synced_at, full_synced_at) "
            "VALUES (:user, :mark, :now, :full_at) ON CONFLICT (user_id) DO UPDATE SET "
            "watermark = excluded.watermark, synced_at = excluded.synced_at, "
            "full_synced_at = coalesce(excluded.full_synced_at, history_syncs.full_synced_at)"
        ),
        {"user": user_id, "mark": watermark, "now": now, "full_at": now if full else None},
    )


def write_states(
    connection: Connection, user_id: str, states: Sequence[ItemState], *, now: datetime, started_share: float
) -> PageResult:
    """Write a page of a user's states, and the plays that lie between them and what was there."""
    # Two that read one user's history at once must not both find the same play.
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": f"history:{user_id}"})
    listed = {state.server_item_id: state for state in states}
    rows = connection.execute(
        text(
            "SELECT i.server_item_id, i.item_id, i.work_id, i.is_episode, w.item_id IS NOT NULL AS known, w.played, "
            "w.play_count, w.position_share, w.last_played_at FROM ("
            " SELECT server_item_id, item_id, work_id, false AS is_episode FROM titles "
            "  WHERE server_item_id = ANY(:ids)"
            " UNION ALL SELECT server_item_id, item_id, work_id, true FROM episodes WHERE server_item_id = ANY(:ids)"
            ") i LEFT JOIN watch_state w ON w.user_id = :user AND w.item_id = i.item_id"
        ),
        {"ids": list(listed), "user": user_id},
    ).all()
    state_rows: list[dict[str, Any]] = []
    play_rows: list[dict[str, Any]] = []
    for row in rows:
        state = listed[row.server_item_id]
        identity = {
            "user_id": user_id, "item_id": row.item_id, "work_id": row.work_id, "is_episode": row.is_episode
        }  # fmt: skip
        before = ViewState(row.played, row.play_count, row.position_share, row.last_played_at) if row.known else None
        after = ViewState(state.played, state.play_count, state.position_share, state.last_played_at)
        state_rows.append(
            identity
            | {
                "played": state.played,
                "play_count": state.play_count,
                "position_share": round(state.position_share, 4),
                "last_played_at": state.last_played_at,
                "favorite": state.favorite,
                "rating": state.rating,
            }
        )
        viewing = viewing_between(before, after, now=now, started_share=started_share)
        if viewing is not None:
            play_rows.append(
                identity
                | {
                    "played_at": viewing.played_at,
                    "play_count": viewing.play_count,
                    "completion": round(viewing.completion, 4),
                }
            )
    counts = upsert(connection, watch_state, state_rows, columns=STATE_COLUMNS)
    logged = upsert(connection, plays, _with_what_is_logged(connection, play_rows), columns=PLAY_COLUMNS, touch=None)
    return PageResult(counts, logged.written, len(listed) - len(rows))


def _with_what_is_logged(connection: Connection, play_rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Raise rows of one user to what the log has of the same viewing: a line of it is never lessened."""
    if not play_rows:
        return play_rows
    logged = {
        (row.item_id, row.played_at): row
        for row in connection.execute(
            text(
                "SELECT item_id, played_at, play_count, completion FROM plays "
                "WHERE user_id = :user AND item_id = ANY(:items) AND played_at = ANY(:dates)"
            ),
            {
                "user": play_rows[0]["user_id"],
                "items": [row["item_id"] for row in play_rows],
                "dates": [row["played_at"] for row in play_rows],
            },
        )
    }
    return [
        row
        if (line := logged.get((row["item_id"], row["played_at"]))) is None
        else row
        | {
            "play_count": max(row["play_count"], line.play_count),
            "completion": max(row["completion"], line.completion),
        }
        for row in play_rows
    ]


def marked_items(connection: Connection, user_id: str) -> set[str]:
    """Server ids of the items of the catalogue that the user has played, started or marked, by what was read last."""
    statement = text(
        "SELECT i.server_item_id FROM watch_state w JOIN ("
        "SELECT item_id, server_item_id FROM titles WHERE removed_at IS NULL UNION ALL "
        "SELECT item_id, server_item_id FROM episodes WHERE removed_at IS NULL) i USING (item_id) "
        "WHERE w.user_id = :user AND (w.played OR w.favorite OR w.position_share > 0)"
    )
    return set(connection.execute(statement, {"user": user_id}).scalars())


def read_histories(connection: Connection, user_ids: Sequence[str] | None = None) -> pd.DataFrame:
    """Histories per user and work, in the columns that the ranking wants; all users when ``user_ids`` is None.

    All copies of a work count together; for a series ``episodes_played`` of ``episodes_total``, by season and number,
    specials left out of both.
    """
    import pandas as pd

    statement = text(
        "WITH totals AS (SELECT work_id, count(DISTINCT (coalesce(season, -1), coalesce(number, -item_id))) AS total "
        " FROM episodes WHERE removed_at IS NULL AND coalesce(season, 1) > 0 GROUP BY work_id) "
        "SELECT w.user_id, w.work_id, "
        " sum(CASE WHEN w.played THEN greatest(w.play_count, 1) ELSE w.play_count END)::float8 AS plays, "
        " CASE WHEN bool_or(w.is_episode) THEN NULL ELSE "
        "  max(CASE WHEN w.played THEN 1 ELSE w.position_share END)::float8 END AS completion, "
        " bool_or(w.favorite) AS favorite, avg(w.rating)::float8 AS rating, max(w.last_played_at) AS last_played_at, "
        " CASE WHEN bool_or(w.is_episode) THEN "
        "  count(DISTINCT (coalesce(e.season, -1), coalesce(e.number, -w.item_id))) FILTER (WHERE w.is_episode "
        "   AND (w.played OR w.play_count > 0 OR w.position_share > 0) AND coalesce(e.season, 1) > 0)::float8 "
        "  END AS episodes_played, "
        " max(totals.total)::float8 AS episodes_total "
        "FROM watch_state w LEFT JOIN totals ON totals.work_id = w.work_id "
        "LEFT JOIN episodes e ON e.item_id = w.item_id "
        "WHERE (:all OR w.user_id = ANY(:users)) "
        " AND (w.played OR w.favorite OR w.play_count > 0 OR w.position_share > 0 OR w.rating IS NOT NULL) "
        "GROUP BY w.user_id, w.work_id"
    )
    rows = connection.execute(statement, {"all": user_ids is None, "users": list(user_ids or [])}).all()
    columns = [
        "user_id", "work_id", "plays", "completion", "favorite", "rating", "last_played_at", "episodes_played",
        "episodes_total",
    ]  # fmt: skip
    frame = pd.DataFrame([tuple(row) for row in rows], columns=columns)
    # Series have no completion of their own, films no episodes.
    for name in ("plays", "completion", "rating", "episodes_played", "episodes_total"):
        frame[name] = pd.to_numeric(frame[name])
    return frame


def read_plays(connection: Connection, *, since: datetime, until: datetime) -> pd.DataFrame:
    """The log of plays in (since, until]: ``user_id``, ``work_id``, ``played_at``, ``plays``, ``completion``,
    ``episode_id`` (null for films). Users who are gone do not count.
    """
    import pandas as pd

    rows = connection.execute(
        text(
            "SELECT p.user_id, p.work_id, p.played_at, p.play_count AS plays, p.completion, "
            "CASE WHEN p.is_episode THEN p.item_id END AS episode_id FROM plays p JOIN users u USING (user_id) "
            "WHERE p.played_at > :since AND p.played_at <= :until AND u.removed_at IS NULL"
        ),
        {"since": since, "until": until},
    ).all()
    return pd.DataFrame(
        [tuple(row) for row in rows],
        columns=["user_id", "work_id", "played_at", "plays", "completion", "episode_id"],
    )


def count_plays(connection: Connection) -> int:
    """How many viewings the log holds."""
    return connection.exec_driver_sql("SELECT count(*) FROM plays").scalar() or 0


def latest_plays(
    connection: Connection, user_ids: Sequence[str], limit: int = 20, *, timezone: str = "UTC"
) -> list[dict[str, Any]]:
    """The newest plays of some users with the time in ``timezone``, for the asset's page."""
    rows = connection.execute(
        text(
            "SELECT u.name AS user, to_char(p.played_at AT TIME ZONE :zone, 'YYYY-MM-DD HH24:MI') AS played_at, "
            "coalesce(t.title, '(no longer in the library)') AS title, "
            "CASE WHEN e.item_id IS NOT NULL THEN format('S%sE%s', e.season, e.number) END AS episode, "
            "round(p.completion::numeric, 2)::float8 AS completion FROM plays p JOIN users u USING (user_id) "
            "LEFT JOIN episodes e ON e.item_id = p.item_id "
            "LEFT JOIN titles t ON t.item_id = coalesce(e.series_item_id, p.item_id) "
            "WHERE p.user_id = ANY(:users) ORDER BY p.played_at DESC, title LIMIT :n"
        ),
        {"users": list(user_ids), "n": limit, "zone": timezone},
    ).mappings()
    return [dict(row) for row in rows]


def stale_histories(connection: Connection, *, now: datetime, hours: int = 24) -> list[dict[str, Any]]:
    """Users on the server whose history has not been read for so many hours, or by a clock that was far ahead."""
    rows = connection.execute(
        text(
            "SELECT u.partition_key AS partition, u.name, h.synced_at::text AS last_read FROM users u "
            "LEFT JOIN history_syncs h USING (user_id) WHERE u.removed_at IS NULL "
            "AND (h.synced_at IS NULL OR h.synced_at < CAST(:now AS timestamptz) - make_interval(hours => :hours) "
            "OR h.synced_at > CAST(:now AS timestamptz) + make_interval(hours => :hours)) "
            "ORDER BY h.synced_at NULLS FIRST, u.name"
        ),
        {"now": now, "hours": hours},
    ).mappings()
    return [dict(row) for row in rows]
