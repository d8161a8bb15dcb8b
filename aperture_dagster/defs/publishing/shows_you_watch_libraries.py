"""The series that each user watches, as a library on the media server."""

import dagster as dg

from aperture_dagster.defs.enrichment import enriched_metadata
from aperture_dagster.defs.media_server import episodes, series
from aperture_dagster.defs.popularity import shows_you_watch
from aperture_dagster.defs.publishing.user_libraries import user_libraries_asset
from aperture_dagster.settings import Settings


def shows_you_watch_libraries_asset(settings: Settings) -> dg.AssetsDefinition:
    """The asset; changes request it only while publishing is on."""
    return user_libraries_asset(
        settings,
        "shows_you_watch",
        name="shows_you_watch_libraries",
        lists=shows_you_watch,
        at_night=[series, episodes, enriched_metadata],
        description="""
        The series that each user watches, as one library per user on the media server, which only that user sees.

        Each series holds its episodes from the next unwatched one on. Only with `APERTURE_PUBLISH`.
        """,
    )
