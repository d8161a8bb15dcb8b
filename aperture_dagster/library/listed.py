"""Lists of titles from outside, and which works of the library are on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ListedTitle:
    """An entry of a list: a title by its ids."""

    tmdb_id: int | None = None
    imdb_id: str | None = None


@dataclass(frozen=True, slots=True)
class ListPage:
    """A page of a list: its entries of one media type in the list's order, and whether another page follows."""

    titles: tuple[ListedTitle, ...]
    has_more: bool


@dataclass(frozen=True, slots=True)
class WorkIds:
    """The ids of a work at other services."""

    work_id: int
    tmdb_id: int | None = None
    imdb_id: str | None = None


def works_listed(pages: Iterable[ListPage], library: Sequence[WorkIds], *, wanted: int) -> tuple[list[int], int]:
    """Find the works of the library on a list, by TMDb id, then by IMDb id, and never by title.

    Args:
        pages: of the list; no more are taken than needed.
        library: works of the list's media type. If two share an id, the one with the lower ``work_id`` is found.
        wanted: how many works are enough.

    Returns:
        The works in the list's order, each once, and the number of entries looked at.
    """
    by_tmdb: dict[int, int] = {}
    by_imdb: dict[str, int] = {}
    for work in sorted(library, key=lambda work: work.work_id):
        if work.tmdb_id is not None:
            by_tmdb.setdefault(work.tmdb_id, work.work_id)
        if work.imdb_id is not None:
            by_imdb.setdefault(work.imdb_id, work.work_id)
    # A dictionary keeps the order, and each work once.
    found: dict[int, None] = {}
    entries = 0
    for page in pages:
        for title in page.titles:
            entries += 1
            work_id = by_tmdb.get(title.tmdb_id) if title.tmdb_id is not None else None
            if work_id is None and title.imdb_id is not None:
                work_id = by_imdb.get(title.imdb_id)
            if work_id is not None:
                found.setdefault(work_id)
        if len(found) >= wanted or not page.has_more:
            break
    return list(found)[:wanted], entries
