"""Ratings on Trakt as they were last read and merged, and how other services know a work."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from aperture_dagster.catalogue.identity import ProviderIds
from aperture_dagster.media_server.records import MediaType
from aperture_dagster.postgres.bulk import upsert
from aperture_dagster.postgres.queries import execute
from aperture_dagster.ratings.merge import SyncedRating, is_same_rating, whole_second, whole_step
from aperture_dagster.ratings.tables import trakt_ratings


@dataclass(frozen=True, slots=True)
class WorkIds:
    """How other services know a work."""

    work_id: int
    media_type: MediaType
    ids: ProviderIds
    title: str


def read_base(connection: Connection, user_id: str) -> dict[int, SyncedRating]:
    """Return a user's ratings on Trakt as they were last read and merged, by work."""
    statement = "SELECT work_id, rating, rated_at, trakt_id, media_type FROM trakt_ratings WHERE user_id = :user"
    rows = execute(connection, statement, user=user_id)
    return {
        row.work_id: SyncedRating(row.rating, whole_second(row.rated_at), row.trakt_id, row.media_type) for row in rows
    }


def change_base(
    connection: Connection, user_id: str, changed: Mapping[int, SyncedRating], gone: Collection[int]
) -> int:
    """Write and delete ratings of the base, by work; return the number of rows."""
    rows = [
        {
            "user_id": user_id,
            "work_id": work,
            "media_type": rating.media_type,
            "rating": rating.value,
            "rated_at": rating.rated_at,
            "trakt_id": rating.trakt_id,
        }
        for work, rating in changed.items()
    ]
    statement = "DELETE FROM trakt_ratings WHERE user_id = :user AND work_id = ANY(:works)"
    deleted = execute(connection, statement, user=user_id, works=list(gone)).rowcount
    return deleted + upsert(connection, trakt_ratings, rows).written


def forget_synced(connection: Connection, user_id: str) -> None:
    """Forget a user's ratings in step with Trakt, pushes that wait, and removals that are held back.

    Ratings are kept.
    """
    for table in ("trakt_ratings", "rating_outbox", "rating_removals"):
        execute(connection, f"DELETE FROM {table} WHERE user_id = :user", user=user_id)


def echoes_of(connection: Connection, user_id: str, ratings: Mapping[int, SyncedRating]) -> set[int]:
    """Return which ratings on Trakt, by work, are earlier ones that were given here."""
    statement = """
        SELECT work_id, rating, rated_at FROM rating_changes
        WHERE user_id = :user AND source <> 'trakt' AND rating IS NOT NULL AND work_id = ANY(:works)"""
    rows = execute(connection, statement, user=user_id, works=list(ratings))
    return {
        row.work_id
        for row in rows
        if is_same_rating(ratings[row.work_id], whole_step(row.rating), whole_second(row.rated_at))
    }


def works_to_push(connection: Connection, works: Collection[int]) -> dict[int, WorkIds]:
    """Return how other services know works, with names to show."""
    statement = """
        SELECT i.work_id, i.media_type, i.tmdb_id, i.imdb_id, i.tvdb_id, n.title
        FROM work_ids i LEFT JOIN work_names n USING (work_id)
        WHERE i.work_id = ANY(:works)"""
    return {
        row.work_id: WorkIds(
            row.work_id,
            row.media_type,
            ProviderIds(row.tmdb_id, row.imdb_id, row.tvdb_id),
            row.title or f"{row.media_type} {row.tmdb_id or row.imdb_id or row.tvdb_id or row.work_id}",
        )
        for row in execute(connection, statement, works=list(works))
    }
