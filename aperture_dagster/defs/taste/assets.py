"""Vectors of the titles, the taste of each user, and what they are recommended."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from aperture_dagster.automation import fresh_within_a_day, when_the_taste_changed, when_what_it_is_made_from_changed
from aperture_dagster.defs.common import (
    MissingPrerequisite,
    Progress,
    UserOutcome,
    for_each_user,
    materialized,
    operator_errors,
    table,
)
from aperture_dagster.defs.enrichment import enriched_metadata
from aperture_dagster.defs.media_server import users, watch_history
from aperture_dagster.partitions import users_partitions
from aperture_dagster.resources.providers import Clock, Database, Embedders
from aperture_dagster.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from sqlalchemy import Connection

    from aperture_dagster.ranking.recommend import RankingModel
    from aperture_dagster.resources.embedder import Embedder
    from aperture_dagster.storage.people import StoredUser

GROUP = "taste"
MEDIA_TYPES = ("movie", "series")
SHOWN = 25
# Vectors may cost money: no more than these are lost when the service gives up.
KEPT_AT_ONCE = 500


@dg.asset(
    group_name=GROUP,
    deps=[enriched_metadata],
    kinds={"numpy", "postgres"},
    automation_condition=when_what_it_is_made_from_changed,
    freshness_policy=fresh_within_a_day,
    pool="embedder",
)
def embeddings(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    embedders: dg.ResourceParam[Embedders],
) -> dg.MaterializeResult:
    """A vector for each title in the library, one row per model and work, made from its merged text.

    Only texts that are new or changed are embedded. Another model is filled beside the old one, which stays in use
    until the new one is complete.
    """
    from aperture_dagster.ranking.text import RECIPE
    from aperture_dagster.storage.tidying import forget_old_models
    from aperture_dagster.storage.vectors import (
        activate_model,
        active_model,
        missing_vectors,
        model_table,
        register_model,
    )

    with operator_errors(context, settings):
        embedder = embedders.get()
        sent_before = embedder.requests
        model_key = f"{embedder.name}-recipe{RECIPE}"
        with database.transaction() as connection:
            before = active_model(connection)
            register_model(connection, model_key, embedder.dimensions)
        embedded, refused = _embed_changed(context, database, embedder, model_key)
        with database.transaction() as connection:
            missing = missing_vectors(connection, model_key)
            # What the model refuses it will not take tomorrow either: the others do not wait for it. Some of these may
            # have a vector of an earlier text.
            switched = missing <= len(refused) and activate_model(connection, model_key)
            in_use = active_model(connection)
            forgotten = forget_old_models(connection, in_use=in_use, filling=model_key)
            models = model_table(connection)
    if forgotten:
        context.log.info(f"Removed the vectors of {', '.join(forgotten)}, which were not used for a month.")
    if switched and before is not None:
        context.log.info(f"{model_key} is complete and in use from now on, in the place of {before}.")
    works = next(row["works"] for row in models if row["model"] == model_key)
    return materialized(
        context,
        {
            "dagster/row_count": works,
            "embedded": embedded,
            "rows_written": embedded,
            "missing": missing,
            "refused": len(refused),
            "dimensions": embedder.dimensions,
            "model": model_key,
            "model_in_use": in_use or "none yet",
            "requests": embedder.requests - sent_before,
            "models": table(models),
        }
        | ({"refused_titles": table(refused[:SHOWN])} if refused else {}),
    )


@dg.asset(
    group_name=GROUP,
    deps=[watch_history, embeddings],
    partitions_def=users_partitions,
    backfill_policy=dg.BackfillPolicy.single_run(),
    kinds={"numpy", "postgres"},
    automation_condition=when_what_it_is_made_from_changed,
)
def taste_profiles(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    clock: dg.ResourceParam[Clock],
) -> dg.MaterializeResult:
    """What each user likes, one row per user and media type: signed weights of all they watched, and from them their
    tastes (several in one person are kept apart), with what sets them apart from the library.
    """
    from aperture_dagster.ranking.taste import centre, taste_weights
    from aperture_dagster.storage.history import read_histories
    from aperture_dagster.storage.lists import profile_table, read_items, replace_taste
    from aperture_dagster.storage.vectors import read_vectors

    with operator_errors(context, settings):
        with database.transaction() as connection:
            model_key = _model_in_use(connection)
            items = read_items(connection)
            vectors, mask = read_vectors(connection, model_key, items["work_id"])
            histories = read_histories(connection)
        centred = centre(vectors, mask)
        weights = taste_weights(histories, as_of=clock.now())
        kinds = dict(zip(items["work_id"], items["media_type"], strict=True))

        def serve(user: "StoredUser") -> UserOutcome:
            own = weights.loc[(weights["user_id"] == user.user_id) & weights["work_id"].isin(kinds)]
            profiles = [_profile_row(user, kind, own, items, centred, model_key) for kind in MEDIA_TYPES]
            rows = [
                {
                    "user_id": user.user_id,
                    "work_id": int(work_id),
                    "media_type": kinds[work_id],
                    "weight": round(float(weight), 5),
                }
                for work_id, weight in zip(own["work_id"], own["weight"], strict=True)
            ]
            with database.transaction() as connection:
                counts = replace_taste(connection, user.user_id, profiles, rows)
                shown = profile_table(connection, [user.user_id])
            return UserOutcome(
                rows_written=counts.written,
                metadata={
                    "dagster/row_count": len(rows),
                    "liked": sum(profile["liked"] for profile in profiles),
                    "disliked": sum(profile["disliked"] for profile in profiles),
                    "taste": table(shown, ["media_type", "titles", "liked", "disliked", "taste"]),
                    "tastes": table(_tastes_shown(profiles)),
                },
            )

        return for_each_user(context, database, serve)


@dg.asset(
    group_name=GROUP,
    deps=[users, taste_profiles],
    partitions_def=users_partitions,
    backfill_policy=dg.BackfillPolicy.single_run(),
    kinds={"numpy", "postgres"},
    automation_condition=when_the_taste_changed,
)
def recommendations(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    clock: dg.ResourceParam[Clock],
) -> dg.MaterializeResult:
    """What each user may like, 50 titles per user and media type, with the parts of the score and the watched titles
    that each is near to.

    Nothing watched, started or disliked, also not as another copy; only what the user may see. Replaced whole, in one
    transaction.
    """
    from aperture_dagster.storage.lists import recommendation_table, replace_recommendations

    with operator_errors(context, settings):
        model, visible = _ranking_model(context, settings, database, clock)

        def serve(user: "StoredUser") -> UserOutcome:
            ranked = model.for_user(user.user_id)
            copies = visible[user.user_id]
            rows = [_recommendation_row(user, row, copies) for row in ranked.to_dict("records")]
            with database.transaction() as connection:
                counts = replace_recommendations(connection, user.user_id, rows)
                shown = recommendation_table(connection, user.user_id)
            cold = bool(ranked["cold"].any()) if len(ranked) else True
            metadata: dict[str, Any] = {}
            if cold:
                metadata["note"] = "Too little history yet: the list is led by what is well liked in general."
            for kind, name in (("movie", "recommended_films"), ("series", "recommended_series")):
                metadata[name] = table([_shown(row) for row in shown if row["media_type"] == kind][:SHOWN])
            metadata |= {
                "dagster/row_count": len(rows),
                "films": sum(row["media_type"] == "movie" for row in rows),
                "series": sum(row["media_type"] == "series" for row in rows),
                "cold": cold,
            }
            return UserOutcome(rows_written=counts.written, metadata=metadata)

        return for_each_user(context, database, serve)


def _embed_changed(
    context: dg.AssetExecutionContext, database: Database, embedder: "Embedder", model_key: str
) -> tuple[int, list[dict[str, str]]]:
    """Embed the texts that are new or changed, a batch at a time, each kept before the next.

    Returns how many were embedded, and the titles that the model refuses, each with the reason.
    """
    from aperture_dagster.ranking.text import title_text
    from aperture_dagster.storage.vectors import stored_hashes, text_hash, text_rows, write_vectors

    with database.transaction() as connection:
        known = stored_hashes(connection, model_key)
    embedded = seen = 0
    refused: list[dict[str, str]] = []
    progress = Progress(context, "titles embedded")
    last = 0
    while True:
        with database.transaction() as connection:
            rows = next(text_rows(connection, after=last, batch=KEPT_AT_ONCE), None)
        if rows is None:
            break
        last = rows[-1]["work_id"]
        seen += len(rows)
        titles = {row["work_id"]: row["title"] for row in rows}
        texts = {row["work_id"]: title_text(row) for row in rows}
        hashes = {work_id: text_hash(text, model_key) for work_id, text in texts.items()}
        changed = [work_id for work_id in texts if known.get(work_id) != hashes[work_id]]
        if changed:
            embedding = embedder.embed([texts[work_id] for work_id in changed])
            refused += [{"title": titles[changed[place]], "why": why} for place, why in embedding.refused.items()]
            taken = [place for place in range(len(changed)) if place not in embedding.refused]
            works = [changed[place] for place in taken]
            with database.transaction() as connection:
                write_vectors(
                    connection, model_key, works, [hashes[work_id] for work_id in works], embedding.vectors[taken]
                )
            embedded += len(works)
        progress.add(len(changed))
    if not seen:
        raise MissingPrerequisite("There is nothing to embed: materialize enriched_metadata first.")
    if refused:
        context.log.warning(
            f"Titles without a vector, because the model refuses their texts: {len(refused):,}. "
            f"The first is {refused[0]['title']}: {refused[0]['why']}"
        )
    return embedded, refused


def _model_in_use(connection: "Connection") -> str:
    from aperture_dagster.storage.vectors import active_model

    model_key = active_model(connection)
    if model_key is None:
        raise MissingPrerequisite("No title has a vector yet: materialize embeddings first.")
    return model_key


def _profile_row(
    user: "StoredUser", kind: str, weights: "pd.DataFrame", items: "pd.DataFrame", centred: Any, model_key: str
) -> dict[str, Any]:
    from aperture_dagster.ranking.taste import taste_profile

    profile = taste_profile(weights, items, centred, media_type=kind)
    titles = dict(zip(items["work_id"], items["title"], strict=True))
    of_kind = set(items.loc[items["media_type"] == kind, "work_id"])
    return {
        "user_id": user.user_id,
        "media_type": kind,
        "model_key": model_key,
        "titles": sum(work_id in of_kind for work_id in weights["work_id"]),
        "liked": profile.liked,
        "disliked": profile.disliked,
        "summary": {
            "sentence": profile.summary,
            "genres": [{"name": one.name, "lift": one.lift, "titles": one.titles} for one in profile.genres],
            "keywords": [{"name": one.name, "lift": one.lift, "titles": one.titles} for one in profile.keywords],
            "tastes": [
                {"share": round(taste.share, 3), "titles": [titles[work_id] for work_id in taste.work_ids]}
                for taste in profile.tastes
            ],
        },
        "centroids": [[round(float(value), 6) for value in taste.centroid] for taste in profile.tastes] or None,
    }


def _tastes_shown(profiles: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"media_type": profile["media_type"], "share": taste["share"], "such_as": ", ".join(taste["titles"])}
        for profile in profiles
        for taste in profile["summary"]["tastes"]
    ]


def _ranking_model(
    context: dg.AssetExecutionContext, settings: Settings, database: Database, clock: Clock
) -> "tuple[RankingModel, dict[str, Mapping[int, int]]]":
    """Prepare what all users of this run share, and find for each the works that they may see, with a copy of each."""
    from aperture_dagster.library.access import visible_copies
    from aperture_dagster.ranking.config import RankingConfig, RankingInputs
    from aperture_dagster.ranking.recommend import prepare
    from aperture_dagster.storage.history import read_histories
    from aperture_dagster.storage.lists import read_copies, read_edges, read_items, read_weights, users_with_taste
    from aperture_dagster.storage.people import users_of_partitions
    from aperture_dagster.storage.vectors import read_vectors

    now = clock.now()
    with database.transaction() as connection:
        asked = list(users_of_partitions(connection, list(context.partition_keys)).values())
        without = [user.name for user in asked if user.user_id not in users_with_taste(connection)]
        if without:
            raise MissingPrerequisite(
                f"{', '.join(without[:5])}: no taste has been learned yet; materialize taste_profiles for them first."
            )
        model_key = _model_in_use(connection)
        items = read_items(connection)
        vectors, mask = read_vectors(connection, model_key, items["work_id"])
        histories = read_histories(connection)
        weights = read_weights(connection)
        edges = read_edges(connection)
        copies = read_copies(connection) if any(user.access.is_limited for user in asked) else []
    usual: dict[int, int] = dict(zip(items["work_id"], items["item_id"], strict=True))
    visible: dict[str, Mapping[int, int]] = {
        user.user_id: visible_copies(copies, user.access, usual) if user.access.is_limited else usual for user in asked
    }
    inputs = RankingInputs(
        items=items,
        histories=histories,
        weights=weights,
        as_of=now,
        vectors=vectors,
        vector_mask=mask,
        users=[user.user_id for user in asked],
        excluded={user.user_id: _excluded(user, items, visible[user.user_id]) for user in asked},
        edges=edges if len(edges) else None,
        crowd=_crowd(context, settings, items),
    )
    config = RankingConfig(limit=settings.recommendations_per_list, diversity=settings.diversity)
    return prepare(inputs, config), visible


def _crowd(context: dg.AssetExecutionContext, settings: Settings, items: "pd.DataFrame") -> "pd.DataFrame | None":
    """What other people watched together, when the operator points to it."""
    from aperture_dagster.resources.crowd import read_crowd

    if settings.crowd_folder is None:
        return None
    films = items[items["media_type"] == "movie"]
    by_tmdb_id = {
        int(tmdb): work for work, tmdb in zip(films["work_id"], films["tmdb_id"], strict=True) if tmdb == tmdb
    }
    by_imdb_id = {imdb: work for work, imdb in zip(films["work_id"], films["imdb_id"], strict=True) if imdb}
    crowd = read_crowd(settings.crowd_folder.expanduser(), by_tmdb_id, by_imdb_id)
    context.log.info(
        f"{crowd['user_id'].nunique():,} people from outside, {len(crowd):,} ratings of films in the library"
    )
    return crowd


def _excluded(user: "StoredUser", items: "pd.DataFrame", visible: "Mapping[int, int]") -> Any:
    """The titles that a user may not see, as a mask (n,): none of their copies, or beyond the parental limit.

    What they watched, started or dislike the ranking itself leaves out.
    """
    import numpy as np

    from aperture_dagster.library.parental import within_limit

    mask = np.array([work_id not in visible for work_id in items["work_id"]], dtype=bool)
    if user.max_parental_rating is not None:
        limit = user.max_parental_rating
        mask |= np.array([not within_limit(rating, limit) for rating in items["official_rating"]], dtype=bool)
    return mask


def _recommendation_row(user: "StoredUser", row: dict[str, Any], copies: "Mapping[int, int]") -> dict[str, Any]:
    from aperture_dagster.ranking.config import COMPONENTS

    return {
        "user_id": user.user_id,
        "media_type": row["media_type"],
        "rank": int(row["rank"]),
        "work_id": int(row["work_id"]),
        "item_id": int(copies[row["work_id"]]),
        "score": round(float(row["score"]), 4),
        "components": {name: round(float(row[name]), 3) for name in COMPONENTS},
        "because": [int(work_id) for work_id in row["because"]],
        "is_cold": bool(row["cold"]),
    }


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A recommendation as a person reads it."""
    from aperture_dagster.ranking.config import COMPONENTS
    from aperture_dagster.storage.lists import reason

    return {
        "rank": row["rank"],
        "title": row["title"],
        "year": row["year"],
        "because": reason(row["because"]),
        "score": row["score"],
        **{name: row["components"].get(name) for name in COMPONENTS},
    }
