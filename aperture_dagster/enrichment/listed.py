"""Lists of titles from outside, and which works of the library are on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date


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
class SuggestedTitle:
    """An entry of a list of suggestions, with what the list says about the title; None where it says nothing."""

    tmdb_id: int | None = None
    imdb_id: str | None = None
    tvdb_id: int | None = None
    votes: int | None = None
    language: str | None = None
    released: date | None = None
    is_adult: bool = False


@dataclass(frozen=True, slots=True)
class NamedEntry:
    """A title that a search by name found."""

    tmdb_id: int
    names: tuple[str, ...]
    released: date | None


@dataclass(frozen=True, slots=True)
class SuggestedPage:
    """A page of a list of suggestions, of one media type, and whether another page follows."""

    entries: tuple[SuggestedTitle, ...]
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoverFilters:
    """What titles to look for on TMDb: those with all of these traits (by TMDb's ids), by number of votes.

    People are for films only. ``within_days`` looks for what came out in the last days, by popularity.
    """

    genre_ids: tuple[int, ...] = ()
    keyword_ids: tuple[int, ...] = ()
    person_ids: tuple[int, ...] = ()
    language: str | None = None
    minimum_votes: int = 0
    within_days: int | None = None

    @property
    def key(self) -> str:
        """A text that is the same for equal filters."""
        parts = {
            "genres": ",".join(map(str, sorted(self.genre_ids))),
            "keywords": ",".join(map(str, sorted(self.keyword_ids))),
            "people": ",".join(map(str, sorted(self.person_ids))),
            "language": self.language,
            "votes": self.minimum_votes,
            "days": self.within_days,
        }
        return "&".join(f"{name}={value}" for name, value in parts.items() if value)


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
