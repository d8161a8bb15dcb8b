"""Lists from outside that Top Picks can be made from, and the library's works on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aperture_dagster.library.listed import ListPage, WorkIds, works_listed
from aperture_dagster.resources.mdblist import LARGEST_PAGE
from aperture_dagster.resources.media_server.records import MediaType
from aperture_dagster.settings import Settings
from aperture_dagster.sources.mdblist import MDBLIST
from aperture_dagster.sources.services import Service, Services
from aperture_dagster.sources.tmdb import TMDB

Origin = Literal["tmdb", "mdblist"]
ORIGINS: dict[Origin, Service[Any]] = {"tmdb": TMDB, "mdblist": MDBLIST}
# Enrichment can use a service for hours, and a list of yesterday is better than a run that waits for it.
PATIENCE_SECONDS = 60.0
# A small library has few titles of a long list, so reading ends somewhere: after 500 entries, or 4,000.
TMDB_PAGES = 25
MDBLIST_PAGES = 4


@dataclass(frozen=True, slots=True)
class TopList:
    """The library's works on a list in its order, and what it took to find them."""

    works: tuple[int, ...]
    entries: int
    requests: int


def source_of(settings: Settings, media_type: MediaType) -> Literal["local", "hybrid", "tmdb", "mdblist"]:
    """Return what the Top Picks of a media type are made from."""
    return settings.top_picks_movies_source if media_type == "movie" else settings.top_picks_series_source


def origin_of(settings: Settings, media_type: MediaType) -> Origin | None:
    """Return where the list of a media type comes from; None if only from the household."""
    source = source_of(settings, media_type)
    if source == "local":
        return None
    return settings.top_picks_hybrid_with if source == "hybrid" else source


def read_top_list(
    services: Services,
    settings: Settings,
    origin: Origin,
    media_type: MediaType,
    library: Sequence[WorkIds],
    *,
    wanted: int,
    waiting: Callable[[float], None],
) -> TopList:
    """Read the list of a media type until enough works of the library are found, or to the last page that is read.

    Raises:
        ServiceNotConfigured: the service has no key.
        ServiceBusy: another run still uses the service after a minute.
        ServiceError: the list could not be read to that point.
    """
    read = _tmdb_pages if origin == "tmdb" else _mdblist_pages
    service = services.get(ORIGINS[origin])
    with service.open(waiting=waiting, patience_seconds=PATIENCE_SECONDS) as client:
        works, entries = works_listed(read(client, settings, media_type), library, wanted=wanted)
        return TopList(tuple(works), entries, client.requests)


def _tmdb_pages(client: Any, settings: Settings, media_type: MediaType) -> Iterator[ListPage]:
    for page in range(1, TMDB_PAGES + 1):
        yield client.listed(media_type, settings.top_picks_tmdb_list, page)


def _mdblist_pages(client: Any, settings: Settings, media_type: MediaType) -> Iterator[ListPage]:
    # As many entries as fit: each request counts against the day's quota.
    name = settings.top_picks_mdblist_movies if media_type == "movie" else settings.top_picks_mdblist_series
    for page in range(MDBLIST_PAGES):
        yield client.listed(
            media_type, name, sort=settings.top_picks_mdblist_sort, offset=page * LARGEST_PAGE, limit=LARGEST_PAGE
        )
