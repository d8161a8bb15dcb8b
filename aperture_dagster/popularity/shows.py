"""Shows You Watch: the series that a user may see, and the list that is made from them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, text

from aperture_dagster.catalogue.parental import within_limit
from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.visibility import LibraryCopy, copies_in_sight
from aperture_dagster.popularity.series import (
    Episode,
    Series,
    WatchedSeries,
    WatchingRules,
    in_order,
    parse_announced,
    watched_series,
)
from aperture_dagster.popularity.tables import shows_you_watch
from aperture_dagster.postgres.bulk import WriteCounts, upsert
from aperture_dagster.postgres.queries import array_of, execute, lock_until_commit, read_rows
from aperture_dagster.settings import Settings
from aperture_dagster.taste.lists import read_copies

BATCH = 2_000


def read_series(connection: Connection) -> dict[int, Series]:
    """Read the series in the library by work id, with values from the merged metadata or else from the server."""
    rows = connection.exec_driver_sql(
        "SELECT s.work_id, coalesce(e.title, s.title) AS title, "
        "coalesce(e.official_rating, s.official_rating) AS official_rating, coalesce(e.status, s.status) AS status, "
        "e.next_episode FROM (SELECT DISTINCT ON (work_id) * FROM present_titles WHERE media_type = 'series' "
        " ORDER BY work_id, item_id) s LEFT JOIN enriched_metadata e USING (work_id)"
    )
    return {
        row.work_id: Series(row.work_id, row.title, row.official_rating, row.status, parse_announced(row.next_episode))
        for row in rows
    }


def read_episodes(
    connection: Connection, user_id: str, *, since: datetime | None, works: Collection[int] | None = None
) -> Iterator[tuple[int, list[Episode]]]:
    """Yield ``(work_id, episodes)`` of each series of which a user has played an episode since then (None: ever).

    ``works``: only of these.

    The episodes are those of all copies in the library, and removed ones that the user has a state of. Servers clear
    the mark of an episode while it is watched again; it counts as watched if the log has a finished play of it, unless
    it was marked as unwatched since, which also resets the count. Imported plays count where the server knows nothing.
    """
    statement = """
        WITH states AS MATERIALIZED (SELECT coalesce(v.primary_item_id, w.item_id) AS item_id,
          bool_or(w.played) AS played, bool_or(w.play_count > 0) AS counted, max(w.last_played_at) AS last_played_at
          FROM (SELECT item_id, played, play_count, last_played_at FROM watch_state WHERE user_id = :user AND is_episode
            AND (played OR play_count > 0 OR position_share > 0)
            UNION ALL SELECT p.item_id, true, p.play_count, p.played_at FROM plays p LEFT JOIN watch_state o
            USING (user_id, item_id) WHERE p.user_id = :user AND p.is_episode AND p.imported_from IS NOT NULL
            AND o.item_id IS NULL) w LEFT JOIN item_versions v USING (item_id) GROUP BY 1),
        active AS MATERIALIZED (SELECT e.work_id FROM states s JOIN episodes e USING (item_id)
          WHERE CAST(:works AS bigint[]) IS NULL OR e.work_id = ANY(CAST(:works AS bigint[])) GROUP BY e.work_id
          HAVING CAST(:since AS timestamptz) IS NULL OR max(s.last_played_at) >= :since),
        finished AS MATERIALIZED (SELECT DISTINCT item_id FROM plays
          WHERE user_id = :user AND is_episode AND play_count > 0)
        SELECT e.work_id, e.item_id, e.series_item_id, e.season, e.number, e.number_end, e.title, e.air_date,
        e.removed_at IS NULL, coalesce(s.played OR (s.counted AND f.item_id IS NOT NULL), false), s.last_played_at
        FROM active JOIN episodes e USING (work_id) LEFT JOIN states s USING (item_id)
        LEFT JOIN finished f USING (item_id)
        WHERE e.removed_at IS NULL OR s.item_id IS NOT NULL ORDER BY e.work_id, e.item_id"""
    chosen = None if works is None else array_of(works)
    values, options = {"user": user_id, "since": since, "works": chosen}, {"yield_per": BATCH}
    rows = connection.execute(text(statement), values, execution_options=options)
    for work_id, group in groupby(rows, key=itemgetter(0)):
        yield work_id, [Episode(*row[1:]) for row in group]


def replace_shows(connection: Connection, user_id: str, rows: Sequence[dict[str, Any]]) -> WriteCounts:
    """Replace a user's list. Equal rows are not written, and an entry keeps ``listed_at`` while it is listed."""
    lock_until_commit(connection, f"shows_you_watch:{user_id}")
    statement = "DELETE FROM shows_you_watch WHERE user_id = :user AND NOT work_id = ANY(:works)"
    gone = execute(connection, statement, user=user_id, works=[row["work_id"] for row in rows])
    counts = upsert(connection, shows_you_watch, rows)
    counts.deleted += gone.rowcount
    return counts


def shows_table(connection: Connection, user_id: str, *, today: date) -> list[dict[str, Any]]:
    """List a user's series by rank; ``days_until`` is None unless the next air date is known and has not passed."""
    statement = """
        SELECT w.work_id, 'series' AS media_type, w.rank, n.title, n.tmdb_id, n.imdb_id, w.next_season, w.next_number,
        w.next_title, w.behind, w.episodes_played, w.episodes_out, w.next_air_date,
        CASE WHEN w.next_air_date >= :today THEN w.next_air_date - :today END AS days_until, w.last_played_at,
        w.listed_at FROM shows_you_watch w JOIN work_names n USING (work_id) WHERE w.user_id = :user ORDER BY w.rank"""
    return read_rows(connection, statement, user=user_id, today=today)


def outdated_shows(connection: Connection, user_ids: Sequence[str]) -> list[dict[str, Any]]:
    """List entries whose next episode has left the library, or had been watched when the list was made."""
    statement = """
        SELECT u.name AS user, n.title, s.next_season AS season, s.next_number AS number FROM shows_you_watch s
        JOIN users u USING (user_id) JOIN work_names n USING (work_id)
        WHERE s.user_id = ANY(:users) AND s.next_item_id IS NOT NULL AND (
          NOT EXISTS (SELECT 1 FROM present_episodes e WHERE e.item_id = s.next_item_id AND e.work_id = s.work_id)
          OR EXISTS (SELECT 1 FROM watch_state w WHERE w.user_id = s.user_id AND w.item_id = s.next_item_id
            AND w.played AND w.updated_at <= s.updated_at AND s.updated_at <= clock_timestamp()))
        ORDER BY u.name, n.title"""
    return read_rows(connection, statement, users=list(user_ids))


@dataclass(frozen=True, slots=True)
class ShowLists:
    """Makes the lists of a run.

    Args:
        rules: what makes a series one that somebody watches.
        library: the series by work id, and ``copies`` the copies of them.
        now: in the household's time zone.
    """

    rules: WatchingRules
    library: dict[int, Series]
    copies: list[LibraryCopy]
    now: datetime

    @classmethod
    def read(cls, connection: Connection, settings: Settings, now: datetime) -> ShowLists:
        """Read what the lists of all users are made from."""
        rules = WatchingRules(
            minimum_episodes=settings.shows_you_watch_minimum_episodes,
            days=settings.shows_you_watch_days,
            ended_days=settings.shows_you_watch_ended_days,
        )
        return cls(rules, read_series(connection), read_copies(connection, "series"), now)

    def renew(self, connection: Connection, user: User) -> int:
        """Make and store the list of a user; return the rows written."""
        in_sight: dict[int, set[int]] = {}
        for copy in copies_in_sight(self.copies, user.visibility):
            # A series may have been added since the others were read.
            one = self.library.get(copy.work_id)
            if one is not None and within_limit(one.official_rating, user.max_parental_rating):
                in_sight.setdefault(copy.work_id, set()).add(copy.item_id)
        found = [
            watched_series(self.library[work_id], states, in_sight[work_id], self.rules, now=self.now)
            for work_id, states in read_episodes(connection, user.user_id, since=self.rules.earliest(self.now))
            if work_id in in_sight
        ]
        listed = in_order(one for one in found if one is not None)
        rows = [_row(user, *one) for one in enumerate(listed, start=1)]
        return replace_shows(connection, user.user_id, rows).written


def _row(user: User, rank: int, one: WatchedSeries) -> dict[str, Any]:
    return {
        "user_id": user.user_id,
        "work_id": one.work_id,
        "rank": rank,
        "item_id": one.item_id,
        "episodes_played": one.episodes_played,
        "episodes_out": one.episodes_out,
        "next_item_id": one.next.item_id if one.next is not None else None,
        "next_season": one.next_season,
        "next_number": one.next_number,
        "next_title": one.next.title if one.next is not None else None,
        "behind": one.behind,
        "next_air_date": one.next_air_date,
        "last_played_at": one.last_played_at,
    }
