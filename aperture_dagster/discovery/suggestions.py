"""Suggestions of titles outside the library: what they are made of, the lists, and what users dismissed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from aperture_dagster.discovery.pool import owned_under_any_id, settled_titles
from aperture_dagster.discovery.tables import discovery_candidates
from aperture_dagster.postgres.bulk import WriteCounts
from aperture_dagster.postgres.queries import execute, lock_until_commit, read_frame, read_rows
from aperture_dagster.taste.lists import reason_of, replace_rows

if TYPE_CHECKING:
    import pandas as pd

REASONS = 2
# Ways to watch without paying for the single title.
INCLUDED = ("flatrate", "free", "ads")


def read_pool(connection: Connection) -> pd.DataFrame:
    """Read the titles of the pool with details, in the columns of the ranking, by work id."""
    import pandas as pd

    statement = """
        SELECT work_id, media_type, title, extract(year FROM release_date)::int AS year, genres, keywords, directors,
        creators, "cast", companies, networks, vote_average::float8 AS vote_average, vote_count::float8 AS vote_count,
        popularity::float8 AS popularity, release_date, tmdb_id, imdb_id
        FROM discovery_pool WHERE fetched_at IS NOT NULL ORDER BY work_id"""
    frame = read_frame(connection, statement)
    for name in ("vote_average", "vote_count", "popularity"):
        frame[name] = pd.to_numeric(frame[name])
    frame["imdb_id"] = frame["imdb_id"].astype(object).where(frame["imdb_id"].notna(), None)
    return frame


def read_pool_edges(connection: Connection) -> pd.DataFrame:
    """Read TMDb's recommendations among the titles of library and pool: ``work_id``, ``recommended_work_id``, ``rank``.

    What is recommended within the library alone is included.
    """
    statement = """
        WITH here AS MATERIALIZED (
          SELECT work_id, media_type, tmdb_id FROM work_ids w WHERE tmdb_id IS NOT NULL
            AND EXISTS (SELECT 1 FROM present_titles t WHERE t.work_id = w.work_id)
          UNION SELECT work_id, media_type, tmdb_id FROM discovery_pool WHERE fetched_at IS NOT NULL),
        lists AS (
          SELECT h.work_id, h.media_type, m.recommended_tmdb_ids || m.similar_tmdb_ids AS listed FROM here h
            JOIN tmdb_metadata m USING (work_id)
          UNION ALL SELECT work_id, media_type, recommended_tmdb_ids FROM discovery_pool WHERE fetched_at IS NOT NULL)
        SELECT l.work_id, h.work_id AS recommended_work_id, min(r.rank) AS rank FROM lists l
        CROSS JOIN LATERAL unnest(l.listed) WITH ORDINALITY AS r(tmdb_id, rank)
        JOIN here h ON h.media_type = l.media_type AND h.tmdb_id = r.tmdb_id WHERE h.work_id <> l.work_id
        GROUP BY 1, 2"""
    return read_frame(connection, statement)


def replace_candidates(
    connection: Connection, user_id: str, rows: Sequence[dict[str, Any]], *, today: date
) -> WriteCounts:
    """Replace a user's suggestions; equal lists are not written, and titles that stay keep their ``listed_since``.

    What was dismissed or added to the library since ``rows`` were computed is left out.
    """
    lock_until_commit(connection, f"dismissals:{user_id}")
    works = [row["work_id"] for row in rows]
    settled = settled_titles(connection, [user_id], works)[user_id] | owned_under_any_id(connection, works)
    since = listed_since(connection, [user_id])[user_id]
    kept: list[dict[str, Any]] = []
    places: dict[str, int] = {}
    for row in rows:
        if row["work_id"] not in settled:
            places[row["media_type"]] = places.get(row["media_type"], 0) + 1
            day = since.get(row["work_id"], today)
            kept.append(row | {"rank": places[row["media_type"]], "listed_since": day})
    return replace_rows(connection, discovery_candidates, kept, user_id=user_id)


def listed_since(connection: Connection, user_ids: Sequence[str]) -> dict[str, dict[int, date]]:
    """Return by user and title since when it has been on the user's list."""
    statement = "SELECT user_id, work_id, listed_since FROM discovery_candidates WHERE user_id = ANY(:users)"
    found: dict[str, dict[int, date]] = {user_id: {} for user_id in user_ids}
    for row in execute(connection, statement, users=list(user_ids)):
        found[row.user_id][row.work_id] = row.listed_since
    return found


_SHOWN = """
    p.title, extract(year FROM p.release_date)::int AS year, p.tmdb_id, p.imdb_id, p.poster_path,
    p.providers->CAST(:country AS text) AS providers"""


def candidate_table(connection: Connection, user_id: str, *, country: str) -> list[dict[str, Any]]:
    """List a user's suggestions with titles, reasons and where they stream in a country; films first, in rank order.

    What the library has by now is left out.
    """
    statement = f"""
        SELECT c.work_id, c.media_type, c.rank, {_SHOWN}, c.score::float8 AS score, c.components,
        ARRAY(SELECT coalesce(b.title, o.title) FROM unnest(c.because) WITH ORDINALITY AS b_(work_id, place)
          LEFT JOIN work_names b USING (work_id) LEFT JOIN discovery_pool o USING (work_id)
          WHERE coalesce(b.title, o.title) IS NOT NULL ORDER BY place) AS because
        FROM discovery_candidates c JOIN discovery_pool p USING (work_id)
        WHERE c.user_id = :user ORDER BY c.media_type, c.rank"""
    return _outside(connection, read_rows(connection, statement, user=user_id, country=country))


def household_table(connection: Connection, *, country: str) -> list[dict[str, Any]]:
    """List what would please most people, with their names, those whom it would please most first; films first.

    The score of a title is the mean over everybody, in which whoever does not have it on their list counts 0: what one
    person loves and nobody else wants is below what most like. What the library has by now is left out.
    """
    statement = f"""
        WITH wanted AS (
          SELECT c.work_id, c.media_type, array_agg(u.name ORDER BY c.score DESC, u.name) AS users,
          sum(c.score)::float8 / (SELECT count(*) FROM present_users) AS score
          FROM discovery_candidates c JOIN present_users u USING (user_id) GROUP BY 1, 2)
        SELECT c.work_id, c.media_type, {_SHOWN}, c.score, c.users, row_number() OVER (PARTITION BY c.media_type
          ORDER BY round(c.score::numeric, 5) DESC, cardinality(c.users) DESC, c.work_id) AS rank
        FROM wanted c JOIN discovery_pool p USING (work_id) ORDER BY c.media_type, rank"""
    return _outside(connection, read_rows(connection, statement, country=country))


def _outside(connection: Connection, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what the library has got since the lists were made."""
    owned = owned_under_any_id(connection, [row["work_id"] for row in rows]) if rows else set()
    return [row for row in rows if row["work_id"] not in owned]


def candidate_sizes(connection: Connection) -> list[dict[str, Any]]:
    """Return the lengths of each present user's lists; users without one come first."""
    statement = """
        SELECT u.partition_key AS partition, u.name, count(*) FILTER (WHERE c.media_type = 'movie') AS films,
        count(*) FILTER (WHERE c.media_type = 'series') AS series, max(c.generated_at)::text AS changed
        FROM present_users u LEFT JOIN discovery_candidates c USING (user_id)
        GROUP BY u.user_id, u.partition_key, u.name ORDER BY count(c.rank), u.name"""
    return read_rows(connection, statement)


# All ids of a work.
_IDS = """
    SELECT w.work_id, w.media_type, coalesce(p.tmdb_id, w.tmdb_id) AS tmdb_id,
    coalesce(w.imdb_id, p.imdb_id) AS imdb_id, coalesce(w.tvdb_id, p.tvdb_id) AS tvdb_id FROM work_ids w
    LEFT JOIN discovery_pool p USING (work_id) WHERE w.work_id = :work"""


def dismiss_title(connection: Connection, user_id: str, work_id: int, title: str, *, now: datetime) -> bool:
    """Dismiss a title for a user, under all of its ids, and take it off their list at once; False if it was already."""
    lock_until_commit(connection, f"dismissals:{user_id}")
    statement = f"""
        INSERT INTO dismissals (user_id, work_id, media_type, tmdb_id, imdb_id, tvdb_id, title, dismissed_at)
        SELECT :user, work_id, media_type, tmdb_id, imdb_id, tvdb_id, :title, :now FROM ({_IDS}) i
        ON CONFLICT DO NOTHING"""
    is_new = execute(connection, statement, user=user_id, work=work_id, title=title, now=now).rowcount > 0
    settled = settled_titles(connection, [user_id])[user_id] | {work_id}
    statement = "DELETE FROM discovery_candidates WHERE user_id = :user AND work_id = ANY(:works)"
    execute(connection, statement, user=user_id, works=list(settled))
    return is_new


def undo_dismissal(connection: Connection, user_id: str, work_id: int) -> int:
    """Forget that a user dismissed a title, under whichever id; return how many dismissals are forgotten."""
    lock_until_commit(connection, f"dismissals:{user_id}")
    statement = f"""
        DELETE FROM dismissals d USING ({_IDS}) i WHERE d.user_id = :user AND (d.work_id = i.work_id
        OR d.imdb_id = i.imdb_id
        OR (d.media_type = i.media_type AND (d.tmdb_id = i.tmdb_id OR d.tvdb_id = i.tvdb_id)))"""
    return execute(connection, statement, user=user_id, work=work_id).rowcount


def dismissed_titles(connection: Connection, user_id: str) -> list[dict[str, Any]]:
    """List what a user dismissed, the latest first."""
    statement = """
        SELECT work_id, media_type, title, tmdb_id, imdb_id, dismissed_at FROM dismissals WHERE user_id = :user
        ORDER BY dismissed_at DESC, title"""
    return read_rows(connection, statement, user=user_id)


def why_suggested(row: Mapping[str, Any]) -> str:
    """Return why a title is suggested, with at most two liked titles."""
    return reason_of({**row, "because": row["because"][:REASONS]})


def where_to_stream(providers: Mapping[str, Sequence[str]] | None, most: int = 2) -> str:
    """Name services that stream a title, those without an extra price first; empty if none is known."""
    offers = providers or {}
    included = [name for way in INCLUDED for name in offers.get(way, ())]
    if included:
        return ", ".join(list(dict.fromkeys(included))[:most])
    paid = [name for way in ("rent", "buy") for name in offers.get(way, ())]
    return f"rent or buy: {paid[0]}" if paid else ""
