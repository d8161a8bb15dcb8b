"""What each user may like of what is not in the library."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import dagster as dg

from aperture_dagster.automation import on_upstream_change
from aperture_dagster.catalogue.people import User, users_of_partitions
from aperture_dagster.defs.catalogue import movies, series, users, watch_history
from aperture_dagster.defs.discovery.pool import TMDB_METADATA, discovery_pool
from aperture_dagster.defs.enrichment import enriched_metadata
from aperture_dagster.defs.ratings import trakt_ratings
from aperture_dagster.defs.reporting import is_brief, score_table
from aperture_dagster.defs.taste.embeddings import embeddings
from aperture_dagster.defs.taste.profiles import taste_profiles
from aperture_dagster.defs.users import UserOutcome, for_each_user, user_asset
from aperture_dagster.discovery.suggestions import candidate_table, where_to_stream, why_suggested
from aperture_dagster.instance.failures import MissingPrerequisite, operator_errors
from aperture_dagster.instance.markdown import Markup, markdown_list, markdown_table
from aperture_dagster.model.clock import Clock
from aperture_dagster.model.wording import shortened, titled
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.versions import content_version
from aperture_dagster.settings import Settings
from aperture_dagster.taste.changes import program_hash
from aperture_dagster.taste.crowd import read_crowd
from aperture_dagster.taste.embedding import model_in_use
from aperture_dagster.taste.lists import users_with_taste

SHOWN = 4
POSTER = "w92"
LONGEST_TITLE = 40
# TMDb's terms ask for both.
ATTRIBUTION = "Data from TMDb, which does not endorse this product; streaming from JustWatch."
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
    code_version=program_hash("discovery"),
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
    from aperture_dagster.discovery.scoring import score_pool

    with operator_errors(context, settings):
        with database.transaction() as connection:
            learned, model_key = users_with_taste(connection), model_in_use(connection)
            asked = list(users_of_partitions(connection, list(context.partition_keys)).values())
        scored = score_pool(
            settings, database, clock, asked, model_key, lambda titles: read_crowd(context.log, settings, titles)
        )

    def serve(user: User) -> UserOutcome:
        if user.user_id not in learned:
            raise MissingPrerequisite("No taste has been learned yet: materialize taste_profiles first.")
        with database.transaction() as connection:
            counts = scored.replace_list(connection, user)
            rows = candidate_table(connection, user.user_id, country=settings.country)
            version = content_version(connection, "discovery_candidates", user_id=user.user_id)
        reasons = Counter(scored.unsuitable[user.user_id].values())
        metadata = _shown_lists(context, settings, rows) | {
            "dagster/row_count": len(rows),
            "film_suggestions": sum(row["media_type"] == "movie" for row in rows),
            "series_suggestions": sum(row["media_type"] == "series" for row in rows),
            "left_out": markdown_table([{"why": why, "titles": count} for why, count in reasons.most_common()]),
        }
        if not is_brief(context):
            metadata["attribution"] = ATTRIBUTION
        if scored.is_empty:
            metadata["note"] = "The pool is empty: materialize discovery_pool, which needs a TMDb key."
        return UserOutcome(version, rows_written=counts.written, metadata=metadata)

    yield from for_each_user(context, settings, database, serve)


def _shown_lists(
    context: dg.AssetExecutionContext, settings: Settings, rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Show the top of a user's films and series: posters, reasons and services; only titles in runs of automation."""
    from aperture_dagster.taste.ranking.config import COMPONENTS

    shown: dict[str, Any] = {}
    scores: dict[str, Any] = {}
    for media_type, name in (("movie", "films"), ("series", "series")):
        own = [row for row in rows if row["media_type"] == media_type][:SHOWN]
        if is_brief(context):
            shown[name] = markdown_list(map(titled, own), numbered=True)
            continue
        shown[name] = markdown_table(
            [
                {
                    "rank": row["rank"],
                    "poster": _poster(settings, row["poster_path"]),
                    "title": titled({**row, "title": shortened(row["title"], LONGEST_TITLE)}),
                    "why": why_suggested(row),
                    "stream": where_to_stream(row["providers"]),
                }
                for row in own
            ]
        )
        scores[f"{name}_score"] = score_table(own, COMPONENTS)
    return shown | scores


def _poster(settings: Settings, path: str | None) -> Markup:
    """Return Markdown that shows a small poster from TMDb; empty without one."""
    return Markup(f"![]({settings.tmdb_image_url}/{POSTER}{quote(path)})" if path else "")
