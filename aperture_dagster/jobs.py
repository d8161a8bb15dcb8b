"""What is started together. A job per line of the operator's day; order inside comes from lineage."""

from __future__ import annotations

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition as AssetJob

FIRST_LIST = "first_list"


def build_jobs() -> list[AssetJob]:
    """All jobs, each with a sentence for the page that lists them."""

    def job(name: str, description: str, *assets: str):
        return dg.define_asset_job(name, selection=dg.AssetSelection.assets(*assets), description=description)

    return [
        job("sync_users", "Read the media server's users.", "users"),
        job("sync_movies", "Read the media server's films.", "movies"),
        job("sync_series", "Read the media server's series and their episodes.", "series", "episodes"),
        job(
            "sync_watch_history",
            "Read what each user has watched since the last time.",
            "watch_history",
        ),
        job(
            "enrich_metadata",
            "Ask TMDb and OMDb about titles that are due, and merge what all sources say.",
            "tmdb_metadata",
            "omdb_ratings",
            "enriched_metadata",
        ),
        job(
            "enrich_studio_logos",
            "Download logos for studios that have none yet; set them on the media server if that is turned on.",
            "studio_logos",
            "studio_pictures",
        ),
        job(
            "enrich_mdblist",
            "Ask MDBList about titles that are due, and merge what all sources say.",
            "mdblist_scores",
            "enriched_metadata",
        ),
        job("generate_embeddings", "Embed titles that are new or changed.", "embeddings"),
        job(
            "generate_recommendations",
            "Learn each user's taste and make their lists.",
            "taste_profiles",
            "recommendations",
        ),
        job(
            FIRST_LIST,
            "A newcomer's first run: history, taste, list.",
            "watch_history",
            "taste_profiles",
            "recommendations",
        ),
        job(
            "refresh_top_picks",
            "What the household watched most, as of a day.",
            "top_picks",
        ),
    ]
