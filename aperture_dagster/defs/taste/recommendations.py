"""What each user is recommended."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from aperture_dagster.automation import on_upstream_change
from aperture_dagster.defs.enrichment import enriched_metadata
from aperture_dagster.defs.failures import MissingPrerequisite, operator_errors
from aperture_dagster.defs.markdown import markdown_list, markdown_table
from aperture_dagster.defs.media_server import movies, series, users, watch_history
from aperture_dagster.defs.ratings import trakt_ratings
from aperture_dagster.defs.reporting import is_brief, score_table
from aperture_dagster.defs.taste.changes import ComputeConfig, find_changes, list_inputs
from aperture_dagster.defs.taste.crowd import read_configured_crowd
from aperture_dagster.defs.taste.embeddings import embeddings
from aperture_dagster.defs.taste.library import read_shelves
from aperture_dagster.defs.taste.profiles import model_in_use, taste_profiles
from aperture_dagster.defs.users import UserOutcome, for_each_user, user_asset
from aperture_dagster.library.access import Copy, visible_copies
from aperture_dagster.library.parental import within_limit
from aperture_dagster.library.people import User
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.storage.bulk import WriteCounts
from aperture_dagster.storage.histories import read_histories
from aperture_dagster.storage.inputs import TABLES
from aperture_dagster.storage.lists import (
    read_copies,
    read_edges,
    reason_of,
    recommendation_table,
    replace_recommendations,
    users_with_taste,
)
from aperture_dagster.storage.people import users_of_partitions
from aperture_dagster.storage.versions import content_version
from aperture_dagster.wording import titled

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from aperture_dagster.ranking.config import RankingConfig
    from aperture_dagster.ranking.recommend import RankingModel

SHOWN = 5
# New votes and what others watched move a list only a little, so they can wait for the night. A new title reaches the
# lists through its vector, a play or rating through the taste.
AT_NIGHT = dg.AssetSelection.assets(movies, series, enriched_metadata, watch_history, trakt_ratings)


@user_asset(
    group_name="taste",
    deps=[users, movies, series, watch_history, trakt_ratings, enriched_metadata, embeddings, taste_profiles],
    kinds={"numpy", "postgres"},
    automation_condition=on_upstream_change(ignoring=AT_NIGHT),
    metadata={"dagster/table_name": "recommendations"},
)
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
    # pandas and numpy double the time that every `dagster` command takes to start.
    from aperture_dagster.ranking.config import RankingConfig

    ranking = RankingConfig(limit=settings.recommendations_per_list, diversity=settings.diversity)
    with operator_errors(context, settings):
        with database.transaction() as connection:
            model_key = model_in_use(connection)
            learned = users_with_taste(connection)
            users = users_of_partitions(connection, list(context.partition_keys)).values()
            inputs = list_inputs(connection, settings, clock, model_key, ranking)
            changes = find_changes(connection, "recommendations", users, inputs, config)
        asked = [user for user in users if user.user_id in changes.reasons]
        model, visible = _ranking_model(context, settings, database, clock, ranking, asked) if asked else (None, {})

    def serve(user: User) -> UserOutcome:
        if user.user_id not in learned:
            raise MissingPrerequisite("No taste has been learned yet: materialize taste_profiles first.")
        last = changes.unchanged(user.user_id)
        if last is not None or model is None:
            assert last is not None
            counts, version = WriteCounts(), last.version
        else:
            ranked = model.for_user(user.user_id)
            rows = [_recommendation_row(user, row, visible[user.user_id]) for row in ranked.to_dict("records")]
            with database.transaction() as connection:
                counts = replace_recommendations(connection, user.user_id, rows)
                version = content_version(connection, *TABLES["recommendations"], user_id=user.user_id)
                changes.record(connection, user.user_id, version)
        with database.transaction() as connection:
            shown = recommendation_table(connection, user.user_id)
        metadata = {"dagster/row_count": len(shown)} | _shown(context, shown) | changes.shown(user.user_id)
        if not shown or any(row["is_cold"] for row in shown):
            metadata["note"] = "Too little history yet: the list is led by what is widely liked."
        because = changes.reasons.get(user.user_id, ())
        return UserOutcome(version, rows_written=counts.written, metadata=metadata, because=because)

    yield from for_each_user(context, settings, database, serve)


def _ranking_model(
    context: dg.AssetExecutionContext,
    settings: Settings,
    database: Database,
    clock: Clock,
    config: "RankingConfig",
    asked: Sequence[User],
) -> "tuple[RankingModel, dict[str, Mapping[int, int]]]":
    """Prepare what the users whose lists are computed share, and find for each the works that they may see, with a copy
    of each.
    """
    from aperture_dagster.ranking.config import RankingInputs
    from aperture_dagster.ranking.links import links_of
    from aperture_dagster.ranking.recommend import prepare

    now = clock.now()
    with database.transaction() as connection:
        model_key = model_in_use(connection)
        shelves = read_shelves(connection, model_key)
        items, library = shelves.items, shelves.library
        # The edges are not kept, so that they are not in memory together with what is learned.
        links = links_of(read_edges(connection), library.index, len(library.work_ids))
        histories = read_histories(connection, without=settings.ignored_ratings)
        copies = read_copies(connection) if any(user.access.is_limited for user in asked) else []
    visible, excluded = in_sight(asked, items, copies)
    inputs = RankingInputs(
        items=items,
        histories=histories,
        as_of=now,
        users=[user.user_id for user in asked],
        excluded=excluded,
        crowd=read_configured_crowd(context, settings, items),
    )
    return prepare(inputs, config, library=library, links=links if len(links.start) else None), visible


def in_sight(
    users: Sequence[User], items: "pd.DataFrame", copies: Sequence[Copy]
) -> "tuple[dict[str, Mapping[int, int]], dict[Hashable, NDArray[np.bool_]]]":
    """Return by user the works of which they may see a copy, with that copy, and a mask of the titles to leave out.

    ``copies`` are all copies in the library; only users whose access is limited need them.
    """
    usual: dict[int, int] = dict(zip(items["work_id"].tolist(), items["item_id"].tolist(), strict=True))
    visible: dict[str, Mapping[int, int]] = {
        user.user_id: visible_copies(copies, user.access, usual) if user.access.is_limited else usual for user in users
    }
    return visible, {user.user_id: _excluded(user, items, visible[user.user_id]) for user in users}


def _excluded(user: User, items: "pd.DataFrame", visible: Mapping[int, int]) -> "NDArray[np.bool_]":
    """Mask the titles, shape (n,), of which a user may see no copy, or which are beyond their parental limit."""
    import numpy as np

    mask = np.zeros(len(items), dtype=bool)
    if user.access.is_limited:
        mask = ~np.isin(items["work_id"], np.fromiter(visible, dtype=np.int64, count=len(visible)))
    if user.max_parental_rating is not None:
        # A few dozen ratings are those of all titles.
        beyond = {one for one in items["official_rating"].unique() if not within_limit(one, user.max_parental_rating)}
        mask |= np.fromiter((one in beyond for one in items["official_rating"]), dtype=bool, count=len(items))
    return mask


def _recommendation_row(user: User, row: dict[str, Any], copies: Mapping[int, int]) -> dict[str, Any]:
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


def _shown(context: dg.AssetExecutionContext, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Show the top of the lists, and then the parts of the score; only the titles in runs that a change started."""
    from aperture_dagster.ranking.config import COMPONENTS

    shown: dict[str, Any] = {}
    scores: dict[str, Any] = {}
    for media_type, name in (("movie", "films"), ("series", "series")):
        top = [row for row in rows if row["media_type"] == media_type][:SHOWN]
        if is_brief(context):
            shown[name] = markdown_list(map(titled, top), numbered=True)
        else:
            because = [{"title": titled(row), "because": reason_of(row)} for row in top]
            shown[name] = markdown_table(
                [row | why for row, why in zip(top, because, strict=True)], ["rank", "title", "because"]
            )
            scores[f"{name}_score"] = score_table(top, COMPONENTS)
    return shown | scores
