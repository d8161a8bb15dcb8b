"""The series that each user watches, as a library on the media server."""

from collections.abc import Iterator

import dagster as dg

from aperture_dagster.automation import on_upstream_change
from aperture_dagster.defs.enrichment import enriched_metadata
from aperture_dagster.defs.media_server import episodes, series, users
from aperture_dagster.defs.popularity import shows_you_watch
from aperture_dagster.defs.publishing.publication import Kind
from aperture_dagster.defs.publishing.user_libraries import publish_for_users
from aperture_dagster.instance.pools import MEDIA_SERVER
from aperture_dagster.partitions import users_partitions
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.providers import MediaServers
from aperture_dagster.settings import Settings
from aperture_dagster.sources.services import Services

KIND: Kind = "shows_you_watch"
# What changes an NFO or adds an episode can wait for the night.
AT_NIGHT = dg.AssetSelection.assets(series, episodes, enriched_metadata)


def shows_you_watch_libraries_asset(settings: Settings) -> dg.AssetsDefinition:
    """The asset; changes request it only while publishing is on."""
    condition = on_upstream_change(ignoring=AT_NIGHT) if settings.publish else None

    @dg.asset(
        group_name="publishing",
        deps=[shows_you_watch, users, series, episodes, enriched_metadata],
        partitions_def=users_partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        kinds={"jellyfin", "emby"},
        pool=MEDIA_SERVER,
        automation_condition=condition,
        output_required=False,
        metadata={"dagster/table_name": "published_entries"},
    )
    def shows_you_watch_libraries(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        database: dg.ResourceParam[Database],
        media_servers: dg.ResourceParam[MediaServers],
        services: dg.ResourceParam[Services],
        clock: dg.ResourceParam[Clock],
    ) -> Iterator[dg.MaterializeResult]:
        """The series that each user watches, as one library per user on the media server, which only that user sees.

        Each series holds its episodes from the next unwatched one on. Only with `APERTURE_PUBLISH`.
        """
        yield from publish_for_users(context, KIND, settings, database, media_servers, services, clock)

    return shows_you_watch_libraries
