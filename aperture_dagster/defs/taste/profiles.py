"""The taste of each user."""

import functools
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import dagster as dg

from aperture_dagster.automation import on_upstream_change
from aperture_dagster.defs.enrichment import enriched_metadata
from aperture_dagster.defs.failures import MissingPrerequisite, operator_errors
from aperture_dagster.defs.markdown import markdown, markdown_table
from aperture_dagster.defs.media_server import movies, series, watch_history
from aperture_dagster.defs.pictures import genre_bars
from aperture_dagster.defs.ratings import trakt_ratings
from aperture_dagster.defs.reporting import is_brief
from aperture_dagster.defs.taste.changes import ComputeConfig, find_changes, taste_inputs
from aperture_dagster.defs.taste.embeddings import embeddings
from aperture_dagster.defs.taste.library import read_shelves
from aperture_dagster.defs.users import UserOutcome, for_each_user, user_asset
from aperture_dagster.library.people import User
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.storage.bulk import WriteCounts
from aperture_dagster.storage.histories import read_histories
from aperture_dagster.storage.inputs import TABLES
from aperture_dagster.storage.lists import (
    favourites,
    liked_genres,
    read_profiles,
    read_weights,
    replace_taste,
)
from aperture_dagster.storage.people import read_users, users_of_partitions
from aperture_dagster.storage.vectors import active_model
from aperture_dagster.storage.versions import content_version

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from sqlalchemy import Connection

    from aperture_dagster.ranking.taste import TasteLibrary

MEDIA_TYPES = ("movie", "series")
FAVOURITES = 8


@user_asset(
    group_name="taste",
    deps=[movies, series, watch_history, trakt_ratings, enriched_metadata, embeddings],
    # Facts about titles change with every vote; those that matter to a taste are in the vectors.
    automation_condition=on_upstream_change(
        ignoring=dg.AssetSelection.assets(movies, series, enriched_metadata),
        additional=dg.AssetSelection.assets(trakt_ratings),
    ),
    kinds={"numpy", "postgres"},
    metadata={"dagster/table_name": "taste_profiles"},
)
def taste_profiles(
    context: dg.AssetExecutionContext,
    config: ComputeConfig,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    clock: dg.ResourceParam[Clock],
) -> Iterator[dg.MaterializeResult]:
    """What each user likes, one row per user and media type: their genres and favourites, their tastes (several in one
    person are kept apart), and the users most like them.

    From the signed weight of everything they watched and rated. Looked at every night, and when somebody has watched or
    rated something; computed for those whose history, or the titles, have changed.
    """
    with operator_errors(context, settings), database.transaction() as connection:
        model_key = model_in_use(connection)
        users = users_of_partitions(connection, list(context.partition_keys)).values()
        inputs = taste_inputs(connection, settings, clock, model_key)
        changes = find_changes(connection, "taste_profiles", users, inputs, config)
        learned = _Tastes(connection, settings, clock, model_key) if changes.reasons else None
        weights = read_weights(connection) if learned is None else learned.weights
        names = {user.user_id: user.name for user in read_users(connection)}

    @functools.cache
    def alike() -> dict[str, list[tuple[str, float]]]:
        from aperture_dagster.ranking.taste import everybody_alike

        return everybody_alike(weights)

    def serve(user: User) -> UserOutcome:
        last = changes.unchanged(user.user_id)
        if last is not None or learned is None:
            assert last is not None
            counts, version = WriteCounts(), last.version
        else:
            profiles, rows = learned.of(user)
            with database.transaction() as connection:
                counts = replace_taste(connection, user.user_id, profiles, rows)
                version = content_version(connection, *TABLES["taste_profiles"], user_id=user.user_id)
                changes.record(connection, user.user_id, version)
        outcome = UserOutcome(version, changes.shown(user.user_id), rows_written=counts.written)
        outcome.because = changes.reasons.get(user.user_id, ())
        # Runs that a change started are many.
        if not is_brief(context):
            with database.transaction() as connection:
                shown = read_profiles(connection, user.user_id)
                genres = liked_genres(connection, [user.user_id])[user.user_id]
                loved = favourites(connection, user.user_id, FAVOURITES)
            neighbours = [(names[one], cosine) for one, cosine in alike().get(user.user_id, ()) if one in names]
            page = _shown(shown, genres=genres, loved=loved, neighbours=neighbours)
            outcome.metadata = page | outcome.metadata
        return outcome

    yield from for_each_user(context, settings, database, serve)


class _Tastes:
    """What the tastes of all users of a run are computed from."""

    def __init__(self, connection: "Connection", settings: Settings, clock: Clock, model_key: str) -> None:
        # pandas and numpy double the time that every `dagster` command takes to start.
        from aperture_dagster.ranking.library import titles_of_type
        from aperture_dagster.ranking.taste import taste_weights

        self._model_key = model_key
        # Lists mostly follow in the same run.
        shelves = read_shelves(connection, model_key, keep=True)
        items = shelves.items
        self._index = shelves.library.index
        self._titles, self._media_types = items["title"].to_numpy(), items["media_type"].to_numpy()
        self._libraries = {one: titles_of_type(shelves.library, one) for one in MEDIA_TYPES}
        self.weights = taste_weights(read_histories(connection, without=settings.ignored_ratings), as_of=clock.now())
        known = self.weights.loc[self.weights["work_id"].isin(items["work_id"])]
        self._nothing = known.iloc[:0]
        self._of_user = {str(user_id): own for user_id, own in known.groupby("user_id", sort=False)}

    def of(self, user: User) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return a user's rows of ``taste_profiles`` and of ``taste_weights``."""
        from aperture_dagster.ranking.histories import positions

        own = self._of_user.get(user.user_id, self._nothing)
        profiles = [
            _profile_row(user, media_type, own, library, self._titles, self._model_key)
            for media_type, library in self._libraries.items()
        ]
        media_types = self._media_types[positions(own["work_id"], self._index)].tolist()
        rows = [
            {"user_id": user.user_id, "work_id": work, "media_type": media_type, "weight": round(weight, 5)}
            for work, media_type, weight in zip(
                own["work_id"].tolist(), media_types, own["weight"].tolist(), strict=True
            )
        ]
        return profiles, rows


def model_in_use(connection: "Connection") -> str:
    """Return the model whose vectors are in use; MissingPrerequisite if none is complete yet."""
    model_key = active_model(connection)
    if model_key is None:
        raise MissingPrerequisite("No title has a vector yet: materialize embeddings first.")
    return model_key


def _profile_row(
    user: User,
    media_type: str,
    weights: "pd.DataFrame",
    library: "TasteLibrary",
    titles: "NDArray[Any]",
    model_key: str,
) -> dict[str, Any]:
    from aperture_dagster.ranking.taste import taste_profile

    profile = taste_profile(weights, library)
    return {
        "user_id": user.user_id,
        "media_type": media_type,
        "model_key": model_key,
        "titles": int((library.rows_of(weights["work_id"]) >= 0).sum()),
        "liked": profile.liked,
        "disliked": profile.disliked,
        "summary": {
            "sentence": profile.summary,
            "genres": [asdict(genre) for genre in profile.genres],
            "keywords": [asdict(keyword) for keyword in profile.keywords],
            "tastes": [
                {"share": round(taste.share, 3), "titles": [titles[library.index[one]] for one in taste.work_ids]}
                for taste in profile.tastes
            ],
        },
        "centroids": [[round(float(value), 6) for value in taste.centroid] for taste in profile.tastes] or None,
    }


def _shown(
    profiles: list[dict[str, Any]],
    *,
    genres: dict[str, float],
    loved: list[dict[str, Any]],
    neighbours: list[tuple[str, float]],
) -> dict[str, Any]:
    """Show what a user likes.

    ``genres`` are the shares of liked titles, ``loved`` the titles with the highest weights, ``neighbours`` the names
    of users with a similar taste, and how alike they are (0-1).
    """
    tastes = [
        {"media_type": profile["media_type"], "share": f"{taste['share']:.0%}", "such_as": ", ".join(taste["titles"])}
        for profile in profiles
        for taste in profile["summary"]["tastes"]
    ]
    sentences = [{"media_type": one["media_type"], "taste": one["summary"]["sentence"]} for one in profiles]
    return {
        "genres": markdown(genre_bars(genres, title="Share of liked titles, by genre")),
        "favourites": markdown_table(loved, ["title", "year"]),
        "alike": markdown_table([{"user": name, "alike": f"{alike:.0%}"} for name, alike in neighbours]),
        "taste": markdown_table(sentences),
        "tastes": markdown_table(tastes, ["media_type", "share", "such_as"]),
        "liked": sum(profile["liked"] for profile in profiles),
        "disliked": sum(profile["disliked"] for profile in profiles),
    }
