"""What each user may like of what is not in the library."""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import dagster as dg

from aperture_dagster.automation import on_upstream_change
from aperture_dagster.defs.discovery.pool import TMDB_METADATA, discovery_pool
from aperture_dagster.defs.discovery.reporting import shown_lists
from aperture_dagster.defs.enrichment import enriched_metadata
from aperture_dagster.defs.failures import MissingPrerequisite, operator_errors
from aperture_dagster.defs.markdown import markdown_table
from aperture_dagster.defs.media_server import movies, series, users, watch_history
from aperture_dagster.defs.ratings import trakt_ratings
from aperture_dagster.defs.reporting import is_brief
from aperture_dagster.defs.taste.crowd import read_configured_crowd
from aperture_dagster.defs.taste.embeddings import embeddings
from aperture_dagster.defs.taste.profiles import model_in_use, taste_profiles
from aperture_dagster.defs.users import UserOutcome, for_each_user, user_asset
from aperture_dagster.library.people import User
from aperture_dagster.library.suitability import (
    HouseholdRules,
    UserRules,
    left_out,
    why_for_nobody,
    why_not_for_user,
)
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.sources.discovery_plan import user_languages
from aperture_dagster.sources.suitability import household_rules, user_rules
from aperture_dagster.storage.discovery import owned_under_any_id, settled_titles
from aperture_dagster.storage.histories import read_histories
from aperture_dagster.storage.lists import read_items, users_with_taste
from aperture_dagster.storage.people import users_of_partitions
from aperture_dagster.storage.suggestions import (
    candidate_table,
    listed_since,
    read_pool,
    read_pool_edges,
    read_pool_facts,
    read_suggested_by,
    read_suggestions,
    replace_candidates,
)
from aperture_dagster.storage.vectors import read_vectors
from aperture_dagster.storage.versions import content_version

if TYPE_CHECKING:
    from aperture_dagster.ranking.discovery import DiscoveryModel

# The pool is filled at night with the day's tastes; what else has changed can wait for the next one, except for limits.
AT_NIGHT = dg.AssetSelection.assets(
    movies, series, watch_history, enriched_metadata, *TMDB_METADATA, embeddings, taste_profiles, trakt_ratings
)


@user_asset(
    group_name="discovery",
    deps=[
        users, movies, series, watch_history, trakt_ratings, *TMDB_METADATA, enriched_metadata, embeddings,
        taste_profiles, discovery_pool,
    ],
    kinds={"numpy", "postgres"},
    automation_condition=on_upstream_change(ignoring=AT_NIGHT, required=dg.AssetSelection.assets(taste_profiles)),
    metadata={"dagster/table_name": "discovery_candidates"},
)  # fmt: skip
def discovery_candidates(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    clock: dg.ResourceParam[Clock],
) -> Iterator[dg.MaterializeResult]:
    """Titles outside the library that each user may like, 50 per user and media type, each with the reason, where it
    streams, and the parts of its score.

    Nothing owned, watched, rated, dismissed or requested; nothing above the user's parental limit; only what can be
    watched at home. Made every night from discovery_pool; replaced whole, in one transaction.
    """
    with operator_errors(context, settings):
        with database.transaction() as connection:
            learned = users_with_taste(connection)
        night = _Night(context, settings, database, clock)

    def serve(user: User) -> UserOutcome:
        if user.user_id not in learned:
            raise MissingPrerequisite("No taste has been learned yet: materialize taste_profiles first.")
        ranked = night.model.for_user(user.user_id).to_dict("records")
        with database.transaction() as connection:
            suggested_by = read_suggested_by(connection, user.user_id)
            rows = [_row(user, row, suggested_by) for row in ranked]
            counts = replace_candidates(connection, user.user_id, rows, today=night.today)
            shown = candidate_table(connection, user.user_id, country=settings.country)
            version = content_version(connection, "discovery_candidates", user_id=user.user_id)
        reasons = night.left_out[user.user_id]
        metadata = shown_lists(context, settings, shown) | {
            "dagster/row_count": len(shown),
            "film_suggestions": sum(row["media_type"] == "movie" for row in shown),
            "series_suggestions": sum(row["media_type"] == "series" for row in shown),
            "left_out": markdown_table([{"why": why, "titles": count} for why, count in reasons.most_common()]),
        }
        if not is_brief(context):
            # TMDb's terms ask for both.
            metadata["attribution"] = "Data from TMDb, which does not endorse this product; streaming from JustWatch."
        if not night.titles:
            metadata["note"] = "The pool is empty: materialize discovery_pool, which needs a TMDb key."
        return UserOutcome(version, rows_written=counts.written, metadata=metadata)

    yield from for_each_user(context, settings, database, serve)


class _Night:
    """What all users of a run share: the ranking, and for whom which titles are left out."""

    def __init__(self, context: dg.AssetExecutionContext, settings: Settings, database: Database, clock: Clock) -> None:
        from aperture_dagster.ranking.discovery import DiscoveryConfig, DiscoveryInputs, prepare_discovery

        now = clock.now()
        with database.transaction() as connection:
            asked = list(users_of_partitions(connection, list(context.partition_keys)).values())
            user_ids = [user.user_id for user in asked]
            model_key = model_in_use(connection)
            items, pool = read_items(connection), read_pool(connection)
            vectors, mask = read_vectors(connection, model_key, items["work_id"])
            pool_vectors, pool_mask = read_vectors(connection, model_key, pool["work_id"], "discovery_vectors")
            histories = read_histories(connection, without=settings.ignored_ratings)
            edges, suggestions = read_pool_edges(connection), read_suggestions(connection)
            self.titles = read_pool_facts(connection)
            owned = owned_under_any_id(connection)
            settled = settled_titles(connection, user_ids)
            languages = user_languages(connection, user_ids, settings)
            listed = listed_since(connection, user_ids)
        self.today = now.astimezone(ZoneInfo(settings.schedule_timezone)).date()
        self.left_out: dict[str, Counter[str]] = {}
        household = household_rules(settings, self.today)
        for_nobody = [
            "in the library" if one.work_id in owned else why_for_nobody(one, household) for one in self.titles
        ]
        excluded: dict[Hashable, Any] = {
            user.user_id: self._excluded(
                user,
                pool["work_id"],
                for_nobody,
                user_rules(user, languages[user.user_id][0]),
                household,
                settled[user.user_id],
            )
            for user in asked
        }
        inputs = DiscoveryInputs(
            items=items,
            pool=pool,
            histories=histories,
            as_of=now,
            vectors=vectors,
            vector_mask=mask,
            pool_vectors=pool_vectors,
            pool_mask=pool_mask,
            users=user_ids,
            excluded=excluded,
            listed_days={
                user_id: {work_id: (self.today - day).days for work_id, day in own.items()}
                for user_id, own in listed.items()
            },
            suggestions=suggestions,
            edges=edges,
            crowd=_crowd(context, settings, items, pool),
        )
        config = DiscoveryConfig(limit=settings.discovery_per_list, diversity=settings.diversity)
        self.model: DiscoveryModel = prepare_discovery(inputs, config)

    def _excluded(
        self,
        user: User,
        work_ids: Iterable[int],
        for_nobody: Sequence[str | None],
        rules: UserRules,
        household: HouseholdRules,
        settled: set[int],
    ) -> Any:
        """Mask the titles, shape (n,), that are not suggested to a user; count those of the pool by reason.

        The pool may change between the reads of the ranking's columns and of these facts.
        """
        import numpy as np

        why = {
            title.work_id: nobody
            or ("watched, dismissed or requested" if title.work_id in settled else None)
            or why_not_for_user(title, rules, household.certified_by)
            for title, nobody in zip(self.titles, for_nobody, strict=True)
        }
        self.left_out[user.user_id] = Counter(reason for reason in why.values() if reason is not None)
        return np.array(left_out(work_ids, why), dtype=bool)


def _crowd(context: dg.AssetExecutionContext, settings: Settings, items: Any, pool: Any) -> Any:
    import pandas as pd

    columns = ["work_id", "media_type", "tmdb_id", "imdb_id"]
    return read_configured_crowd(context, settings, pd.concat([items[columns], pool[columns]], ignore_index=True))


def _row(user: User, row: Mapping[Any, Any], suggested_by: Mapping[int, list[str]]) -> dict[str, Any]:
    from aperture_dagster.ranking.discovery import DISCOVERY_COMPONENTS

    return {
        "user_id": user.user_id,
        "media_type": row["media_type"],
        "rank": int(row["rank"]),
        "work_id": int(row["work_id"]),
        "score": round(float(row["score"]), 4),
        "components": {name: round(float(row[name]), 3) for name in DISCOVERY_COMPONENTS},
        "because": [int(work_id) for work_id in row["because"]],
        "suggested_by": suggested_by.get(int(row["work_id"]), []),
    }
