"""Top Picks, as libraries on the media server."""

from typing import Any

import dagster as dg

from aperture_dagster.automation import on_upstream_change
from aperture_dagster.defs.enrichment import enriched_metadata
from aperture_dagster.defs.failures import cause_of, describe, operator_errors
from aperture_dagster.defs.markdown import markdown_list
from aperture_dagster.defs.media_server import episodes, movies, series, users
from aperture_dagster.defs.publishing.pages import list_page
from aperture_dagster.defs.publishing.publication import Kind, why_not_published
from aperture_dagster.defs.publishing.user_libraries import numbers, open_publication, publish_unless_busy
from aperture_dagster.defs.reporting import materialized
from aperture_dagster.defs.users import output_without_events
from aperture_dagster.instance.pools import MEDIA_SERVER
from aperture_dagster.publishing.outcome import explain_failures
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.providers import MediaServers
from aperture_dagster.settings import Settings
from aperture_dagster.sources.services import Services
from aperture_dagster.storage.published import published_version

KIND: Kind = "top_picks"
# What changes an NFO, adds an episode or a viewer can wait for the night.
AT_NIGHT = dg.AssetSelection.assets(movies, series, episodes, enriched_metadata, users)


def top_picks_libraries_asset(settings: Settings) -> dg.AssetsDefinition:
    """The asset; changes request it only while publishing is on."""
    condition = on_upstream_change(ignoring=AT_NIGHT) if settings.publish else None

    @dg.asset(
        group_name="publishing",
        deps=[
            dg.AssetDep("top_picks", partition_mapping=dg.AllPartitionMapping()),
            users,
            movies,
            series,
            episodes,
            enriched_metadata,
        ],
        kinds={"jellyfin", "emby"},
        pool=MEDIA_SERVER,
        automation_condition=condition,
        metadata={"dagster/table_name": "published_entries"},
    )
    def top_picks_libraries(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        database: dg.ResourceParam[Database],
        media_servers: dg.ResourceParam[MediaServers],
        services: dg.ResourceParam[Services],
        clock: dg.ResourceParam[Clock],
    ) -> dg.MaterializeResult:
        """The latest Top Picks as libraries on the media server, one row per title in one library for films and one for
        series, which everybody who takes part sees.

        They hold only titles that each of them may see. Only with `APERTURE_PUBLISH`.
        """
        with operator_errors(context, settings):
            reason = why_not_published(settings)
            if reason is not None:
                context.log.info(reason)
                return dg.MaterializeResult(
                    metadata={"skipped": reason, "rows_written": 0, "requests": 0}, data_version=dg.DataVersion("off")
                )
            with open_publication(context, settings, database, media_servers, services, clock) as publication:
                published = publish_unless_busy(context, publication, KIND)
            if published is None:
                return output_without_events()
            outcomes = [one for one in published.outcomes if not one.retired]
            failed = [one.error for one in outcomes if one.error is not None]
            if failed:
                raise dg.Failure(
                    description=explain_failures(outcomes, lambda error: describe(error, settings)),
                    metadata=cause_of(failed),
                    allow_retries=False,
                )
            with database.transaction() as connection:
                version = published_version(connection, [one.list_key for one in outcomes])
            metadata: dict[str, Any] = {}
            for outcome in outcomes:
                if outcome.kind == "library":
                    metadata |= list_page(context, settings, database, clock, outcome)
            metadata |= numbers(outcomes)
            if published.warnings:
                metadata["warnings"] = markdown_list(published.warnings)
            metadata |= {"rows_written": sum(one.rows_written for one in outcomes), "requests": published.requests}
            return materialized(context, metadata, version=version)

    return top_picks_libraries
