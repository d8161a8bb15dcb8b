"""The household at a glance: everybody's first titles, what they like, and how much is watched."""

import hashlib
import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from aperture_dagster.automation import HOURLY_CRON, on_upstream_change
from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.stored_users import users_of_partitions
from aperture_dagster.catalogue.watch_states import plays_by_week
from aperture_dagster.defs.catalogue import movies, series, users, watch_history
from aperture_dagster.defs.enrichment import enriched_metadata
from aperture_dagster.defs.reporting import materialized, poster_row, table
from aperture_dagster.defs.taste import embeddings, recommendations, taste_profiles
from aperture_dagster.instance.failures import MissingPrerequisite, operator_errors
from aperture_dagster.instance.markdown import Markup, markdown
from aperture_dagster.instance.pictures import genre_panels, week_columns, weeks_until
from aperture_dagster.model.clock import Clock
from aperture_dagster.model.wording import titled
from aperture_dagster.partitions import user_partitions
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.taste.lists import first_recommendations, liked_genres, top_picks_table

FIRST = 5
WEEKS = 26
# An event of a large household must not become large, too.
SHOWN_ROWS = 100
NAMED_REASONS = 2
GENRES = "Share of what each user likes, by genre"
MEDIA_TYPES = {"movie": "films", "series": "series"}
# Lists decide when it is made again; everything else that it shows changes with them, or can wait for the night.
AT_NIGHT = dg.AssetSelection.assets(
    users, movies, series, watch_history, enriched_metadata, taste_profiles
) | dg.AssetSelection.assets("top_picks")


@dg.asset(
    group_name="popularity",
    deps=[
        users, movies, series, enriched_metadata,
        # All users and days, whatever the partitions of the run.
        *(
            dg.AssetDep(one, partition_mapping=dg.AllPartitionMapping())
            for one in (watch_history, taste_profiles, recommendations, "top_picks")
        ),
    ],
    kinds={"postgres"},
    # On a new home, where nobody is known yet, no list is missing either.
    automation_condition=on_upstream_change(ignoring=AT_NIGHT, at_most=HOURLY_CRON, after=[embeddings.key]),
)  # fmt: skip
def household_overview(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    clock: dg.ResourceParam[Clock],
) -> dg.MaterializeResult:
    """The whole household on one page, one row per user: their first film and series, the top five with reasons, and
    their taste by genre; also plays per week and the Top Picks.

    A view of recommendations, taste_profiles, watch_history and top_picks, without a table of its own. Made every night
    after the lists, and during the day when lists change, at most once an hour.
    """
    now = clock.now().astimezone(ZoneInfo(settings.schedule_timezone))
    with operator_errors(context, settings):
        shown = overview(settings, database, user_partitions(context.instance), now)
    metadata = {key: _entry(value) for key, value in shown.items()}
    version = hashlib.blake2b(json.dumps(shown, default=str, sort_keys=True).encode(), digest_size=8).hexdigest()
    return materialized(context, metadata, version=version)


def overview(settings: Settings, database: Database, partitions: Collection[str], now: datetime) -> dict[str, Any]:
    """Return what the page shows, the most interesting first: rows of tables, pictures as Markdown, and numbers.

    Raises:
        MissingPrerequisite: no user takes part yet.
    """
    weeks = weeks_until(now.date(), WEEKS)
    with database.transaction() as connection:
        people = list(users_of_partitions(connection, partitions).values())
        if not people:
            raise MissingPrerequisite("No users take part yet: run sync_users.")
        user_ids = [user.user_id for user in people]
        lists = first_recommendations(connection, user_ids, FIRST)
        genres = liked_genres(connection, user_ids)
        by_week = plays_by_week(connection, since=weeks[0], timezone=settings.schedule_timezone)
        picks = top_picks_table(connection, now.date())
    plays = [(week, by_week.get(week, 0)) for week in weeks]
    heads = {row["work_id"]: row for row in lists if row["rank"] == 1}
    shown: dict[str, Any] = {
        "watch_first": [_first(user, lists) for user in people],
        "posters": poster_row(settings, [(row["title"], row["server_item_id"]) for row in heads.values()]),
        "plays": week_columns(plays, title=f"Plays per week, last {WEEKS} weeks"),
        "top_picks": [_pick_names(picks, rank) for rank in range(1, FIRST + 1)] if picks else [],
        "taste_by_genre": genre_panels({user.name: genres[user.user_id] for user in people}, title=GENRES),
    }
    for media_type, label in MEDIA_TYPES.items():
        shown[label] = _top(people, [row for row in lists if row["media_type"] == media_type])
    numbers = {"dagster/row_count": len(people), "plays_last_week": plays[-2][1]}
    return {key: value for key, value in shown.items() if value} | numbers


def _entry(value: Any) -> Any:
    if isinstance(value, list):
        return table(value)
    return markdown(value) if isinstance(value, Markup) else value


def _first(user: User, lists: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a user's first film and series."""
    first = {row["media_type"]: row for row in lists if row["user_id"] == user.user_id and row["rank"] == 1}
    titles = {label: _named(first.get(media_type)) for media_type, label in (("movie", "film"), ("series", "series"))}
    return {"user": user.name, **titles}


def _top(people: Sequence[User], lists: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first titles of everybody, with short reasons; fewer of each in a large household."""
    each = max(min(FIRST, SHOWN_ROWS // len(people)), 1)
    return [
        {"user": user.name, "rank": row["rank"], "title": titled(row), "like": _like(row["because"])}
        for user in people[:SHOWN_ROWS]
        for row in lists
        if row["user_id"] == user.user_id and row["rank"] <= each
    ]


def _like(because: Sequence[str]) -> str:
    return ", ".join(because[:NAMED_REASONS]) or "widely liked"


def _pick_names(picks: Sequence[dict[str, Any]], rank: int) -> dict[str, Any]:
    """Return the film and the series at a rank of the Top Picks."""
    at_rank = {row["media_type"]: row for row in picks if row["rank"] == rank}
    return {"rank": rank, "film": _named(at_rank.get("movie")), "series": _named(at_rank.get("series"))}


def _named(row: dict[str, Any] | None) -> str | None:
    return titled(row) if row is not None else None
