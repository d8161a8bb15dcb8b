"""Studio logos as the studios' pictures on the media server."""

import dagster as dg

from aperture_dagster.automation import on_upstream_change
from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.defs.catalogue import movies, series
from aperture_dagster.defs.enrichment import studio_logos
from aperture_dagster.defs.reporting import latest_numbers, materialized, table, warn_unless
from aperture_dagster.instance.failures import operator_errors
from aperture_dagster.instance.pools import MEDIA_SERVER
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import content_version
from aperture_dagster.publishing.studio_pictures import show_pictures
from aperture_dagster.settings import Settings

SHOWN_STUDIOS = 25


@dg.asset(
    group_name="publishing",
    deps=[studio_logos, movies, series],
    kinds={"jellyfin", "emby"},
    pool=MEDIA_SERVER,
    automation_condition=on_upstream_change(),
)
def studio_pictures(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    media_servers: dg.ResourceParam[MediaServers],
) -> dg.MaterializeResult:
    """The logo of each studio as its picture on the media server, one row per studio there.

    Set for studios that have no picture, and for those that have an older one of ours; a picture that you chose stays.
    Only with `APERTURE_SET_STUDIO_PICTURES`.
    """
    if not settings.set_studio_pictures:
        reason = "skipped: APERTURE_SET_STUDIO_PICTURES is off"
        context.log.info(reason)
        # Nothing is published, and that does not change.
        return materialized(context, {"skipped": reason, "rows_written": 0, "requests": 0}, version="off")
    with operator_errors(context, settings), media_servers.open_writer() as writer:
        shown = show_pictures(writer, database, settings.shared_path / "logos", context.log)
        with database.transaction() as connection:
            version = content_version(connection, "studio_logos", columns=("kind", "studio_id", "shown_sha256"))
        metadata = {
            "studios": len(shown.studios),
            "with_picture": sum(studio.has_picture for studio in shown.studios),
            "missing": len(shown.missing),
            "rows_written": len(shown.changed),
            "requests": writer.requests,
            "changed_studios": table([{"studio": name} for name in shown.changed[:SHOWN_STUDIOS]]),
            "missing_studios": table([{"studio": name} for name in shown.missing[:SHOWN_STUDIOS]]),
        }
        return materialized(context, metadata, version=version)


# Not a check within the asset: when automation materializes such an asset together with others, Dagster leaves out the
# checks of the others, blocking ones too.
@dg.asset_check(
    asset=studio_pictures,
    description="Every studio with a logo has a picture on the media server. If not, the run's warnings say what the "
    "server refused; the next run tries again.",
)
def are_on_the_server(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Warn of pictures that the media server did not accept in the last run."""
    missing = latest_numbers(context, ["missing"])["missing"]
    found = f"The media server did not accept {missing:,} pictures." if missing else ""
    return warn_unless(missing == 0, found, {"missing": missing})
