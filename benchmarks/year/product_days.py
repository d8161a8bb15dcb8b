"""Repeats what days write to the product's database: histories, lists that are replaced, titles that come and go."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.discovery.pool import forget_old
from aperture_dagster.maintenance.tidying import size_of_database
from aperture_dagster.model.clock import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import execute, read_value
from aperture_dagster.settings import Settings

# Assumed, since the stand-in's lists of suggestions never change.
NEW_SUGGESTIONS_A_DAY, NEW_LISTS_A_DAY, RATINGS_A_DAY = 200, 100, 20
REPLACED = ("recommendations", "taste_profiles", "taste_weights", "shows_you_watch", "discovery_candidates")
FIRST_ID = 500_000_000
# Incompressible text of about the length of what TMDb says about a title.
TEXT = "(SELECT string_agg(md5(random()::text || i || d), '') FROM generate_series(1, {}) AS d)"


class ProductDays:
    """What the measured day wrote, as a pattern for later days."""

    def __init__(self, settings: Settings, database: Database, clock: Clock, day: date) -> None:
        self._settings, self._database, self._clock, self._day = settings, database, clock, day

    def repeat(self, first: int, last: int) -> None:
        """Write what the days from ``first`` to ``last`` would, counted from the measured day."""
        with self._database.transaction() as connection:
            self._grow(connection, first=first, last=last)
        for n in range(first, last + 1):
            with self._database.transaction() as connection:
                for table in REPLACED:
                    # As if each night changed every row.
                    execute(connection, f"UPDATE {table} SET user_id = user_id")
                self._suggest(connection, n)
        with self._database.transaction() as connection:
            forget_old(connection, now=self._clock.now())
        # The time between two nights is enough for autovacuum; that between two replayed weeks is not.
        with self._database.autocommit() as connection:
            execute(connection, "VACUUM")

    def size(self) -> int:
        """Return the bytes of the database."""
        with self._database.transaction() as connection:
            return size_of_database(connection)

    def rows(self, table: str) -> int:
        """Count the rows of a table."""
        with self._database.transaction() as connection:
            return read_value(connection, f"SELECT count(*) FROM {table}")

    def _grow(self, connection: Connection, **days: Any) -> None:
        days |= {"day": self._day}
        every = "CROSS JOIN generate_series(CAST(:first AS int), CAST(:last AS int)) AS n"
        played = "played_at >= CAST(:day AS date) AND played_at < CAST(:day AS date) + 1"
        for statement in (
            f"""INSERT INTO plays (user_id, item_id, played_at, work_id, is_episode, play_count, completion)
            SELECT user_id, item_id, played_at + n * interval '1 day', work_id, is_episode, play_count, completion
            FROM plays {every} WHERE {played} ON CONFLICT DO NOTHING""",
            f"""UPDATE watch_state w SET updated_at = now(), play_count = w.play_count + 1 FROM plays p
            WHERE {played} AND (p.user_id, p.item_id) = (w.user_id, w.item_id)""",
            f"""INSERT INTO top_picks SELECT day + n, media_type, rank, work_id, item_id, viewers, plays, completion,
            score, relaxed, source, generated_at FROM top_picks {every} WHERE day = :day ON CONFLICT DO NOTHING""",
            f"""INSERT INTO quota (service, day, used, "limit")
            SELECT service, CAST(:day AS date) + n, 100, 1000 FROM (SELECT DISTINCT service FROM quota) q {every}
            ON CONFLICT DO NOTHING""",
            f"""INSERT INTO rating_changes (user_id, source, work_id, item_id, rating, rated_at)
            SELECT user_id, source, work_id, item_id, rating, rated_at
            FROM (SELECT * FROM ratings LIMIT {RATINGS_A_DAY}) r {every}""",
        ):
            execute(connection, statement, **days)

    def _suggest(self, connection: Connection, n: int) -> None:
        """Add titles to the pool that nobody is suggested on the next day, with works and vectors."""
        wanted = self._clock.now() - timedelta(days=7) + timedelta(days=n % 7)
        statement = f"""
            WITH w AS (INSERT INTO works (media_type, tmdb_id) SELECT 'movie', :base + i
              FROM generate_series(1, {NEW_SUGGESTIONS_A_DAY}) AS i RETURNING work_id, tmdb_id),
            p AS (INSERT INTO discovery_pool (work_id, media_type, tmdb_id, wanted_at, fetched_at, title,
                overview, certifications, releases, providers)
              SELECT work_id, 'movie', i, :wanted, :wanted, 'Title ' || i, {TEXT.format(20)},
              to_jsonb({TEXT.format(10)}), to_jsonb({TEXT.format(10)}), to_jsonb({TEXT.format(30)})
              FROM (SELECT work_id, tmdb_id AS i FROM w) w)
            INSERT INTO discovery_vectors (model_key, work_id, text_hash, vector)
            SELECT v.model_key, w.work_id, 'hash', v.vector FROM w
            CROSS JOIN (SELECT model_key, vector FROM embeddings LIMIT 1) v"""
        execute(connection, statement, base=FIRST_ID + n * NEW_SUGGESTIONS_A_DAY, wanted=wanted)
        statement = f"""
            INSERT INTO discovery_lists (request, media_type, entries, read_at)
            SELECT 'year/' || :n || '/' || i, 'movie', to_jsonb({TEXT.format(40)}), :wanted
            FROM generate_series(1, {NEW_LISTS_A_DAY}) AS i"""
        execute(connection, statement, n=str(n), wanted=wanted)
