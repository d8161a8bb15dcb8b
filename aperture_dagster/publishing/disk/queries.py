"""Read what is published about titles: facts for their NFO files, their copies and episodes, and the files of these."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from aperture_dagster.catalogue.visibility import LibraryCopy
from aperture_dagster.model import titled
from aperture_dagster.postgres.bulk import upsert
from aperture_dagster.postgres.queries import execute, read_rows, read_value
from aperture_dagster.publishing.disk.tables import item_files
from aperture_dagster.taste.lists import reason_of, recommendation_table

if TYPE_CHECKING:
    from sqlalchemy import Connection

# Top Picks of a day after ``today`` were made by a wrong clock.
_LATEST = """
    FROM top_picks WHERE media_type = :media_type
    AND day = (SELECT max(day) FROM top_picks WHERE media_type = :media_type AND day <= :today)"""
_NOT_HIDDEN = "NOT EXISTS (SELECT 1 FROM hidden_works d WHERE (d.user_id, d.work_id) = (:user, l.work_id))"
# By kind of list: how its rows are read, and what the parts of its key after the kind stand for.
_LISTS = {
    "recommendations": (
        "SELECT rank, work_id FROM recommendations l WHERE user_id = :user AND media_type = :media_type "
        f"AND {_NOT_HIDDEN}",
        ("user", "media_type"),
    ),
    "top_picks": (f"SELECT rank, work_id {_LATEST}", ("media_type",)),
    "shows_you_watch": (
        f"SELECT rank, work_id FROM shows_you_watch l WHERE user_id = :user AND {_NOT_HIDDEN}",
        ("user",),
    ),
}


def listed_works(connection: Connection, list_key: str, *, today: date) -> list[tuple[int, int]]:
    """Read a list as (rank, work id), by its key.

    Raises:
        KeyError: there is no such kind of list.
    """
    kind, *rest = list_key.split("/")
    statement, names = _LISTS[kind]
    rows = execute(connection, f"{statement} ORDER BY rank", today=today, **dict(zip(names, rest, strict=True)))
    return [(row.rank, row.work_id) for row in rows]


def has_hidden_all(connection: Connection, list_key: str) -> bool:
    """Tell whether the user of a list has hidden all titles of it that are published."""
    statement = f"""
        SELECT coalesce(bool_and(NOT {_NOT_HIDDEN}), false) FROM (
          SELECT work_id FROM published_entries WHERE list_key = :key AND state <> 'leaving' AND work_id IS NOT NULL
          UNION SELECT i.work_id FROM published_lists p JOIN items i ON i.server_item_id = ANY(p.items)
          WHERE p.list_key = :key) l"""
    return read_value(connection, statement, key=list_key, user=list_key.split("/")[1])


def works_in_progress(connection: Connection, user_id: str, works: Collection[int]) -> set[int]:
    """Return the works among ``works`` that a user is in the middle of: a film, or an episode, with a position.

    Of several copies of it, the one that was watched last counts.
    """
    statement = """
        SELECT work_id FROM (SELECT DISTINCT ON (w.work_id, e.season, e.number)
          w.work_id, w.position_share > 0 AS is_begun FROM watch_state w LEFT JOIN item_versions v USING (item_id)
          LEFT JOIN episodes e ON e.item_id = coalesce(v.primary_item_id, w.item_id)
          WHERE w.user_id = :user AND w.work_id = ANY(:works) AND (w.played OR w.position_share > 0)
          ORDER BY w.work_id, e.season, e.number, w.last_played_at DESC NULLS LAST, w.position_share) latest
        WHERE is_begun"""
    return set(execute(connection, statement, user=user_id, works=list(works)).scalars())


class BeingPlayed(NamedTuple):
    """A title or episode of which a copy in a list is being played. ``number`` is the episode's."""

    list_key: str
    work_id: int
    item_id: int
    number: tuple[int, int] | None


def being_played(connection: Connection, playing: Collection[tuple[str, str]]) -> list[BeingPlayed]:
    """Return which copies in lists are being played, given pairs of ids of users and items on the server."""
    statement = """
        SELECT DISTINCT p.list_key, coalesce(e.work_id, t.work_id) AS work_id, v.primary_item_id, e.season, e.number
        FROM published_copies p JOIN item_versions v USING (server_item_id)
        LEFT JOIN episodes e ON e.item_id = v.primary_item_id LEFT JOIN titles t ON t.item_id = v.primary_item_id
        WHERE p.server_item_id = ANY(:items) ORDER BY 1, 2, 3"""
    if not playing:
        return []
    rows = execute(connection, statement, items=[item_id for _, item_id in playing])
    return [
        BeingPlayed(
            row.list_key, row.work_id, row.primary_item_id, (row.season, row.number) if row.number is not None else None
        )
        for row in rows
        if row.work_id is not None
    ]


def next_episodes(connection: Connection, user_id: str) -> dict[int, tuple[int, int]]:
    """Read the number of the next episode to watch of each series of Shows You Watch that has one."""
    statement = """
        SELECT work_id, next_season, next_number FROM shows_you_watch
        WHERE user_id = :user AND next_number IS NOT NULL"""
    return {work_id: (season, number) for work_id, season, number in execute(connection, statement, user=user_id)}


def furthest_watched(connection: Connection, user_id: str, work_ids: Collection[int]) -> dict[int, tuple[int, int]]:
    """Read season and number of the furthest episode that a user has watched, in any copy, of each series.

    Specials do not count. Series of which none was watched are left out.
    """
    statement = """
        SELECT DISTINCT ON (e.work_id) e.work_id, e.season, e.number FROM watch_state w
        LEFT JOIN item_versions v ON v.item_id = w.item_id
        JOIN episodes e ON e.item_id = coalesce(v.primary_item_id, w.item_id)
        WHERE w.user_id = :user AND w.played AND e.work_id = ANY(:works) AND e.season > 0 AND e.number IS NOT NULL
        ORDER BY e.work_id, e.season DESC, e.number DESC"""
    rows = execute(connection, statement, user=user_id, works=list(work_ids))
    return {row.work_id: (row.season, row.number) for row in rows}


def liked_because(connection: Connection, user_id: str) -> dict[int, dict[int, str]]:
    """Read for which liked titles works are recommended to a user, by work: the most important first."""
    statement = """
        SELECT r.work_id, b.work_id AS liked, n.title FROM recommendations r
        LEFT JOIN unnest(r.because) WITH ORDINALITY AS b (work_id, place) ON true
        LEFT JOIN work_names n ON n.work_id = b.work_id WHERE r.user_id = :user ORDER BY r.work_id, b.place"""
    found: dict[int, dict[int, str]] = {}
    for row in execute(connection, statement, user=user_id):
        liked = found.setdefault(row.work_id, {})
        if row.title is not None:
            liked[row.liked] = row.title
    return found


def title_facts(connection: Connection, work_ids: Collection[int]) -> dict[int, dict[str, Any]]:
    """Read the facts about works by work id: what was merged from all sources, else what the media server knows.

    ``tags`` are those of all copies: users' rules about tags must hold for published copies, too.
    """
    statement = """
        SELECT w.work_id, coalesce(e.title, c.title) AS title,
        coalesce(e.original_title, c.original_title) AS original_title, coalesce(e.year, c.year) AS year,
        coalesce(e.overview, c.overview) AS overview, coalesce(e.tagline, c.tagline) AS tagline,
        coalesce(c.premiere_date, e.release_date) AS premiere_date,
        coalesce(e.vote_average, c.community_rating)::float8 AS community_rating,
        coalesce(e.rotten_tomatoes, c.critic_rating)::float8 AS critic_rating,
        coalesce(nullif(e.genres, '{}'), c.genres) AS genres, c.studios, coalesce(e.countries, '{}') AS countries,
        coalesce(m."cast", '[]') AS "cast", coalesce(e.directors, '{}') AS directors,
        coalesce(m.writers, '{}') AS writers, coalesce(e.status, c.status) AS status, e.poster_path,
        coalesce(e.tmdb_id, c.tmdb_id) AS tmdb_id, coalesce(e.imdb_id, c.imdb_id) AS imdb_id,
        coalesce(e.tvdb_id, c.tvdb_id) AS tvdb_id,
        ARRAY(SELECT DISTINCT unnest(t.tags) FROM present_titles t WHERE t.work_id = w.work_id ORDER BY 1) AS tags
        FROM works w JOIN work_copies c USING (work_id) LEFT JOIN enriched_metadata e USING (work_id)
        LEFT JOIN tmdb_metadata m USING (work_id) WHERE w.work_id = ANY(:works)"""
    return {row["work_id"]: row for row in read_rows(connection, statement, works=list(work_ids))}


class ShownCopy(NamedTuple):
    """A copy of a work on the media server: its id, its official rating and the name of its library there."""

    copy: LibraryCopy
    server_item_id: str
    official_rating: str | None
    library: str


def copies_of(connection: Connection, work_ids: Collection[int]) -> dict[int, list[ShownCopy]]:
    """Read the copies of works on the media server."""
    statement = """
        SELECT work_id, item_id, library_id, tags, path, server_item_id, official_rating,
        coalesce(l.name, '') AS library FROM present_titles LEFT JOIN libraries l USING (library_id)
        WHERE work_id = ANY(:works) ORDER BY work_id, item_id"""
    found: dict[int, list[ShownCopy]] = {}
    for row in execute(connection, statement, works=list(work_ids)):
        copy = LibraryCopy(row.work_id, row.item_id, row.library_id, tuple(row.tags), row.path)
        shown = ShownCopy(copy, row.server_item_id, row.official_rating, row.library)
        found.setdefault(row.work_id, []).append(shown)
    return found


def episodes_of(connection: Connection, series_item_ids: Collection[int]) -> list[dict[str, Any]]:
    """Read the numbered episodes of series items."""
    statement = """
        SELECT item_id, series_item_id, server_item_id, season, number, number_end, title, air_date, path
        FROM present_episodes WHERE series_item_id = ANY(:series) AND season IS NOT NULL AND number IS NOT NULL"""
    return read_rows(connection, statement, series=list(series_item_ids))


def known_files(connection: Connection, item_ids: Collection[int], *, since: datetime) -> dict[int, dict[str, Any]]:
    """Read the files of items (titles and episodes) whose path has not changed since they were read.

    Files that were read before ``since`` are left out, so that new subtitles are noticed.
    """
    statement = """
        SELECT f.item_id, f.sources, f.picture_tag, f.artwork FROM item_files f LEFT JOIN titles t USING (item_id)
        LEFT JOIN episodes e USING (item_id) WHERE f.item_id = ANY(:items)
        AND f.read_at >= :since AND f.path IS NOT DISTINCT FROM coalesce(t.path, e.path)"""
    rows = read_rows(connection, statement, items=list(item_ids), since=since)
    return {row["item_id"]: row for row in rows}


def write_files(connection: Connection, rows: Iterable[dict[str, Any]]) -> int:
    """Write the files of items, as :func:`known_files` reads them; return the rows written."""
    return upsert(connection, item_files, rows).written


def work_titles(connection: Connection, work_ids: Collection[int]) -> dict[int, str]:
    """Read the titles of works."""
    statement = "SELECT work_id, title, year FROM work_names WHERE work_id = ANY(:works)"
    return {row["work_id"]: titled(row) for row in read_rows(connection, statement, works=list(work_ids))}


def scores_and_reasons(connection: Connection, list_key: str, *, today: date) -> dict[int, tuple[float | None, str]]:
    """Read why titles are on a list, by work id: a score, and a reason in words."""
    kind, owner, *_ = list_key.split("/")
    if kind == "recommendations":
        rows = recommendation_table(connection, owner)
        return {row["work_id"]: (row["score"], reason_of(row)) for row in rows}
    if kind == "top_picks":
        statement = f"SELECT work_id, score, viewers, plays {_LATEST}"
        picks = execute(connection, statement, media_type=owner, today=today)
        return {row.work_id: (row.score, f"{row.viewers} viewers, {row.plays} plays") for row in picks}
    statement = """
        SELECT work_id, next_season, next_number, behind FROM shows_you_watch
        WHERE user_id = :user AND next_number IS NOT NULL"""
    return {
        row.work_id: (None, f"next: S{row.next_season:02d}E{row.next_number:02d}, {row.behind} behind")
        for row in execute(connection, statement, user=owner)
    }
