"""Which titles the rows of exported histories mean."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from aperture_dagster.catalogue.history_import.rows import PastRow
from aperture_dagster.catalogue.identity import MediaType, ProviderIds
from aperture_dagster.catalogue.references import KnownTitle, simplify
from aperture_dagster.model import MEDIA_TYPES

YEARS_APART = 1
"""Sources disagree about the year of a title by so much: it is shown to decide, and never taken."""
MOST_CANDIDATES = 8


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of a film or an episode in the library."""

    item_id: int
    minutes: int | None


@dataclass(frozen=True, slots=True)
class Episode:
    """A copy of an episode, with its place."""

    season: int
    number: int
    title: str
    copy: Copy


@dataclass(frozen=True, slots=True)
class NewTitle:
    """A title that nothing here knows, by its ids elsewhere."""

    media_type: MediaType
    ids: ProviderIds


@dataclass(frozen=True, slots=True)
class NamedTitle:
    """A title of which only a name is known, in its comparable form, and perhaps its year and media type."""

    name: str
    year: int | None
    media_type: MediaType | None


@dataclass(frozen=True, slots=True)
class Unclear:
    """A title that may be several, or may be another one: somebody has to decide."""

    named: NamedTitle
    candidates: Sequence[KnownTitle]


@dataclass(frozen=True, slots=True)
class UnknownEpisode:
    """An episode of which only its own id at IMDb is known, and not its series."""

    imdb_id: str


Match = KnownTitle | NewTitle | NamedTitle | UnknownEpisode | Unclear


class Titles:
    """All titles that a row may mean.

    Args:
        known: everything that the database can name.
        copies: by work, the copy of each film in the library, or of each series itself.
        episodes_of: reads the episodes of a series in the library.
        decided: by a name, the work that somebody chose for it.
    """

    def __init__(
        self,
        known: Iterable[KnownTitle],
        copies: Mapping[int, Copy],
        episodes_of: Callable[[int], Sequence[Episode]],
        decided: Mapping[NamedTitle, int],
    ) -> None:
        self.copies, self._episodes_of, self._decided = copies, episodes_of, decided
        self._by_id: dict[tuple[str, str, int | str], KnownTitle] = {}
        self._by_work: dict[int, KnownTitle] = {}
        self._by_name: defaultdict[tuple[str, str], list[KnownTitle]] = defaultdict(list)
        # Those of the library first.
        for title in sorted(known, key=lambda title: title.work_id not in copies):
            self._by_work[title.work_id] = title
            for name, value in title.ids.present():
                self._by_id.setdefault((title.media_type, name, value), title)
            for name in {simplify(name) for name in title.names}:
                self._by_name[title.media_type, name].append(title)
        self._episodes: dict[int, dict[tuple[int, int], Episode]] = {}
        self._by_title: dict[int, dict[tuple[int | None, str], list[Episode]]] = {}

    def match(self, row: PastRow, work_of_item: Mapping[str, int]) -> Match:
        """Return what a row is about: by its ids, or else by name and year together, if they name one title only.

        ``work_of_item``: works by the server's ids of items.
        """
        if row.episode_imdb_id is not None:
            return UnknownEpisode(row.episode_imdb_id)
        types: Sequence[MediaType] = [row.media_type] if row.media_type is not None else MEDIA_TYPES
        for name, value in row.ids.present():
            hits = [self._by_id[key] for media_type in types if (key := (media_type, name, value)) in self._by_id]
            # A number of TMDb's is that of a film and of a series.
            if len(hits) == 1:
                return hits[0]
        named = NamedTitle(simplify(row.title or ""), row.year, row.media_type)
        if (work := self._decided.get(named)) in self._by_work and work is not None:
            return self._by_work[work]
        found = self._named(row, types, row.title)
        if row.whole_title is not None and not found:
            found = self._named(row, types, row.whole_title)
        by_item = [title for title in found if title.work_id == work_of_item.get(row.item_id or "")]
        certain = by_item or [title for title in found if row.year is not None and row.year in title.years]
        owned = [title for title in certain if title.work_id in self.copies]
        if len(owned or certain) == 1:
            return (owned or certain)[0]
        if not certain and row.source in ("playback_reporting", "tautulli", "trakt"):
            # They tell no years, of series in particular, but are made by a server with a library of its own.
            own = [title for title in found if title.work_id in self.copies]
            possible = [title for title in own or found if row.year is None or not title.years]
            if len(possible) == 1:
                return possible[0]
        if row.ids.present() and not certain:
            return NewTitle(row.media_type or "movie", row.ids)
        near = [
            title
            for title in certain or found
            if row.year is None or not title.years or any(abs(year - row.year) <= YEARS_APART for year in title.years)
        ]
        return Unclear(named, near[:MOST_CANDIDATES]) if near else named

    def _named(self, row: PastRow, types: Sequence[MediaType], name: str | None) -> list[KnownTitle]:
        key = simplify(name or "")
        found = [title for media_type in types for title in self._by_name.get((media_type, key), ()) if key]
        return [title for title in found if not title.ids.contradicts(row.ids)]

    def named_exactly(self, title: str | None, year: int | None, media_type: str | None) -> int | None:
        """Return the only work of a name and a year."""
        types = [media_type] if media_type is not None else MEDIA_TYPES
        key = simplify(title or "")
        found = {
            known.work_id
            for of in types
            for known in (self._by_name.get((of, key), ()) if key and year is not None else ())
            if year in known.years
        }
        return next(iter(found)) if len(found) == 1 else None

    def by_work(self, work_id: int) -> KnownTitle | None:
        """Return a title by its work."""
        return self._by_work.get(work_id)

    def episode(self, work_id: int, row: PastRow) -> Episode | None:
        """Return the episode in the library that a row of a series means, by its place or else by its title."""
        if work_id not in self.copies:
            return None
        if work_id not in self._episodes:
            listed = self._episodes_of(work_id)
            self._episodes[work_id] = {(episode.season, episode.number): episode for episode in listed}
            by_title: defaultdict[tuple[int | None, str], list[Episode]] = defaultdict(list)
            for episode in listed:
                by_title[episode.season, simplify(episode.title)].append(episode)
            self._by_title[work_id] = dict(by_title)
        if row.number is not None:
            return self._episodes[work_id].get((row.season if row.season is not None else -1, row.number))
        found = self._by_title[work_id].get((row.season, simplify(row.episode or "")), [])
        return found[0] if len(found) == 1 else None
