"""Read films, series or episodes of the server's libraries into the catalogue."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

from sqlalchemy import Connection, insert

from aperture_dagster.catalogue.identity import ProviderIds, choose_work
from aperture_dagster.catalogue.queries import known_libraries
from aperture_dagster.catalogue.sync import (
    CatalogueResult,
    Coverage,
    EpisodeSync,
    RemovalRules,
    TitleSync,
    write_libraries,
)
from aperture_dagster.catalogue.tables import works
from aperture_dagster.http.errors import BadAnswer, ServiceError
from aperture_dagster.media_server.reader import MediaServerReader
from aperture_dagster.media_server.records import Listing, MediaType, ServerLibrary
from aperture_dagster.model import Progress
from aperture_dagster.model.errors import MissingPrerequisite
from aperture_dagster.postgres.bulk import upsert
from aperture_dagster.postgres.queries import execute, lock_until_commit
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
            for page in pages:
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


# Works of titles that other services know, in the library or not.


ID_NAMES = ("tmdb_id", "imdb_id", "tvdb_id")


def works_for(connection: Connection, media_type: MediaType, ids: Sequence[ProviderIds]) -> list[int | None]:
    """Find the work of each set of ids, or create it; None if the ids point to different works, or there are none.

    A work without copies gains the ids that it lacks; those of the library's works come from the library alone. Takes
    the lock of the catalogue until the end of the transaction.
    """
    # A sync of the catalogue must not create the same work meanwhile.
    lock_until_commit(connection, "catalogue")
    known, owned = _works_with(connection, media_type, ids)
    by_id: dict[tuple[str, int | str], list[int]] = {}
    # The library's own work first, then the oldest.
    for work_id in sorted(known, key=lambda one: (one not in owned, one)):
        for pair in known[work_id].present():
            by_id.setdefault(pair, []).append(work_id)
    found: list[int | None] = []
    completed: dict[int, ProviderIds] = {}
    for one in ids:
        work_id, conflict = choose_work(one, by_id)
        if work_id is None and not conflict and one.present():
            values = {"media_type": media_type, **asdict(one)}
            work_id = int(connection.execute(insert(works).values(values).returning(works.c.work_id)).scalar_one())
            known[work_id] = ProviderIds()
        if work_id is not None and work_id not in owned:
            filled = known[work_id].filled_from(one)
            if filled != known[work_id]:
                known[work_id] = completed[work_id] = filled
                for pair in filled.present():
                    by_id.setdefault(pair, []).append(work_id)
        found.append(work_id)
    rows = [{"work_id": work_id, "media_type": media_type, **asdict(filled)} for work_id, filled in completed.items()]
    upsert(connection, works, rows, columns=("work_id", "media_type", *ID_NAMES))
    return found


def works_sharing_ids(connection: Connection, media_type: MediaType, ids: Sequence[ProviderIds]) -> set[int]:
    """Return all works that have any of these ids."""
    return set(_works_with(connection, media_type, ids)[0]) if ids else set()


def complete_works(connection: Connection, media_type: MediaType, ids: Mapping[int, ProviderIds]) -> None:
    """Give works without copies the IMDb and TVDb ids that they lack, unless another work has the same one.

    Then the library finds them under any id that it may have. The caller holds the lock of the catalogue.
    """
    statement = """
        SELECT work_id, tmdb_id, imdb_id, tvdb_id FROM works w WHERE work_id = ANY(:works) AND media_type = :media_type
        AND NOT EXISTS (SELECT 1 FROM titles t WHERE t.work_id = w.work_id) ORDER BY work_id"""
    rows = execute(connection, statement, works=list(ids), media_type=media_type).all()
    known, _ = _works_with(connection, media_type, [ids[row.work_id] for row in rows])
    holders: dict[tuple[str, int | str], set[int]] = {}
    for work_id, its in known.items():
        for pair in its.present():
            holders.setdefault(pair, set()).add(work_id)
    for row in rows:
        stored = ProviderIds(row.tmdb_id, row.imdb_id, row.tvdb_id)
        had = dict(stored.present())
        gained = {
            name: value
            for name, value in ids[row.work_id].present()
            if name != "tmdb_id" and name not in had and holders.get((name, value), set()) <= {row.work_id}
        }
        if gained:
            connection.execute(works.update().where(works.c.work_id == row.work_id).values(gained))
            for pair in gained.items():
                holders.setdefault(pair, set()).add(row.work_id)


def _works_with(
    connection: Connection, media_type: MediaType, ids: Sequence[ProviderIds]
) -> tuple[dict[int, ProviderIds], set[int]]:
    """Return the works that have any of these ids, with all their ids, and which of them the library has, or had."""
    statement = """
        SELECT i.work_id, i.tmdb_id, i.imdb_id, i.tvdb_id,
        EXISTS (SELECT 1 FROM titles t WHERE t.work_id = i.work_id) AS owned FROM work_ids i
        WHERE media_type = :media_type
        AND (tmdb_id = ANY(:tmdb_id) OR imdb_id = ANY(:imdb_id) OR tvdb_id = ANY(:tvdb_id))"""
    values = {
        name: list({dict(one.present())[name] for one in ids if name in dict(one.present())}) for name in ID_NAMES
    }
    rows = execute(connection, statement, media_type=media_type, **values).all()
    known = {row.work_id: ProviderIds(row.tmdb_id, row.imdb_id, row.tvdb_id) for row in rows}
    return known, {row.work_id for row in rows if row.owned}
