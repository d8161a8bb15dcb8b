"""What there is to watch on the media server: its films, series and episodes."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg

from aperture_dagster.defs.failures import MissingPrerequisite, operator_errors
from aperture_dagster.defs.media_server.server import media_server
from aperture_dagster.defs.reporting import markdown_table, materialized, problems_table, warn_of_unreadable
from aperture_dagster.instance.pools import MEDIA_SERVER
from aperture_dagster.publishing.paths import below, published_root
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.errors import BadAnswer, ServiceError
from aperture_dagster.resources.media_server.reader import MediaServerReader
from aperture_dagster.resources.media_server.records import Listing, MediaType, ServerLibrary
from aperture_dagster.resources.providers import MediaServers
from aperture_dagster.settings import Settings
from aperture_dagster.storage.catalogue import (
    catalogue_size,
    known_libraries,
    largest_series,
    newest_titles,
    tombstones,
)
from aperture_dagster.storage.catalogue_sync import (
    CatalogueResult,
    Coverage,
    EpisodeSync,
    RemovalRules,
    TitleSync,
    write_libraries,
)
from aperture_dagster.storage.published import published_library_ids
from aperture_dagster.storage.tidying import forget_unused_works
from aperture_dagster.storage.versions import change_version
from aperture_dagster.worklist.progress import Progress

if TYPE_CHECKING:
    from sqlalchemy import Connection

CONTENT_TYPES = {"movie": {"movies", None, "mixed"}, "series": {"tvshows", None, "mixed"}}


class CatalogueConfig(dg.Config):
    """Run configuration of the catalogue."""

    accept_removals: bool = False
    """Remove what the server no longer lists even if it is more than the limit allows at once."""


@dg.asset(
    group_name="media_server",
    deps=[media_server],
    kinds={"jellyfin", "emby", "postgres"},
    pool=MEDIA_SERVER,
    metadata={"dagster/table_name": "titles"},
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
    return _sync_catalogue(context, config, settings, database, media_servers, "movie")


@dg.asset(
    group_name="media_server",
    deps=[media_server],
    kinds={"jellyfin", "emby", "postgres"},
    pool=MEDIA_SERVER,
    metadata={"dagster/table_name": "titles"},
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
    return _sync_catalogue(context, config, settings, database, media_servers, "series")


@dg.asset(
    group_name="media_server",
    deps=[media_server, series],
    kinds={"jellyfin", "emby", "postgres"},
    pool=MEDIA_SERVER,
    metadata={"dagster/table_name": "episodes"},
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
    return _sync_catalogue(context, config, settings, database, media_servers, "episode")


def _sync_catalogue(
    context: dg.AssetExecutionContext,
    config: CatalogueConfig,
    settings: Settings,
    database: Database,
    media_servers: MediaServers,
    item_type: Literal["movie", "series", "episode"],
) -> dg.MaterializeResult:
    """List one type of item of all libraries, then merge what was listed into the catalogue.

    When a library cannot be read, what was listed until then is merged before the step fails.
    """
    counted = {"movie": "movies", "series": "series", "episode": "episodes"}[item_type]
    with operator_errors(context, settings), media_servers.open() as server, database.connection() as connection:
        with connection.begin():
            published = published_library_ids(connection)
        media_type: MediaType = "movie" if item_type == "movie" else "series"
        libraries = _libraries(context, server, settings, media_type, published)
        with connection.begin():
            write_libraries(connection, libraries.chosen)
        sync = EpisodeSync(connection) if item_type == "episode" else TitleSync(connection, item_type)
        listings: dict[str, Listing] = {}
        progress = Progress(context.log, counted)
        failure: ServiceError | None = None
        for library in libraries.chosen:
            listing = Listing()
            pages = (
                server.episodes(library, listing)
                if item_type == "episode"
                else server.titles(library, item_type, listing)
            )
            try:
                for page in pages:
                    sync.add(library, page)
                    progress.add(len(page))
            except ServiceError as error:
                failure = error
                break
            listings[library.library_id] = listing
        result = sync.merge(
            _coverage(connection, libraries, listings), RemovalRules(settings.removal_limit, config.accept_removals)
        )
        if failure is not None:
            context.log.warning(f"Wrote {result.counts.written:,} rows of what had been listed before the failure.")
            raise failure
        with connection.begin():
            if item_type != "episode":
                forget_unused_works(connection)
            size = catalogue_size(connection)[counted]
            shown: dict[str, Any] = {"tombstones": tombstones(connection, counted, settings.tombstone_days)}
            if item_type == "episode":
                version = change_version(connection, "episodes")
                shown["largest_series"] = markdown_table(largest_series(connection))
            else:
                version = change_version(connection, "titles", media_type=item_type)
                shown["newest"] = markdown_table(newest_titles(connection, item_type))
    return _report(context, result, listings, size, server.requests, shown, version)


@dataclass(frozen=True, slots=True)
class _Libraries:
    """The libraries to read; the ids of those that the operator left out; and the ids that the server may have."""

    chosen: list[ServerLibrary]
    excluded: set[str]
    on_server: set[str]
    all_have_ids: bool


def _libraries(
    context: dg.AssetExecutionContext,
    server: MediaServerReader,
    settings: Settings,
    media_type: MediaType,
    published: Collection[str],
) -> _Libraries:
    """What the server has, and what of it is to be read; libraries of ours do not count.

    Raises:
        BadAnswer: the server lists no libraries at all.
        MissingPrerequisite: a chosen library does not exist.
    """
    listed = [library for library in server.libraries() if library.library_id not in published]
    root = published_root(settings)
    # Found by their folders, too: ids change with names.
    listed = [one for one in listed if root is None or not any(below(path, root) for path in one.locations)]
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
    left_out = [
        library
        for library in listed
        if library.name.casefold() in unwanted or (wanted and library.name.casefold() not in wanted)
    ]
    to_read = [
        library
        for library in listed
        if library not in left_out and library.collection_type in CONTENT_TYPES[media_type]
    ]
    for library in to_read:
        if not library.library_id:
            context.log.warning(
                f"The server has no id for the library {library.name!r}, so it cannot be read and what is known of it "
                "is kept. Check on the server that its folders exist, then scan it."
            )
    return _Libraries(
        chosen=[library for library in to_read if library.library_id],
        excluded={library.library_id for library in left_out if library.library_id},
        on_server={library.library_id for library in listed},
        # A library of music has no films, whatever its id was.
        all_have_ids=all(one.library_id for one in listed if one.collection_type in CONTENT_TYPES[media_type]),
    )


def _coverage(connection: "Connection", libraries: _Libraries, listings: dict[str, Listing]) -> Coverage:
    """How much of the server these listings saw."""
    complete = {key for key, listing in listings.items() if listing.complete}
    vanished: set[str] = set()
    if libraries.all_have_ids:
        # A library that the server has no more lists nothing, and whole: the guard decides.
        with connection.begin():
            vanished = known_libraries(connection) - libraries.on_server
    return Coverage(
        complete=complete | vanished,
        incomplete=[one.name for one in libraries.chosen if one.library_id not in complete],
        unreadable=[identity for listing in listings.values() for identity in listing.unreadable_ids],
        excluded=libraries.excluded,
    )


def _report(
    context: dg.AssetExecutionContext,
    result: CatalogueResult,
    listings: dict[str, Listing],
    size: int,
    requests: int,
    shown: dict[str, Any],
    version: str,
) -> dg.MaterializeResult:
    metadata = {
        "dagster/row_count": size,
        "listed": result.listed,
        "rows_written": result.counts.written + result.removed,
        "added": result.counts.inserted,
        "changed": result.counts.updated,
        "removed": result.removed,
        "returned": result.returned,
        "recognised_under_new_ids": result.recognised,
        "requests": requests,
    }
    metadata |= shown
    problems = [problem for listing in listings.values() for problem in listing.problems]
    metadata |= problems_table(problems)
    warn_of_unreadable(context, "items", problems, read=result.listed)
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
    return materialized(context, metadata, version=version)
