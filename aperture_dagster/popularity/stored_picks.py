"""Top Picks as they are stored: one list a day and media type, of which the latest is in effect."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.popularity.tables import top_picks
from aperture_dagster.postgres.bulk import WriteCounts
from aperture_dagster.postgres.queries import read_rows, read_value
from aperture_dagster.taste.lists import replace_rows


def replace_top_picks(
    connection: Connection, day: date, media_type: str, rows: Sequence[dict[str, Any]]
) -> WriteCounts:
    """Replace the list of a day; an equal list is not written.

    Raises:
        ValueError: there are no rows; a list is never replaced by nothing.
    """
    if not rows:
        raise ValueError("a list of Top Picks is never replaced by an empty one")
    return replace_rows(connection, top_picks, rows, day=day, media_type=media_type)


_IN_EFFECT = """(SELECT media_type, max(day) AS day FROM top_picks WHERE day <= :day GROUP BY media_type)"""


def top_picks_table(connection: Connection, day: date) -> list[dict[str, Any]]:
    """List the Top Picks in effect on a day, films first, in rank order: of each media type the latest list, which is
    an older one if none could be made that day.
    """
    statement = f"""
        SELECT p.work_id, p.media_type, p.rank, n.title, n.year, n.tmdb_id, n.imdb_id, p.viewers, p.plays,
        p.completion::float8 AS completion, p.score::float8 AS score, p.relaxed, p.source
        FROM top_picks p JOIN {_IN_EFFECT} e USING (media_type, day) JOIN work_names n USING (work_id)
        ORDER BY p.media_type, p.rank"""
    return read_rows(connection, statement, day=day)


def course_of_ranks(connection: Connection, day: date) -> list[dict[str, Any]]:
    """List the Top Picks in effect on a day with their ranks on the day before and a week before (None: not listed)."""
    statement = f"""
        SELECT p.media_type, p.rank, n.title, y.rank AS yesterday, w.rank AS week_ago, p.viewers, p.plays,
        p.score::float8 AS score FROM top_picks p JOIN {_IN_EFFECT} e USING (media_type, day)
        JOIN work_names n USING (work_id)
        LEFT JOIN top_picks y ON (y.day, y.media_type, y.work_id) = (p.day - 1, p.media_type, p.work_id)
        LEFT JOIN top_picks w ON (w.day, w.media_type, w.work_id) = (p.day - 7, p.media_type, p.work_id)
        ORDER BY p.media_type, p.rank"""
    return read_rows(connection, statement, day=day)


def top_picks_sources(connection: Connection, day: date) -> dict[str, str]:
    """Return by media type what the list of a day was made from; a media type without a list is absent."""
    statement = "SELECT media_type, source FROM top_picks WHERE day = :day AND rank = 1"
    return {row["media_type"]: row["source"] for row in read_rows(connection, statement, day=day)}


def latest_top_picks_day(connection: Connection, day: date, media_type: str) -> date | None:
    """Return the day of the list in effect on a day; None if there is no list yet."""
    statement = "SELECT max(day) FROM top_picks WHERE day <= :day AND media_type = :media_type"
    return read_value(connection, statement, day=day, media_type=media_type)
