"""Each user's recommendations, as libraries on the media server."""

import dagster as dg

from aperture_dagster.defs.enrichment import enriched_metadata
from aperture_dagster.defs.media_server import episodes, movies, series
from aperture_dagster.defs.publishing.user_libraries import user_libraries_asset
from aperture_dagster.defs.taste import recommendations
from aperture_dagster.settings import Settings


def recommendation_libraries_asset(settings: Settings) -> dg.AssetsDefinition:
    """The asset; changes request it only while publishing is on."""
    return user_libraries_asset(
        settings,
        "recommendations",
        name="recommendation_libraries",
        lists=recommendations,
        at_night=[movies, series, episodes, enriched_metadata],
        description="""
        Recommendations as libraries on the media server, one for films and one for series per user, which only that
        user sees.

        Only what differs is written, and only what was placed by this product is ever removed. Libraries of users who
        no longer take part are deleted. Only with `APERTURE_PUBLISH`.
        """,
    )
