"""Read films, series or episodes of the server's libraries into the catalogue."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import Connection

from aperture_dagster.catalogue.queries import known_libraries
from aperture_dagster.catalogue.sync.episodes import EpisodeSync
from aperture_dagster.catalogue.sync.merge import CatalogueResult, Coverage, RemovalRules, write_libraries
from aperture_dagster.catalogue.sync.titles import TitleSync
from aperture_dagster.http.errors import BadAnswer, ServiceError
from aperture_dagster.media_server.reader import MediaServerReader
from aperture_dagster.media_server.records import Listing, ServerLibrary
from aperture_dagster.model import Progress
from aperture_dagster.model.errors import MissingPrerequisite
from aperture_dagster.settings.services import MediaServerSettings

ItemType = Literal["movie", "series", "episode"]


@dataclass(frozen=True, slots=True)
class Libraries:
    """The libraries that items of one type are read from.

    ``excluded`` are the ids of those that the operator left out, ``on_server`` those that the server has, and
    ``without_id`` the names of wanted ones that have none there. Unless ``all_have_ids``, any earlier id may be that of
    a library that has none now.
    """

    item_type: ItemType
    chosen: list[ServerLibrary]
    excluded: set[str]
    on_server: set[str]
    without_id: list[str]
    all_have_ids: bool

    def coverage(self, listings: dict[str, Listing], known: set[str]) -> Coverage:
        """Return how much of the server these listings, by library, saw; ``known``: all libraries ever seen."""
        complete = {key for key, listing in listings.items() if listing.complete}
        # A library that the server no longer has counts as listed completely: the removal guard decides.
        vanished = known - self.on_server if self.all_have_ids else set()
        return Coverage(
            complete=complete | vanished,
            incomplete=[one.name for one in self.chosen if one.library_id not in complete],
            unreadable=[item_id for listing in listings.values() for item_id in listing.unreadable_ids],
            excluded=self.excluded,
        )


@dataclass(slots=True)
class ItemsRead:
    """What reading the libraries came to; ``failure`` is why it ended before all of them were read."""

    result: CatalogueResult
    problems: list[str] = field(default_factory=list)
    failure: ServiceError | None = None


def choose_libraries(listed: Sequence[ServerLibrary], settings: MediaServerSettings, item_type: ItemType) -> Libraries:
    """Choose the libraries to read from those of the server, without published ones.

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
    # A library of music has no films, whatever its id was.
    content_types = ("movies" if item_type == "movie" else "tvshows", "mixed", None)
    of_type = [library for library in listed if library.collection_type in content_types]
    to_read = [library for library in of_type if library.name.casefold() in wanted]
    return Libraries(
        item_type,
        chosen=[library for library in to_read if library.library_id],
        excluded={one.library_id for one in listed if one.library_id and one.name.casefold() not in wanted},
        on_server={library.library_id for library in listed},
        without_id=[library.name for library in to_read if not library.library_id],
        all_have_ids=all(library.library_id for library in of_type),
    )


def read_items(
    server: MediaServerReader,
    connection: Connection,
    libraries: Libraries,
    *,
    accept_removals: bool,
    log: logging.Logger,
) -> ItemsRead:
    """List the items of all libraries, and merge what was listed into the catalogue, even if the server failed on
    the way.

    ``connection`` is one of :meth:`Database.connection`, outside any transaction.
    """
    for name in libraries.without_id:
        log.warning(
            f"The server has no id for the library {name!r}, so it cannot be read and what is known of it "
            "is kept. Check on the server that its folders exist, then scan it."
        )
    with connection.begin():
        known = known_libraries(connection)
        write_libraries(connection, libraries.chosen)
    item_type = libraries.item_type
    sync = EpisodeSync(connection) if item_type == "episode" else TitleSync(connection, item_type)
    progress = Progress(log, {"movie": "movies", "episode": "episodes"}.get(item_type, item_type))
    listings: dict[str, Listing] = {}
    failure: ServiceError | None = None
    for library in libraries.chosen:
        listing = Listing()
        try:
            pages = (
                server.episodes(library, listing)
                if item_type == "episode"
                else server.titles(library, item_type, listing)
            )
            is_expected = False
            for page in pages:
                if not is_expected:
                    # The first page says how many there are.
                    progress.expect(listing.total)
                    is_expected = True
                sync.add(library, page)
                progress.add(len(page))
        except ServiceError as error:
            failure = error
            break
        listings[library.library_id] = listing
    result = sync.merge(libraries.coverage(listings, known), RemovalRules(accept_removals))
    if failure is not None:
        log.warning(f"Wrote {result.counts.written:,} rows of what had been listed before the failure.")
    elif result.incomplete_libraries:
        log.warning(
            f"{', '.join(result.incomplete_libraries)} changed while it was read; nothing is removed from it this time."
        )
    return ItemsRead(result, [one for listing in listings.values() for one in listing.problems], failure)
