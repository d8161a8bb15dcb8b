"""The taste of each user."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from aperture_dagster.automation import on_upstream_change
from aperture_dagster.catalogue.people import User, users_of_partitions
from aperture_dagster.defs.catalogue import movies, series, watch_history
from aperture_dagster.defs.enrichment import enriched_metadata
from aperture_dagster.defs.ratings import trakt_ratings
from aperture_dagster.defs.reporting import is_brief
from aperture_dagster.defs.users import UserOutcome, for_each_user, user_asset
from aperture_dagster.instance.failures import operator_errors
from aperture_dagster.instance.markdown import markdown, markdown_table
from aperture_dagster.instance.pictures import genre_bars
from aperture_dagster.model.clock import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.taste.changes import find_changes, program_hash, taste_inputs
from aperture_dagster.taste.lists import favourites, liked_genres, profile_table, replace_taste
from aperture_dagster.taste.profiles import Tastes

FAVOURITES = 8


class ComputeConfig(dg.Config):
    """Run configuration of tastes and lists."""

    recompute: bool = False
    """Compute everything again, also for users whose inputs have not changed."""


@user_asset(
    group_name="taste",
    deps=[movies, series, watch_history, trakt_ratings, enriched_metadata],
    # Facts about titles change with every vote; those that matter to a taste hardly ever do.
    automation_condition=on_upstream_change(
        ignoring=dg.AssetSelection.assets(movies, series, enriched_metadata),
        additional=dg.AssetSelection.assets(trakt_ratings),
        first=False,
    ),
    kinds={"numpy", "postgres"},
    code_version=program_hash(),
    metadata={"dagster/table_name": "taste_profiles"},
)
def taste_profiles(
    context: dg.AssetExecutionContext,
    config: ComputeConfig,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    clock: dg.ResourceParam[Clock],
) -> Iterator[dg.MaterializeResult]:
    """What each user likes, one row per user and media type: how many titles, and the genres and keywords that set
    them apart. The weight of each title is in taste_weights.

    From the signed weight of everything they watched and rated. Looked at every night, and when somebody has watched or
    rated something; computed for those whose history, or the titles, have changed.
    """
    now = clock.now()
    with operator_errors(context, settings), database.transaction() as connection:
        users = users_of_partitions(connection, list(context.partition_keys)).values()
        inputs = taste_inputs(connection, settings, now=now)
        changes = find_changes(connection, "taste_profiles", users, inputs, recompute=config.recompute)
        tastes = Tastes(connection, settings, changes.reasons, as_of=now) if changes.reasons else None

    def serve(user: User) -> UserOutcome:
        if (last := changes.unchanged(user.user_id)) is not None or tastes is None:
            version, written = last.version if last else "", 0
        else:
            profiles, weights = tastes.of(user)
            version, written = changes.store(
                database, user.user_id, lambda one: replace_taste(one, user.user_id, profiles, weights)
            )
        # Runs that a change started are many.
        page = {} if is_brief(context) else _page(database, user)
        because = changes.reasons.get(user.user_id, ())
        return UserOutcome(version, page | changes.shown(user.user_id), rows_written=written, because=because)

    yield from for_each_user(context, settings, database, serve)


def _page(database: Database, user: User) -> dict[str, Any]:
    """Show what a user likes."""
    with database.transaction() as connection:
        profiles = profile_table(connection, [user.user_id])
        genres = liked_genres(connection, [user.user_id])[user.user_id]
        loved = favourites(connection, user.user_id, FAVOURITES)
    tastes = [{"media_type": one["media_type"], "taste": one["taste"]} for one in profiles]
    return {
        "genres": markdown(genre_bars(genres, title="Share of liked titles, by genre")),
        "favourites": markdown_table(loved, ["title", "year"]),
        "taste": markdown_table(tastes),
        "liked": sum(one["liked"] for one in profiles),
        "disliked": sum(one["disliked"] for one in profiles),
    }
