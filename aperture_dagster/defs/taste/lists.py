"""Vectors of the titles, the taste of each user, and what each is recommended."""

from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from aperture_dagster.automation import on_upstream_change
from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.stored_users import users_of_partitions
from aperture_dagster.defs.catalogue import episodes, movies, series, users, watch_history
from aperture_dagster.defs.enrichment import SOURCE_ASSETS, TMDB_METADATA, enriched_metadata
from aperture_dagster.defs.ratings import trakt_ratings
from aperture_dagster.defs.reporting import is_brief, materialized, table
from aperture_dagster.defs.users import UserOutcome, for_each_user, user_asset
from aperture_dagster.instance.failures import MissingPrerequisite, operator_errors
from aperture_dagster.instance.markdown import (
    genre_bars,
    markdown_list,
    markdown_table,
    score_table,
)
from aperture_dagster.instance.pools import EMBEDDER
from aperture_dagster.model import Clock, titled
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.taste.changes import Computation, find_changes, list_inputs, program_hash, taste_inputs
from aperture_dagster.taste.configured_embedder import Embedders
from aperture_dagster.taste.earned import read_earned
from aperture_dagster.taste.embed import embed_library, model_in_use
from aperture_dagster.taste.lists import (
    liked_genres,
    profile_table,
    reason_of,
    recommendation_table,
    replace_taste,
    users_with_taste,
)
from aperture_dagster.taste.profiles import Tastes
from aperture_dagster.taste.ranking.text import RECIPE
from aperture_dagster.taste.recommendations import (
    Recommendations,
    next_places,
    ranking_configs,
    read_places,
    replace_list,
    resting,
)

embedder = dg.AssetSpec(
    "embedder",
    group_name="taste",
    description="The model that turns texts into vectors, on this machine or at the endpoint of APERTURE_EMBEDDER_URL.",
    kinds={"numpy"},
)


@dg.asset(
    group_name="taste",
    deps=[embedder, movies, series, enriched_metadata],
    kinds={"numpy", "postgres"},
    # Texts are made from the view alone; the catalogue only says which works are in the library.
    # Each source changes the view, and a title would be embedded, and all lists renewed, after each.
    automation_condition=on_upstream_change(
        ignoring=dg.AssetSelection.assets(movies, series),
        additional=dg.AssetSelection.assets(embedder.key),
        after=[asset.key for asset in SOURCE_ASSETS],
        first=False,
    ),
    pool=EMBEDDER,
    code_version=RECIPE,
    metadata={"dagster/table_name": "embeddings"},
)
def embeddings(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    embedder: dg.ResourceParam[Embedders],
) -> dg.MaterializeResult:
    """A vector for each title in the library, by which similar titles are found: one row per model and work.

    Made from the merged text of the title when that is new or has changed, on this machine unless you configure a
    service. Vectors of a new model are stored beside the old ones, which stay in use until all are there.
    """
    with operator_errors(context, settings):
        model = embedder.get()
        sent_before = model.requests
        done = embed_library(context.log, database, model)
    metadata = {
        "dagster/row_count": next(row["works"] for row in done.models if row["model"] == done.model_key),
        "embedded": done.embedded,
        "rows_written": done.embedded,
        "missing": done.missing,
        "refused": len(done.refused),
        "dimensions": model.dimensions,
        "model": done.model_key,
        "model_in_use": done.in_use or "none yet",
        "requests": model.requests - sent_before,
        "models": table(done.models),
    }
    if done.refused:
        metadata["refused_titles"] = table(done.refused[:25])
    return materialized(context, metadata, version=done.version)


class ComputeConfig(dg.Config):
    """Run configuration of tastes and lists."""

    recompute: bool = False
    """Compute everything again, even if nothing has changed."""


@user_asset(
    group_name="taste",
    deps=[users, movies, series, episodes, watch_history, trakt_ratings, enriched_metadata],
    # Facts about titles change with every vote; those that matter to a taste hardly ever do.
    automation_condition=on_upstream_change(
        ignoring=dg.AssetSelection.assets(users, movies, series, episodes, enriched_metadata),
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
    rated something; computed if a history, or a title, has changed.
    """
    now = clock.now()
    with operator_errors(context, settings), database.transaction() as connection:
        users = users_of_partitions(connection, list(context.partition_keys)).values()
        made_from = dict.fromkeys((user.user_id for user in users), taste_inputs(connection, settings))
        changes = find_changes(connection, "taste_profiles", made_from, recompute=config.recompute)
        tastes = Tastes(connection, settings, changes.due, as_of=now) if changes.due else None

    def serve(user: User) -> UserOutcome:
        if (last := changes.unchanged.get(user.user_id)) is not None or tastes is None:
            version, written = last.version if last else "", 0
        else:
            profiles, weights = tastes.of(user)
            version, written = changes.store(
                database, user.user_id, lambda one: replace_taste(one, user.user_id, profiles, weights)
            )
        # Runs that a change started are many.
        page = {} if is_brief(context) else _taste_page(database, user)
        return UserOutcome(version, page | _since(last), rows_written=written, unchanged=last is not None)

    yield from for_each_user(context, settings, database, serve)


def _since(last: Computation | None) -> dict[str, Any]:
    """Say on the user's page since when nothing has changed."""
    return {"unchanged_since": last.computed_at.isoformat(timespec="seconds")} if last is not None else {}


def _taste_page(database: Database, user: User) -> dict[str, Any]:
    """Show what a user likes."""
    with database.transaction() as connection:
        profiles = profile_table(connection, [user.user_id])
        genres = liked_genres(connection, [user.user_id])[user.user_id]
    tastes = [{"media_type": profile["media_type"], "taste": profile["taste"]} for profile in profiles]
    return {
        "genres": markdown_list(genre_bars(genres)),
        "taste": markdown_table(tastes),
        "liked": sum(profile["liked"] for profile in profiles),
        "disliked": sum(profile["disliked"] for profile in profiles),
    }


SHOWN = 5
# Titles that somebody has seen elsewhere are part of it. It is declared after what it is made from.
POOL = dg.AssetKey("discovery_pool")
# New votes and what others watched move a list only a little, so they can wait for the night. A new title reaches the
# lists through its vector, a play or rating through the taste.
AT_NIGHT = dg.AssetSelection.assets(
    movies, series, episodes, *TMDB_METADATA, enriched_metadata, watch_history, trakt_ratings
)


@user_asset(
    group_name="taste",
    deps=[
        users, movies, series, episodes, watch_history, trakt_ratings, *TMDB_METADATA, enriched_metadata, embeddings,
        taste_profiles, POOL,
    ],
    kinds={"numpy", "postgres"},
    # Without TMDb, there is no pool.
    automation_condition=on_upstream_change(
        ignoring=AT_NIGHT, additional=dg.AssetSelection.assets(POOL), first=False
    ),
    code_version=program_hash(),
    metadata={"dagster/table_name": "recommendations"},
)  # fmt: skip
def recommendations(
    context: dg.AssetExecutionContext,
    config: ComputeConfig,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    clock: dg.ResourceParam[Clock],
) -> Iterator[dg.MaterializeResult]:
    """What each user should watch next, 50 titles per user and media type, each with the reason and the parts of its
    score.

    Ranked by taste, by what others watched, and by votes. Leaves out what the user watched, started or disliked, in any
    copy, and what they may not see. Looked at every night, and when a taste changes; computed if anything that it is
    made from has changed, and replaced whole, in one transaction.
    """
    now = clock.now()
    today = now.astimezone(ZoneInfo(settings.schedule_timezone)).date()
    with operator_errors(context, settings):
        with database.transaction() as connection:
            model_key = model_in_use(connection)
            learned = users_with_taste(connection)
            users = users_of_partitions(connection, list(context.partition_keys)).values()
            places = read_places(connection, [user.user_id for user in users])
            rest = {user_id: resting(own, today) for user_id, own in places.items()}
            configs = ranking_configs(settings, read_earned(connection, settings))
            made_from = list_inputs(connection, settings, model_key=model_key, config=configs, resting=rest)
            changes = find_changes(connection, "recommendations", made_from, recompute=config.recompute)
        asked = [(user, rest[user.user_id]) for user in users if user.user_id in changes.due]
        lists = (
            Recommendations(context.log, database, settings, asked, model_key=model_key, as_of=now) if asked else None
        )

    def serve(user: User) -> UserOutcome:
        if user.user_id not in learned:
            raise MissingPrerequisite("No taste has been learned yet: materialize taste_profiles first.")
        if (last := changes.unchanged.get(user.user_id)) is not None or lists is None:
            version, written = last.version if last else "", 0
        else:
            rows = lists.of(user)
            top = next_places(places[user.user_id], rest[user.user_id], rows, today)
            whole = lists.whole_of(user)
            version, written = changes.store(
                database, user.user_id, lambda one: replace_list(one, user.user_id, rows, top, whole=whole, today=today)
            )
        with database.transaction() as connection:
            shown = recommendation_table(connection, user.user_id)
        page = _list_page(shown, brief=is_brief(context)) | _since(last)
        return UserOutcome(version, page, rows_written=written, unchanged=last is not None)

    yield from for_each_user(context, settings, database, serve)


def _list_page(rows: list[dict[str, Any]], *, brief: bool) -> dict[str, Any]:
    """Show the top of the lists, the parts of the score, and whole lists; only the titles if it is to be ``brief``."""
    from aperture_dagster.taste.ranking.config import COMPONENTS

    shown: dict[str, Any] = {}
    scores: dict[str, Any] = {}
    whole: dict[str, Any] = {}
    for media_type, name in (("movie", "films"), ("series", "series")):
        own = [row for row in rows if row["media_type"] == media_type]
        whole[f"all_{name}"] = markdown_list(map(titled, own), numbered=True)
        top = own[:SHOWN]
        if brief:
            shown[name] = markdown_list(map(titled, top), numbered=True)
        else:
            titles = [row | {"title": titled(row), "because": reason_of(row)} for row in top]
            shown[name] = markdown_table(titles, ["rank", "title", "because"])
            scores[f"{name}_score"] = score_table(top, COMPONENTS)
    if not rows or any(row["is_cold"] for row in rows):
        scores["note"] = "Too little history yet: the list is led by what is widely liked."
    return shown | scores | whole
