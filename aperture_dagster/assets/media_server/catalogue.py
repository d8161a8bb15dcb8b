"""What there is to watch on the media server: its films, series and episodes."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from aperture_dagster.assets.common import (
    SERVER,
    MissingPrerequisite,
    Progress,
    materialized,
    operator_errors,
    problems_table,
    table,
    warn_of_unreadable,
)
from aperture_dagster.assets.media_server.server import GROUP, media_server
from aperture_dagster.automation import fresh_within_a_day
from aperture_dagster.resources.errors import BadAnswer
from aperture_dagster.resources.media_server import Listing
from aperture_dagster.resources.providers import Database, MediaServers
from aperture_dagster.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from aperture_dagster.resources.media_server import MediaServer, MediaType, ServerLibrary
    from aperture_dagster.storage.catalogue import CatalogueResult, EpisodeStage, RemovalRules, TitleStage

CONTENT_TYPES = {"movie": {"movies", None, "mixed"}, "series": {"tvshows", None, "mixed"}}


class CatalogueConfig(dg.Config):
    """Run configuration of the catalogue."""

    accept_removals: bool = False
    """Remove what the server no longer lists even if it is more than the limit allows at once."""


@dg.asset(
    group_name=GROUP,
    deps=[media_server],
    kinds={"jellyfin", "emby", "postgres"},
    pool=SERVER,
    freshness_policy=fresh_within_a_day,
)
def movies(
    context: dg.AssetExecutionContext,
    config: CatalogueConfig,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    media_servers: dg.ResourceParam[MediaServers],
) -> dg.MaterializeResult:
    """Every film item of the media server, one row each; copies of one film share a work.

    Read whole every time, written only where something changed. A film that is gone gets a tombstone, unless too much
    of a library vanished at once.
    """
    return _sync_titles(context, config, settings, database, media_servers, "movie")


@dg.asset(
    group_name=GROUP,
    deps=[media_server],
    kinds={"jellyfin", "emby", "postgres"},
    pool=SERVER,
    freshness_policy=fresh_within_a_day,
)
def series(
    context: dg.AssetExecutionContext,
    config: CatalogueConfig,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    media_servers: dg.ResourceParam[MediaServers],
) -> dg.MaterializeResult:
    """Every series item of the media server, one row each; copies of one series share a work.

    Read whole every time, written only where something changed.
    """
    return _sync_titles(context, config, settings, database, media_servers, "series")


@dg.asset(
    group_name=GROUP,
    deps=[media_server, series],
    kinds={"jellyfin", "emby", "postgres"},
    pool=SERVER,
    freshness_policy=fresh_within_a_day,
)
def episodes(
    context: dg.AssetExecutionContext,
    config: CatalogueConfig,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    media_servers: dg.ResourceParam[MediaServers],
) -> dg.MaterializeResult:
    """Every episode item of the media server, one row each, below its series.

    Read whole every time, written only where something changed.
    """
    from aperture_dagster.storage.catalogue import EpisodeStage, largest_series

    return _sync_catalogue(
        context,
        config,
        settings,
        database,
        media_servers,
        media_type="series",
        counted="episodes",
        make_stage=EpisodeStage,
        pages=lambda server, library, listing: server.episodes(library, listing),
        shown=lambda connection: {"largest_series": table(largest_series(connection))},
    )


def _sync_titles(
    context: dg.AssetExecutionContext,
    config: CatalogueConfig,
    settings: Settings,
    database: Database,
    media_servers: MediaServers,
    media_type: "MediaType",
) -> dg.MaterializeResult:
    from aperture_dagster.storage.catalogue import TitleStage, newest_titles

    return _sync_catalogue(
        context,
        config,
        settings,
        database,
        media_servers,
        media_type=media_type,
        counted="movies" if media_type == "movie" else "series",
        make_stage=lambda connection: TitleStage(connection, media_type),
        pages=lambda server, library, listing: server.titles(library, media_type, listing),
        shown=lambda connection: {"newest": table(newest_titles(connection, media_type))},
    )


def _sync_catalogue(
    context: dg.AssetExecutionContext,
    config: CatalogueConfig,
    settings: Settings,
    database: Database,
    media_servers: MediaServers,
    *,
    media_type: "MediaType",
    counted: str,
    make_stage: "Callable[[Connection], TitleStage | EpisodeStage]",
    pages: "Callable[[MediaServer, ServerLibrary, Listing], Iterator[list[Any]]]",
    shown: "Callable[[Connection], dict[str, Any]]",
) -> dg.MaterializeResult:
    """List one kind of item of all libraries, and merge it into the catalogue in one transaction.

    Args:
        media_type: which libraries hold it.
        counted: its name in the catalogue's size, and in the progress.
        make_stage, pages: where it is staged, and how the server is asked for it.
        shown: the tables for the asset's page.
    """
    from aperture_dagster.storage.catalogue import catalogue_size, write_libraries

    with operator_errors(context, settings), media_servers.open() as server:
        chosen, scope = _libraries(server, settings, media_type)
        for name in sorted(scope["without_id"]):
            context.log.warning(
                f"The server has no id for the library {name!r}, so it cannot be read and what is known of it is kept. "
                "Check on the server that its folders exist, then scan it."
            )
        with database.transaction() as connection:
            write_libraries(connection, chosen)
            stage = make_stage(connection)
            listings: dict[str, Listing] = {}
            progress = Progress(context, counted)
            for library in chosen:
                listing = listings[library.library_id] = Listing()
                for page in pages(server, library, listing):
                    stage.add(library, page)
                    progress.add(len(page))
            result = stage.merge(**_removal_scope(chosen, listings, scope, connection), rules=_rules(settings, config))
            size = catalogue_size(connection)[counted]
            tables = shown(connection)
    return _report(context, result, listings, size, server.requests, tables)


def _libraries(
    server: "MediaServer", settings: Settings, media_type: "MediaType"
) -> "tuple[list[ServerLibrary], dict[str, set[str]]]":
    """The libraries to read, and which ids are on the server and which the operator left out.

    Raises:
        BadAnswer: the server lists no libraries at all.
        MissingPrerequisite: a chosen library does not exist.
    """
    listed = server.libraries()
    if not listed:
        raise BadAnswer("The media server lists no libraries. Nothing was changed.")
    by_name = {library.name.casefold() for library in listed}
    unknown = [name for name in settings.libraries if name.casefold() not in by_name]
    if unknown:
        raise MissingPrerequisite(
            f"APERTURE_LIBRARIES names {unknown[0]!r}; the server has {', '.join(one.name for one in listed)}."
        )
    wanted = {name.casefold() for name in settings.libraries}
    unwanted = {name.casefold() for name in settings.exclude_libraries}
    excluded = {
        library.library_id
        for library in listed
        if library.name.casefold() in unwanted or (wanted and library.name.casefold() not in wanted)
    }
    of_type = [library for library in listed if library.collection_type in CONTENT_TYPES[media_type]]
    return [library for library in of_type if library.library_id and library.library_id not in excluded], {
        "listed": {library.library_id for library in listed},
        "excluded": excluded,
        "without_id": {library.name for library in of_type if not library.library_id},
    }


def _removal_scope(
    chosen: "list[ServerLibrary]", listings: dict[str, Listing], scope: dict[str, set[str]], connection: Any
) -> dict[str, Any]:
    """Which libraries can be trusted to be whole, for the removals."""
    from aperture_dagster.storage.catalogue import known_libraries

    complete = {key for key, listing in listings.items() if listing.complete}
    # A library that the server has no more lists nothing, and whole: the guard decides. One of them may be there
    # without its id.
    vanished = set() if scope["without_id"] else known_libraries(connection) - scope["listed"]
    return {
        "complete": complete | vanished,
        "incomplete": [one.name for one in chosen if one.library_id not in complete],
        "unreadable": [identity for listing in listings.values() for identity in listing.unreadable_ids],
        "excluded": scope["excluded"],
    }


def _rules(settings: Settings, config: CatalogueConfig) -> "RemovalRules":
    from aperture_dagster.storage.catalogue import RemovalRules

    return RemovalRules(settings.removal_limit, config.accept_removals, settings.tombstone_days)


def _report(
    context: dg.AssetExecutionContext,
    result: "CatalogueResult",
    listings: dict[str, Listing],
    size: int,
    requests: int,
    shown: dict[str, Any],
) -> dg.MaterializeResult:
    metadata = {
        "dagster/row_count": size,
        "listed": result.listed,
        "rows_written": result.counts.written + result.removed + result.purged,
        "added": result.counts.inserted,
        "changed": result.counts.updated,
        "removed": result.removed,
        "returned": result.returned,
        "recognised_under_new_ids": result.recognised,
        "purged": result.purged,
        "requests": requests,
    }
    metadata |= shown
    problems = [problem for listing in listings.values() for problem in listing.problems]
    metadata |= problems_table(problems)
    warn_of_unreadable(context, "items", problems)
    if result.orphaned_episodes:
        metadata["episodes_without_series"] = result.orphaned_episodes
    if result.incomplete_libraries:
        context.log.warning(
            f"{', '.join(result.incomplete_libraries)} changed while it was read; nothing is removed from it this time."
        )
    if result.refusal is not None:
        raise dg.Failure(
            description=f"{result.refusal} What is new or changed was written.",
            metadata={"rows_written": result.counts.written, "listed": result.listed},
            allow_retries=False,
        )
    return materialized(context, metadata)
