"""The items of the media server, made from a world's titles.

An item always stays the same object. It may leave the server and return, or get a new id, as on real servers; user
data belongs to the object.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from aperture_dagster.simulator.item import FIRST_NUMBER, GENERATION
from aperture_dagster.simulator.item import TICKS_PER_MINUTE as TICKS_PER_MINUTE
from aperture_dagster.simulator.item import Item as Item
from aperture_dagster.simulator.item import Season as Season
from aperture_dagster.simulator.item import episode_air_date as episode_air_date
from aperture_dagster.simulator.item import file_name as file_name
from aperture_dagster.simulator.item import item_number as item_number
from aperture_dagster.simulator.item import pad_numbers as pad_numbers
from aperture_dagster.simulator.item import safe_name as safe_name
from aperture_dagster.simulator.item import sort_name as sort_name
from aperture_dagster.simulator.item import stable_number as stable_number
from aperture_dagster.simulator.world import DEFAULT_LIBRARIES, WorldLibrary, WorldTitle

CREATED_WITHIN_DAYS = 1_460
_DAY = 86_400
_USUAL_EPISODE_MINUTES = 45
_EPISODE_NAMES = [f"Episode {number}" for number in range(200)]


class Catalogue:
    """All items, by id and by title. ``version`` grows with every change."""

    def __init__(
        self,
        titles: Iterable[WorldTitle],
        *,
        today: datetime,
        first_played: dict[str, float],
        clock: Callable[[], float] = time.time,
        libraries: Iterable[WorldLibrary] = DEFAULT_LIBRARIES,
    ) -> None:
        self.today = today.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        self.version = 0
        self._clock = clock
        self.libraries = list(libraries)
        self.duplicate_libraries: set[str] = set()
        """Names of libraries whose folders the server takes for parts of another library, so that they are empty."""
        self.removed_libraries: list[WorldLibrary] = []
        """Libraries that were removed, but not their items."""
        self._places: dict[str, int] = {}
        self.by_id: dict[str, Item] = {}
        self.by_key: dict[str, list[Item]] = {}
        self._all: list[Item] = []
        self._folders: set[str] = set()
        self._present: dict[str, list[Item]] = {}
        self._present_version = -1
        for title in titles:
            self._make(title, first_played.get(title.key))

    def items(self, kind: str) -> list[Item]:
        """Return items of one kind that are on the server now, in catalogue order, including alternate versions."""
        if self._present_version != self.version:
            self._present = {}
            for item in self._all:
                if self._is_here(item):
                    self._present.setdefault(item.kind, []).append(item)
            self._present_version = self.version
        return self._present.get(kind, [])

    def _is_here(self, item: Item) -> bool:
        library = item.library
        return item.present and library.has_id and library.name not in self.duplicate_libraries

    @property
    def hides_libraries(self) -> bool:
        """Whether there are libraries that no user sees."""
        return any(not library.enabled for library in (*self.libraries, *self.removed_libraries))

    def library_named(self, name: str) -> WorldLibrary | None:
        """Return the library of this name."""
        return next((each for each in self.libraries if each.name == name), None)

    def place(self, library: WorldLibrary) -> int:
        """Return the library's number, which stays the same when other libraries are added or removed."""
        if not self._places:
            self._places = {each.name: place for place, each in enumerate(self.libraries)}
        return self._places.setdefault(library.name, max(self._places.values(), default=-1) + 1)

    def replace_library(self, before: WorldLibrary, after: WorldLibrary) -> None:
        """Replace the description of a library. Its items stay."""
        place = self.place(before)
        self._places.pop(before.name, None)
        self._places[after.name] = place
        for libraries in (self.libraries, self.removed_libraries):
            libraries[:] = [after if each is before else each for each in libraries]
        for item in self._all:
            if item.library is before:
                item.library = after
        self.version += 1

    def include(self, item: Item) -> None:
        """Add an existing item. Its slot must be the current number of items."""
        self.by_id[item.id] = item
        self._all.append(item)
        self.version += 1

    def every_item(self) -> list[Item]:
        """Return all items that ever existed, by slot. Do not change the list."""
        return self._all

    def find(self, item_id: str) -> Item | None:
        """Return the item with this id (with or without dashes), if it is on the server now."""
        item = self.by_id.get(item_id.replace("-", "").lower())
        return item if item is not None and self._is_here(item) else None

    def at_number(self, number: str) -> Item | None:
        """Return the item with this id on Emby, if it is on the server now."""
        if not (number.isascii() and number.isdecimal()):
            return None
        item = self.at(int(number) % GENERATION - FIRST_NUMBER)
        return item if item is not None and item_number(item) == number else None

    def at(self, slot: int) -> Item | None:
        """Return the item in this slot, if it is on the server now."""
        item = self._all[slot] if 0 <= slot < len(self._all) else None
        return item if item is not None and self.find(item.id) is item else None

    def top_items(self, key: str) -> list[Item]:
        """Return the films or series of a title, one per copy; empty when the server never owned it."""
        return self.by_key.get(key, [])

    def family(self, item: Item) -> Iterator[Item]:
        """Yield the item itself, its alternate versions and, for a series, its seasons and episodes."""
        yield item
        yield from item.versions
        for season in item.every_season:
            yield season.item
            yield from season.episodes

    def add(self, title: WorldTitle) -> None:
        """Put a title on the server, or change it or bring it back with its old items.

        It may gain copies and episodes, and lose copies. Raises ValueError when it would lose seasons or episodes.
        """
        now = self._clock()
        tops = self.by_key.get(title.key)
        if tops is None:
            self._make(title, None, created=now)
        else:
            self._refuse_loss(tops[0], title)
            for copy, top in enumerate(tops):
                self._change(top, title, now)
                for item in self.family(top):
                    item.title, item.saved, item.present = title, now, copy < title.copies
            tops += [self._make_copy(title, copy, now) for copy in range(len(tops), title.copies)]
        self.version += 1

    @staticmethod
    def _refuse_loss(top: Item, title: WorldTitle) -> None:
        counts = title.episodes_per_season
        has = [season.last_number for season in top.seasons]
        if len(counts) < len(has) or any(now < before for now, before in zip(counts, has, strict=False)):
            raise ValueError(f"{title.key} cannot lose seasons or episodes")

    def _change(self, top: Item, title: WorldTitle, now: float) -> None:
        top.name, top.sort_name = title.title, sort_name(title.title)
        if top.kind == "Movie":
            top.runtime_ticks = title.runtime_minutes * TICKS_PER_MINUTE if title.runtime_minutes else None
        else:
            self._add_episodes(top, title, now)

    def remove(self, key: str) -> None:
        """Remove a title from the server. Raises KeyError when it was never there."""
        for top in self.by_key[key]:
            for item in self.family(top):
                item.present = False
        self.version += 1

    def renew_ids(self, key: str) -> list[str]:
        """Give every item of a title a new id, and return the new ids of its films or series."""
        for top in self.by_key[key]:
            for item in self.family(top):
                del self.by_id[item.id]
                item.generation += 1
                item.renew_id()
                self.by_id[item.id] = item
        self.version += 1
        return [top.id for top in self.by_key[key]]

    def _make(self, title: WorldTitle, first_played: float | None, created: float | None = None) -> None:
        if title.copies < 1:
            return
        if title.key in self.by_key:
            raise ValueError(f"two titles of the world share the key {title.key!r}")
        tops: list[Item] = []
        for copy in range(title.copies):
            number = stable_number(f"{title.key}|{copy}")
            when = created or self.today.timestamp() - number % (CREATED_WITHIN_DAYS * _DAY) - 1
            if first_played is not None:
                # A title must have existed when it was first played.
                when = min(when, first_played - _DAY)
            tops.append(self._make_copy(title, copy, when))
        self.by_key[title.key] = tops

    def _make_copy(self, title: WorldTitle, copy: int, created: float) -> Item:
        is_movie = title.media_type == "movie"
        library = self._library(title)
        top = self.make_item("Movie" if is_movie else "Series", title, title.title, library, created, copy)
        top.sort_name = sort_name(title.title)
        top.folder = self._folder(title, library, copy)
        if is_movie:
            top.runtime_ticks = title.runtime_minutes * TICKS_PER_MINUTE if title.runtime_minutes else None
            for number in range(1, title.versions):
                self._add_version(top, number, created)
        else:
            self._add_episodes(top, title, created)
        return top

    def _library(self, title: WorldTitle) -> WorldLibrary:
        kind = "movies" if title.media_type == "movie" else "tvshows"
        for library in self.libraries:
            if library.name == title.library or (title.library is None and library.collection_type == kind):
                return library
        raise ValueError(f"{title.key} belongs to a library that is not in the world")

    def _add_version(self, top: Item, number: int, created: float) -> None:
        version = Item(len(self._all), "Movie", top.title, top.name, top.library, created)
        self._place_item(version, copy=top.copy, version=number)
        version.sort_name, version.runtime_ticks, version.primary = top.sort_name, top.runtime_ticks, top
        version.folder = self._folder(top.title, top.library, top.copy, number) if top.title.merged else top.folder
        top.versions.append(version)

    def _add_episodes(self, top: Item, title: WorldTitle, created: float) -> None:
        """Add the seasons and episodes that a series does not have yet."""
        for season_number, count in enumerate(title.episodes_per_season, start=1):
            if season_number > len(top.seasons):
                top.seasons.append(self._season(top, season_number, f"Season {season_number}", created))
            # Missing episodes may be announced ones, beyond the last existing episode.
            known = max((number for season, number in title.missing_episodes if season == season_number), default=0)
            self._fill(top.seasons[season_number - 1], title, max(count, known), created)
        if title.specials:
            top.specials = top.specials or self._season(top, 0, "Specials", created)
            self._fill(top.specials, title, title.specials, created)

    def _season(self, top: Item, number: int, name: str, created: float) -> Season:
        item = self._make_below(top, "Season", name, created, number)
        item.sort_name = f"season {number:010d}"
        return Season(item, [])

    def _fill(self, season: Season, title: WorldTitle, count: int, created: float) -> None:
        """Add the episodes up to a number that a season does not have yet."""
        top, season_number = season.item.series, season.item.season
        assert top is not None and season_number is not None
        runtime_ticks = (title.runtime_minutes or _USUAL_EPISODE_MINUTES) * TICKS_PER_MINUTE
        doubles = {number for in_season, number in title.double_episodes if in_season == season_number}
        for number in range(season.last_number + 1, count + 1):
            if number - 1 in doubles:
                # It is in the file of the previous episode.
                continue
            name = _EPISODE_NAMES[number] if number < len(_EPISODE_NAMES) else f"Episode {number}"
            # Episodes are added with their series, a second apart.
            at = created + number
            episode = self._make_below(top, "Episode", name, at, season_number, number)
            episode.runtime_ticks = runtime_ticks
            episode.virtual = (season_number, number) in title.missing_episodes
            if number in doubles:
                episode.episode_end = number + 1
                episode.runtime_ticks = 2 * runtime_ticks
            season.episodes.append(episode)

    def make_item(
        self, kind: str, title: WorldTitle, name: str, library: WorldLibrary, created: float, copy: int = 0
    ) -> Item:
        """Add an item, in place of one with the same id."""
        return self._place_item(Item(len(self._all), kind, title, name, library, created), copy=copy)

    def _make_below(
        self, series: Item, kind: str, name: str, created: float, season: int, episode: int | None = None
    ) -> Item:
        """Add a season or an episode of a series."""
        item = Item(len(self._all), kind, series.title, name, series.library, created)
        item.series = series
        return self._place_item(item, copy=series.copy, season=season, episode=episode)

    def _place_item(self, item: Item, **facts: int | None) -> Item:
        """Add an item with the facts that its id follows from."""
        for name, value in facts.items():
            setattr(item, name, value)
        item.renew_id()
        if item.id in self.by_id:
            self.by_id[item.id].present = False
        self.include(item)
        return item

    def _folder(self, title: WorldTitle, library: WorldLibrary, copy: int, version: int = 0) -> str:
        base = (
            safe_name(title.title)
            + (f" ({title.year})" if title.year else "")
            + (f" - copy {copy + 1}" if copy else "")
            + (f" - version {version + 1}" if version else "")
        )
        location = title.location or library.locations[0]
        folder, number = f"{location}/{base}", 2
        # Two films with the same name and year cannot share a folder.
        while folder.lower() in self._folders:
            folder, number = f"{location}/{base} [{number}]", number + 1
        self._folders.add(folder.lower())
        return folder
