"""Who may see which library."""

import logging

import dagster as dg

from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.defs.catalogue import users
from aperture_dagster.defs.reporting import materialized, table
from aperture_dagster.instance.failures import operator_errors
from aperture_dagster.model.clock import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.publishing.publication import Publication
from aperture_dagster.publishing.published import listed_users
from aperture_dagster.settings import Settings


# Without the pool of the media server: a publication holds that for as long as the server reads, this takes seconds.
@dg.asset(group_name="publishing", deps=[users], kinds={"jellyfin", "emby"})
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
            rows = listed_users(connection)
        metadata = {
            "users": table(rows),
            "dagster/row_count": len(rows),
            "rows_written": len(shared),
            "requests": writer.requests,
        }
        return materialized(context, metadata)


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
