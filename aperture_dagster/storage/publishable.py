"""What is published about a title: facts for its NFO, its copies and episodes, and their files."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from aperture_dagster.library.access import Copy
from aperture_dagster.library.moments import SKEW
from aperture_dagster.storage.bulk import upsert
from aperture_dagster.storage.lists import reason_of, recommendation_table
from aperture_dagster.storage.tables import item_files

if TYPE_CHECKING:
    from sqlalchemy import Connection


def listed_works(connection: Connection, list_key: str, *, today: date) -> list[tuple[int, int]]:
    """Read a list as (rank, work id), by its key; Top Picks of a day after ``today`` are those of a wrong clock.

    Raises:
        KeyError: there is no such kind of list.
    """
    kind, *rest = list_key.split("/")
    statement, names = {
        "recommendations": (
            "SELECT rank, work_id FROM recommendations WHERE user_id = :user AND media_type = :media_type",
            ("user", "media_type"),
        ),
        "top_picks": (
            "SELECT rank, work_id FROM top_picks WHERE media_type = :media_type "
            "AND day = (SELECT max(day) FROM top_picks WHERE media_type = :media_type AND day <= :today)",
            ("media_type",),
        ),
        "shows_you_watch": ("SELECT rank, work_id FROM shows_you_watch WHERE user_id = :user", ("user",)),
    }[kind]
    values: dict[str, Any] = dict(zip(names, rest, strict=True))
    if kind == "top_picks":
        values["today"] = today
    rows = connection.execute(text(f"{statement} ORDER BY rank"), values)
    return [(row.rank, row.work_id) for row in rows]


def next_episodes(connection: Connection, user_id: str) -> dict[int, tuple[int, int]]:
    """Read the number of the next episode to watch of each series of Shows You Watch that has one."""
    rows = connection.execute(
        text(
            "SELECT work_id, next_season, next_number FROM shows_you_watch "
            "WHERE user_id = :user AND next_number IS NOT NULL"
        ),
        {"user": user_id},
    )
    return {row.work_id: (row.next_season, row.next_number) for row in rows}


def title_facts(connection: Connection, work_ids: Collection[int]) -> dict[int, dict[str, Any]]:
    """Read the facts about works by work id: what was merged from all sources, else what the media server knows.

    ``tags`` are those of all copies: users' rules about tags must hold for published copies, too.
    """
    rows = connection.execute(
        text(
            "SELECT w.work_id, coalesce(e.title, c.title) AS title, coalesce(e.original_title, c.original_title) "
            "AS original_title, coalesce(e.year, c.year) AS year, coalesce(e.overview, c.overview) AS overview, "
            "coalesce(e.tagline, c.tagline) AS tagline, "
            "coalesce(c.premiere_date, e.release_date) AS premiere_date, "
            "coalesce(e.vote_average, c.community_rating)::float8 AS community_rating, "
            "coalesce(e.rotten_tomatoes, c.critic_rating)::float8 AS critic_rating, "
            "coalesce(nullif(e.genres, '{}'), c.genres) AS genres, c.studios, "
            "coalesce(e.countries, '{}') AS countries, "
            "coalesce(m.\"cast\", '[]') AS \"cast\", coalesce(e.directors, '{}') AS directors, "
            "coalesce(m.writers, '{}') AS writers, coalesce(e.status, c.status) AS status, e.poster_path, "
            "coalesce(e.tmdb_id, c.tmdb_id) AS tmdb_id, coalesce(e.imdb_id, c.imdb_id) AS imdb_id, "
            "coalesce(e.tvdb_id, c.tvdb_id) AS tvdb_id, "
            "ARRAY(SELECT DISTINCT unnest(t.tags) FROM present_titles t WHERE t.work_id = w.work_id ORDER BY 1) "
            "AS tags "
            "FROM works w JOIN work_copies c USING (work_id) LEFT JOIN enriched_metadata e USING (work_id) "
            "LEFT JOIN tmdb_metadata m USING (work_id) WHERE w.work_id = ANY(:works)"
        ),
        {"works": list(work_ids)},
    ).mappings()
    return {row["work_id"]: dict(row) for row in rows}


def copies_of(connection: Connection, work_ids: Collection[int]) -> dict[int, list[tuple[Copy, str, str | None]]]:
    """Read the copies of works on the media server, each with its id and its official rating there."""
    rows = connection.execute(
        text(
            "SELECT work_id, item_id, library_id, tags, path, server_item_id, official_rating FROM present_titles "
            "WHERE work_id = ANY(:works) ORDER BY work_id, item_id"
        ),
        {"works": list(work_ids)},
    )
    found: dict[int, list[tuple[Copy, str, str | None]]] = {}
    for row in rows:
        copy = Copy(row.work_id, row.item_id, row.library_id, tuple(row.tags), row.path)
        found.setdefault(row.work_id, []).append((copy, row.server_item_id, row.official_rating))
    return found


def episodes_of(connection: Connection, series_item_ids: Collection[int]) -> list[dict[str, Any]]:
    """Read the numbered episodes of series items."""
    rows = connection.execute(
        text(
            "SELECT item_id, series_item_id, server_item_id, season, number, number_end, title, air_date, path "
            "FROM present_episodes WHERE series_item_id = ANY(:series) AND season IS NOT NULL AND number IS NOT NULL"
        ),
        {"series": list(series_item_ids)},
    ).mappings()
    return [dict(row) for row in rows]


def known_files(
    connection: Connection, item_ids: Collection[int], *, since: datetime, now: datetime
) -> dict[int, dict[str, Any]]:
    """Read the files of items whose path has not changed since they were read.

    Args:
        connection: the database.
        item_ids: rows of titles and episodes.
        since: files that were read before are left out, so that new subtitles are noticed.
        now: the time.
    """
    rows = connection.execute(
        text(
            "SELECT f.item_id, f.sources, f.picture_tag FROM item_files f LEFT JOIN titles t USING (item_id) "
            "LEFT JOIN episodes e USING (item_id) WHERE f.item_id = ANY(:items) "
            "AND f.read_at BETWEEN :since AND :latest AND f.path IS NOT DISTINCT FROM coalesce(t.path, e.path)"
        ),
        {"items": list(item_ids), "since": since, "latest": now + SKEW},
    ).mappings()
    return {row["item_id"]: dict(row) for row in rows}


def write_files(connection: Connection, rows: Iterable[dict[str, Any]]) -> int:
    """Write the files of items, as :func:`known_files` reads them; return the rows written."""
    return upsert(connection, item_files, rows).written


def work_titles(connection: Connection, work_ids: Collection[int]) -> dict[int, str]:
    """Read the titles of works."""
    rows = connection.execute(
        text("SELECT work_id, title, year FROM work_names WHERE work_id = ANY(:works)"), {"works": list(work_ids)}
    )
    return {row.work_id: f"{row.title} ({row.year})" if row.year else str(row.title) for row in rows}


def finished_copies(connection: Connection) -> list[dict[str, Any]]:
    """List what users finished on a published copy while the original counts as unwatched.

    Each row has ``user_id``, ``server_item_id`` (of the original) and ``last_played_at``.
    """
    rows = connection.execute(
        text(
            "SELECT w.user_id, coalesce(t.server_item_id, e.server_item_id) AS server_item_id, "
            "max(w.last_played_at) AS last_played_at FROM watch_state w JOIN item_versions v USING (item_id) "
            "JOIN present_users USING (user_id) LEFT JOIN present_titles t ON t.item_id = v.primary_item_id "
            "LEFT JOIN present_episodes e ON e.item_id = v.primary_item_id "
            "WHERE v.is_published AND w.played AND w.last_played_at IS NOT NULL "
            "AND coalesce(t.server_item_id, e.server_item_id) IS NOT NULL AND t.media_type IS DISTINCT FROM 'series' "
            "AND NOT EXISTS (SELECT 1 FROM watch_state o WHERE o.user_id = w.user_id "
            " AND o.item_id = v.primary_item_id AND o.played) GROUP BY 1, 2"
        )
    ).mappings()
    return [dict(row) for row in rows]


def scores_and_reasons(connection: Connection, list_key: str, *, today: date) -> dict[int, tuple[float | None, str]]:
    """Read why titles are on a list, by work id: a score, and a reason in words."""
    kind, *rest = list_key.split("/")
    if kind == "recommendations":
        rows = recommendation_table(connection, rest[0])
        return {row["work_id"]: (row["score"], reason_of(row)) for row in rows}
    if kind == "top_picks":
        picks = connection.execute(
            text(
                "SELECT work_id, score, viewers, plays FROM top_picks WHERE media_type = :media_type "
                "AND day = (SELECT max(day) FROM top_picks WHERE media_type = :media_type AND day <= :today)"
            ),
            {"media_type": rest[0], "today": today},
        )
        return {row.work_id: (row.score, f"{row.viewers} viewers, {row.plays} plays") for row in picks}
    watching = connection.execute(
        text("SELECT work_id, next_season, next_number, behind FROM shows_you_watch WHERE user_id = :user"),
        {"user": rest[0]},
    )
    return {
        row.work_id: (None, f"next: S{row.next_season:02d}E{row.next_number:02d}, {row.behind} behind")
        for row in watching
        if row.next_number is not None
    }
