"""What there is to watch on the media server: its films, series and episodes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import dagster as dg

from aperture_dagster.defs.failures import MissingPrerequisite, cause_of, operator_errors
from aperture_dagster.defs.markdown import markdown_table
from aperture_dagster.defs.media_server.server import media_server
from aperture_dagster.defs.reporting import materialized, problems_table, warn_of_unreadable
from aperture_dagster.instance.pools import MEDIA_SERVER
from aperture_dagster.publishing.paths import is_any_published, published_root
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.errors import BadAnswer, ServiceError
from aperture_dagster.resources.media_server.records import Listing, ServerLibrary
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
from aperture_dagster.storage.published import published_library_ids, published_roots
from aperture_dagster.storage.versions import change_version
from aperture_dagster.worklist.progress import Progress

ItemType = Literal["movie", "series", "episode"]


class CatalogueConfig(dg.Config):
    """Run configuration of the catalogue."""

    accept_removals: bool = False
    """Remove what the server no longer lists even if it is more than the limit allows at once."""


def catalogue_asset(
    name: str, item_type: ItemType, *, description: str, deps: Sequence[dg.AssetsDefinition] = ()
) -> dg.AssetsDefinition:
    """Define the asset that lists one type of item of all libraries, and merges what was listed into the catalogue.

    When a library cannot be read, what was listed until then is merged before the step fails.
    """

    @dg.asset(
        name=name,
        description=description,
        group_name="media_server",
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
            with connection.begin():
                published, known = published_library_ids(connection), known_libraries(connection)
                roots = {*published_roots(connection), *published_root(settings)}
            # Found by their folders, too: ids change with names.
            listed = [
                one
                for one in server.libraries()
                if one.library_id not in published and not is_any_published(one.locations, roots)
            ]
            libraries = _libraries(context, listed, settings, item_type)
            with connection.begin():
                write_libraries(connection, libraries.chosen)
            sync = EpisodeSync(connection) if item_type == "episode" else TitleSync(connection, item_type)
            listings: dict[str, Listing] = {}
            progress = Progress(context.log, name)
            failure: ServiceError | None = None
            for library in libraries.chosen:
                listing = Listing()
                try:
                    pages = (
                        server.episodes(library, listing)
                        if item_type == "episode"
                        else server.titles(library, item_type, listing)
                    )
                    for page in pages:
                        sync.add(library, page)
                        progress.add(len(page))
                except ServiceError as error:
                    failure = error
                    break
                listings[library.library_id] = listing
            result = sync.merge(
                _coverage(libraries, listings, known), RemovalRules(settings.removal_limit, config.accept_removals)
            )
            if failure is not None:
                context.log.warning(f"Wrote {result.counts.written:,} rows of what had been listed before the failure.")
                raise failure
            with connection.begin():
                shown: dict[str, Any] = {
                    "dagster/row_count": catalogue_size(connection)[name],
                    "requests": server.requests,
                    "tombstones": tombstones(connection, name, settings.tombstone_days),
                }
                if item_type == "episode":
                    version = change_version(connection, "episodes")
                    shown["largest_series"] = markdown_table(largest_series(connection))
                else:
                    version = change_version(connection, "titles", media_type=item_type)
                    shown["newest"] = markdown_table(
                        newest_titles(connection, item_type), ["title", "year", "genres", "added"]
                    )
        return _report(context, result, listings, shown, version)

    return asset


@dataclass(frozen=True, slots=True)
class _Libraries:
    """The libraries to read; the ids of those that the operator left out; and the ids that the server may have."""

    chosen: list[ServerLibrary]
    excluded: set[str]
    on_server: set[str]
    all_have_ids: bool


def _libraries(
    context: dg.AssetExecutionContext,
    listed: Sequence[ServerLibrary],
    settings: Settings,
    item_type: ItemType,
) -> _Libraries:
    """Return what the server has, and what of it is to be read; ``listed`` are its libraries, without ours.

    Raises:
        BadAnswer: the server lists no libraries at all.
        MissingPrerequisite: a chosen library does not exist.
    """
    if not listed:
        raise BadAnswer("The media server lists no libraries. Nothing was changed.")
    names = {library.name.casefold() for library in listed}
    unknown = [name for name in settings.libraries if name.casefold() not in names]
    if unknown:
        raise MissingPrerequisite(
            f"APERTURE_LIBRARIES names {unknown[0]!r}; the server has {', '.join(one.name for one in listed)}."
        )
    unwanted = {name.casefold() for name in settings.exclude_libraries}
    wanted = ({name.casefold() for name in settings.libraries} or names) - unwanted
    content_types = ("movies" if item_type == "movie" else "tvshows", "mixed", None)
    of_type = [library for library in listed if library.collection_type in content_types]
    to_read = [library for library in of_type if library.name.casefold() in wanted]
    for library in to_read:
        if not library.library_id:
            context.log.warning(
                f"The server has no id for the library {library.name!r}, so it cannot be read and what is known of it "
                "is kept. Check on the server that its folders exist, then scan it."
            )
    return _Libraries(
        chosen=[library for library in to_read if library.library_id],
        excluded={one.library_id for one in listed if one.library_id and one.name.casefold() not in wanted},
        on_server={library.library_id for library in listed},
        # A library of music has no films, whatever its id was.
        all_have_ids=all(library.library_id for library in of_type),
    )


def _coverage(libraries: _Libraries, listings: dict[str, Listing], known: set[str]) -> Coverage:
    """Say how much of the server these listings saw; ``known`` are the libraries that were ever seen."""
    complete = {key for key, listing in listings.items() if listing.complete}
    # A library that the server has no more lists nothing, and whole: the guard decides.
    vanished = known - libraries.on_server if libraries.all_have_ids else set()
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
    shown: dict[str, Any],
    version: str,
) -> dg.MaterializeResult:
    problems = [problem for listing in listings.values() for problem in listing.problems]
    metadata = {
        "listed": result.listed,
        "rows_written": result.counts.written + result.removed,
        "added": result.counts.inserted,
        "changed": result.counts.updated,
        "removed": result.removed,
        "returned": result.returned,
        "recognised_under_new_ids": result.recognised,
    }
    metadata |= shown | problems_table(problems)
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
            metadata={"rows_written": result.counts.written, "listed": result.listed, **cause_of([result.refusal])},
            allow_retries=False,
        )
    return materialized(context, metadata, version=version)


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
