"""What there is to watch on the media server: its films, series and episodes."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from aperture_dagster.catalogue.items import ItemsRead, ItemType, choose_libraries, read_items
from aperture_dagster.catalogue.queries import catalogue_size, largest_series, newest_titles, tombstones
from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.defs.catalogue.server import media_server
from aperture_dagster.defs.reporting import materialized, problems_table, warn_of_unreadable
from aperture_dagster.instance.failures import cause_of, operator_errors
from aperture_dagster.instance.markdown import markdown_table
from aperture_dagster.instance.pools import MEDIA_SERVER
from aperture_dagster.media_server.records import ServerLibrary
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.versions import change_version
from aperture_dagster.publishing.paths import is_any_published, published_root
from aperture_dagster.publishing.published import published_library_ids, published_roots
from aperture_dagster.settings import Settings


class CatalogueConfig(dg.Config):
    """Run configuration of the catalogue."""

    accept_removals: bool = False
    """Remove what the server no longer lists even if it is more than the limit allows at once."""


def catalogue_asset(
    name: str, item_type: ItemType, *, description: str, deps: Sequence[dg.AssetsDefinition] = ()
) -> dg.AssetsDefinition:
    """Define the asset that lists one type of item of all libraries, and merges what was listed into the catalogue."""

    @dg.asset(
        name=name,
        description=description,
        group_name="catalogue",
        deps=[media_server, *deps],
        kinds={"jellyfin", "emby", "postgres"},
        pool=MEDIA_SERVER,
        metadata={"dagster/table_name": "episodes" if item_type == "episode" else "titles"},
    )
    def asset(
        context: dg.AssetExecutionContext,
        config: CatalogueConfig,
        settings: dg.ResourceParam[Settings],
        database: dg.ResourceParam[Database],
        media_servers: dg.ResourceParam[MediaServers],
    ) -> dg.MaterializeResult:
        with operator_errors(context, settings), media_servers.open() as server, database.connection() as connection:
            listed = _without_ours(server.libraries(), database, settings)
            libraries = choose_libraries(listed, settings, item_type)
            accept = config.accept_removals
            read = read_items(server, connection, libraries, accept_removals=accept, log=context.log)
            if read.failure is not None:
                raise read.failure
            shown, version = _page(database, name, item_type)
            return _report(context, read, {"requests": server.requests, **shown}, version)

    return asset


def _without_ours(listed: Sequence[ServerLibrary], database: Database, settings: Settings) -> list[ServerLibrary]:
    """Leave out what was published, found by its folders, too: ids change with names."""
    with database.transaction() as connection:
        published = published_library_ids(connection)
        roots = {*published_roots(connection), *published_root(settings)}
    return [one for one in listed if one.library_id not in published and not is_any_published(one.locations, roots)]


def _page(database: Database, name: str, item_type: ItemType) -> tuple[dict[str, Any], str]:
    """Return what the asset's page shows of the catalogue, and the version of its rows."""
    with database.transaction() as connection:
        shown: dict[str, Any] = {
            "dagster/row_count": catalogue_size(connection)[name],
            "tombstones": tombstones(connection, name),
        }
        if item_type == "episode":
            shown["largest_series"] = markdown_table(largest_series(connection))
            return shown, change_version(connection, "episodes")
        newest = newest_titles(connection, item_type)
        shown["newest"] = markdown_table(newest, ["title", "year", "genres", "added"])
        return shown, change_version(connection, "titles", media_type=item_type)


def _report(
    context: dg.AssetExecutionContext, read: ItemsRead, shown: dict[str, Any], version: str
) -> dg.MaterializeResult:
    result = read.result
    warn_of_unreadable(context, "items", read.problems, read=result.listed)
    if result.refusal is not None:
        raise dg.Failure(
            description=f"{result.refusal} What is new or changed was written.",
            metadata={"rows_written": result.counts.written, "listed": result.listed, **cause_of([result.refusal])},
            allow_retries=False,
        )
    metadata = {
        "listed": result.listed,
        "rows_written": result.counts.written + result.removed,
        "added": result.counts.inserted,
        "changed": result.counts.updated,
        "removed": result.removed,
        "returned": result.returned,
        "recognised_under_new_ids": result.recognised,
    }
    if result.orphaned_episodes:
        metadata["episodes_without_series"] = result.orphaned_episodes
    return materialized(context, metadata | shown | problems_table(read.problems), version=version)


movies = catalogue_asset(
    "movies",
    "movie",
    description="The films of the media server, one row each; copies of one film share a work.\n\n"
    "Read whole from the server every night, written only where something changed. A film that is gone is kept "
    "with a tombstone; if too much of a library vanished at once, nothing is removed and the run says so.",
)
series = catalogue_asset(
    "series",
    "series",
    description="The series of the media server, one row each; copies of one series share a work.\n\n"
    "Read whole from the server every night, written only where something changed. Their episodes are an asset "
    "of their own.",
)
episodes = catalogue_asset(
    "episodes",
    "episode",
    description="The episodes of all series on the media server, one row each.\n\n"
    "Read whole from the server every night, after the series, written only where something changed. They say "
    "who has watched how much of a series, and what comes next.",
    deps=[series],
)
