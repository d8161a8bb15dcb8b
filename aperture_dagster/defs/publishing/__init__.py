"""What is published on the media server.

Each asset here follows one pattern: read what should be there from the database and what is there from the server, let
:mod:`aperture_dagster.publishing` compute the difference, apply it through the media server's writer, record what was
applied at once, and look again. Each is off until the operator turns it on.
"""

import logging

import dagster as dg

from aperture_dagster.automation import on_upstream_change, outside_quiet_hours
from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.defs.catalogue import movies, series, users
from aperture_dagster.defs.daily_checks import daily_check
from aperture_dagster.defs.enrichment import studio_logos
from aperture_dagster.defs.publishing.libraries import for_later_asset, library_assets, media_server_libraries_asset
from aperture_dagster.defs.reporting import latest_numbers, materialized, table, warn_unless
from aperture_dagster.instance.failures import operator_errors
from aperture_dagster.instance.pools import MEDIA_SERVER
from aperture_dagster.jobs import PUBLISHED, Group, Job
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import content_version
from aperture_dagster.publishing.manifest import listed_users, unfinished_libraries
from aperture_dagster.publishing.server.outcomes import why_unread
from aperture_dagster.publishing.server.publication import LIBRARY_KINDS, STEMS, Kind, Publication
from aperture_dagster.publishing.server.studio_pictures import show_pictures
from aperture_dagster.settings import Settings

__all__ = ["group", "studio_pictures"]


# Without a place in the pool of the media server, as it takes seconds.
@dg.asset(
    group_name="publishing",
    deps=[users, *PUBLISHED],
    kinds={"jellyfin", "emby"},
)
def library_access(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    media_servers: dg.ResourceParam[MediaServers],
    clock: dg.ResourceParam[Clock],
) -> dg.MaterializeResult:
    """The lists of libraries on the media server, one row per user who might see all libraries, and was given a list.

    They keep the published libraries of others from being found. A library that you add is put on them; one that you
    take off a user's list stays off, and the list is yours from then on. `aperture unpublish` takes them back.
    """
    with operator_errors(context, settings), media_servers.open_writer() as writer:
        shared = Publication(settings, database, writer, clock, context.log).share_new_libraries()
        for sentence in shared:
            context.log.info(sentence)
        with database.transaction() as connection:
            rows, version = listed_users(connection), content_version(connection, "library_lists")
        metadata = {
            "users": table(rows),
            "dagster/row_count": len(rows),
            "rows_written": len(shared),
            "requests": writer.requests,
        }
        return materialized(context, metadata, version=version)


def why_nothing_to_share(settings: Settings, clock: Clock) -> str | None:
    """Compare the server's libraries with the lists; return why none has to change, or None if one may have to."""
    database = Database(settings)
    with MediaServers(settings, database).open_writer(dry_run=True) as writer:
        publication = Publication(settings, database, writer, clock, logging.getLogger(__name__))
        return None if publication.has_new_libraries() else "No library was added since the last run."


def why_nobody_is_listed(settings: Settings) -> str | None:
    """Say why there is no list to put a library on; None if there is one."""
    with Database(settings).transaction() as connection:
        return None if listed_users(connection) else "Nobody was given a list of libraries in place of all."


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
        shown = show_pictures(writer, database, settings.home_path / "logos", context.log)
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


SHOWN = 20


def are_shown_completely(kind: Kind) -> dg.AssetChecksDefinition:
    """The check that the media server shows every title of the published libraries of a kind."""

    @daily_check(
        name="are_shown_completely",
        asset=f"{STEMS[kind]}_libraries",
        description="The media server shows every title that was published. If not, publish again, and look at the "
        "warnings of the run.",
    )
    def check(database: dg.ResourceParam[Database], clock: dg.ResourceParam[Clock]) -> dg.AssetCheckResult:
        with database.transaction() as connection:
            unfinished = unfinished_libraries(connection, kind, now=clock.now())
        problem = f"{len(unfinished)} libraries are incomplete: publish again, and look at the warnings of the run."
        unread = [one["name"] for one in unfinished if one["unread_since"] is not None]
        if unread:
            problem = f"{why_unread(unread)} {problem if len(unread) < len(unfinished) else ''}".rstrip()
        metadata = {"libraries": len(unfinished)} | ({"incomplete": table(unfinished[:SHOWN])} if unfinished else {})
        return warn_unless(not unfinished, problem if unfinished else "", metadata)

    return check


CHECKS = tuple(are_shown_completely(kind) for kind in LIBRARY_KINDS)


def publishing_is_off(settings: Settings) -> str | None:
    """Say why nothing is published; None while publishing is on."""
    return None if settings.publish else "Publishing is off: set APERTURE_PUBLISH and APERTURE_PUBLISH_ROOT."


JOBS = (
    Job(
        "sync_libraries",
        "Publish each user's recommendations on the media server, and what they put aside, if that is turned on.",
        ("recommendation_libraries", "for_later_playlists"),
        cron="0 5 * * *",
        why="After lists have been renewed, so that the day begins with them.",
        scope="users",
        off_if=publishing_is_off,
    ),
    Job(
        "show_libraries",
        "Show published libraries when the media server has read them.",
        ("media_server_libraries",),
        why="A sensor starts it when the server takes longer than half a minute.",
        one_at_a_time="media_server_libraries",
        off_if=publishing_is_off,
    ),
    Job(
        "sync_library_access",
        "Let users who were given a list of libraries see those that were added to the media server.",
        ("library_access",),
        cron="*/15 * * * *",
        why="A new library reaches everybody soon, as it would without a list.",
        quiet=True,
        idle_if=why_nobody_is_listed,
        skip_if=why_nothing_to_share,
    ),
)


def group(settings: Settings) -> Group:
    """The group; what follows from changes does so only while publishing is on."""
    published = [
        _out_of_quiet_hours(one, settings)
        for one in (studio_pictures, library_access, *library_assets(settings), for_later_asset(settings))
    ]
    return Group(
        assets=(*published, media_server_libraries_asset(published)),
        checks=(are_on_the_server, *CHECKS),
        jobs=JOBS,
    )


def _out_of_quiet_hours(asset: dg.AssetsDefinition, settings: Settings) -> dg.AssetsDefinition:
    """Let an asset that writes to the media server wait for the end of the quiet hours."""
    return asset.map_asset_specs(
        lambda spec: spec.replace_attributes(
            automation_condition=outside_quiet_hours(spec.automation_condition, settings)
        )
    )
