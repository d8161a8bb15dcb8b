"""The items of the media server, made from a world's titles.

An item always stays the same object. It may leave the server and return, or get a new id, as on real servers; user
data belongs to the object.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from aperture_dagster.simulator.members import Member, Ownership
from aperture_dagster.simulator.world import DEFAULT_LIBRARIES, WorldLibrary, WorldTitle

TICKS_PER_MINUTE = 600_000_000
_DAY = 86_400
CREATED_WITHIN_DAYS = 1_460
_USUAL_EPISODE_MINUTES = 45
_ARTICLES = ("the ", "a ", "an ")
_UNSAFE_IN_PATHS = re.compile(r'[\x00-\x1f/\\:*?"<>|]')
# Minimum age by official rating, which the media server compares with a user's limit.
_RATING_AGES = {
    "G": 0, "TV-G": 0, "TV-Y": 0, "APPROVED": 0, "TV-Y7": 7, "PG": 10, "TV-PG": 10,
    "PG-13": 13, "TV-14": 14, "R": 17, "TV-MA": 17, "NC-17": 18,
}  # fmt: skip


class Item:
    """A film, series, season, episode, box set or playlist on the media server."""

    __slots__ = (
        "copy", "created", "edits", "episode", "episode_end", "folder", "forced_sort_name", "generation", "id", "kind",
        "library", "locked", "members", "name", "own_provider_ids", "ownership", "present", "primary", "runtime_ticks",
        "saved", "season", "seasons", "series", "slot", "sort_name", "specials", "title", "version", "versions",
        "virtual",
    )  # fmt: skip

    def __init__(
        self, slot: int, kind: str, title: WorldTitle, name: str, library: WorldLibrary, created: float
    ) -> None:
        self.slot = slot
        self.kind = kind
        self.title = title
        self.name = name
        self.library = library
        self.created = created
        self.saved = created
        self.copy = 0
        self.season: int | None = None
        self.episode: int | None = None
        self.series: Item | None = None
        self.episode_end: int | None = None
        """Of a double episode: the number of the last one in its file."""
        self.seasons: list[Season] = []
        """Of a series: its numbered seasons in order."""
        self.specials: Season | None = None
        """Of a series: season 0."""
        self.virtual = False
        """Whether the item is known from metadata only, without a file."""
        self.version = 0
        self.primary: Item | None = None
        """Of an alternate version: the primary version."""
        self.versions: list[Item] = []
        """Of a primary version: its alternate versions."""
        self.members: list[Member] = []
        """Of a box set or playlist: its entries in order, including items that left the server."""
        self.ownership: Ownership | None = None
        """Of a playlist: whose it is."""
        self.locked = False
        """Whether the item's metadata is locked."""
        self.edits: dict[str, Any] = {}
        """Fields that clients wrote and that are not facts of the title, by name in the server's JSON."""
        self.runtime_ticks: int | None = None
        self.folder = ""
        self.sort_name = name
        self.forced_sort_name: str | None = None
        """A sort name that replaces the one made from the name."""
        self.own_provider_ids: dict[str, str] | None = None
        """Provider ids that replace those of the title."""
        self.generation = 0
        self.present = True
        self.id = ""

    @property
    def has_own_facts(self) -> bool:
        """Whether ``title`` describes the item itself, rather than the series that it belongs to."""
        return self.kind in ("Movie", "Series", "BoxSet", "Playlist")

    @property
    def premiere(self) -> str | None:
        """The premiere as ``YYYY-MM-DD``, if known."""
        if self.season is None:
            return self.title.release_date or None
        return episode_air_date(self.title, self.season, 1 if self.episode is None else self.episode)

    @property
    def end_date(self) -> str | None:
        """Of a series that has ended: when its last episode aired, if known."""
        if not self.seasons:
            return None
        return episode_air_date(self.title, len(self.seasons), self.seasons[-1].last_number)

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags that decide who may see the item: its own, those of its series and of its library."""
        return (*self.title.server_tags, *self.library.tags)

    @property
    def image_tag(self) -> str | None:
        """The tag of the primary image; None without one."""
        return self.id[:16] if self.kind != "Episode" else None

    @property
    def media_path(self) -> str:
        """The path of the file that is played."""
        return self.path

    @property
    def user_data_keys(self) -> list[str]:
        """The keys of users' data on the item, most significant first (``GetUserDataKeys``)."""
        if self.series is not None:
            keys, numbers = self.series.user_data_keys, (self.season, self.episode)
            suffix = "".join(f"{number:03d}" for number in numbers if number is not None)
            return [*(f"{key}{suffix}" for key in (keys[:-1] or keys)), self.id]
        names = {"Movie": ("tmdb", "imdb"), "Series": ("custom", "tvdb", "imdb")}.get(self.kind, ())
        known = {name.lower(): value for name, value in self.provider_ids.items()}
        return [*(known[name] for name in names if known.get(name)), self.id]

    @property
    def provider_ids(self) -> dict[str, str]:
        """The provider ids, those that replace the title's or else these."""
        if self.own_provider_ids is not None:
            return self.own_provider_ids
        title = self.title
        known = {"Tmdb": title.tmdb_id, "Imdb": title.imdb_id, "Tvdb": title.tvdb_id}
        if self.kind == "BoxSet":
            known = {"Tmdb": title.tmdb_id}
        elif self.kind not in ("Movie", "Series"):
            known = {}
        return {name: str(value) for name, value in known.items() if value is not None and value != ""}

    @property
    def every_season(self) -> list[Season]:
        """All seasons of a series, specials first."""
        return [self.specials, *self.seasons] if self.specials is not None else self.seasons

    def numbered(self, season: int) -> Season:
        """Return the season of a series by number. Raises IndexError when there is none."""
        found = next((each for each in self.every_season if each.item.season == season), None)
        if found is None:
            raise IndexError(season)
        return found

    @property
    def season_item(self) -> Item:
        """The season of an episode."""
        assert self.series is not None and self.season is not None
        return self.series.numbered(self.season).item

    @property
    def every_version(self) -> list[Item]:
        """All versions of the film, the primary one first."""
        primary = self.primary or self
        return [primary, *primary.versions]

    @property
    def is_owned(self) -> bool:
        """Whether this is an alternate version in its primary's folder, rather than one merged by hand."""
        return self.primary is not None and not self.title.merged

    @property
    def episode_count(self) -> int:
        """Number of playable episodes of a series."""
        return sum(not episode.virtual for season in self.every_season for episode in season.episodes)

    @property
    def studios(self) -> tuple[str, ...]:
        """Studios of a film or series. The media server lists a series' networks as studios."""
        if self.kind not in ("Movie", "Series"):
            return ()
        return self.title.networks if self.kind == "Series" and self.title.networks else self.title.companies

    @property
    def rating_age(self) -> int | None:
        """Minimum age of the official rating; None when unrated or unknown."""
        return _RATING_AGES.get(self.title.official_rating or "")

    @property
    def path(self) -> str:
        """Where the file or folder lies on the media server; of a virtual item, where it would."""
        if self.kind == "Movie":
            if self.title.disc in ("dvd", "bluray"):
                return self.folder
            suffix = f" - version {self.version + 1}" if self.is_owned else ""
            suffix += "-part1" if self.title.parts > 1 else ""
            ending = "iso" if self.title.disc else "mkv"
            return f"{self.folder}/{self.folder.rsplit('/', 1)[1]}{suffix}.{ending}"
        if self.series is None:
            return self.folder
        season_folder = f"{self.series.folder}/Season {self.season:02d}"
        if self.kind == "Season":
            return season_folder
        numbers = f"E{self.episode:02d}" + (f"-E{self.episode_end:02d}" if self.episode_end else "")
        return f"{season_folder}/{safe_name(self.title.title)} S{self.season:02d}{numbers}.mkv"

    def renew_id(self) -> None:
        """Compute the id from what identifies the item and the number of renewals."""
        origin = f"{self.title.key}|{self.copy}|{self.season}|{self.episode}|{self.generation}"
        if self.version:
            origin += f"|version {self.version}"
        self.id = hashlib.md5(origin.encode(), usedforsecurity=False).hexdigest()


@dataclass(slots=True)
class Season:
    """A season's item and its episodes in order."""

    item: Item
    episodes: list[Item]

    @property
    def last_number(self) -> int:
        """The highest episode number, 0 without any."""
        return max((episode.episode_end or episode.episode or 0 for episode in self.episodes), default=0)


def sort_name(name: str) -> str:
    """Return a name as the media server sorts it: lower case, no article, numbers padded."""
    lowered = name.lower()
    for article in _ARTICLES:
        if lowered.startswith(article):
            lowered = lowered[len(article) :]
            break
    return re.sub(r"\d+", lambda digits: digits.group().zfill(10), lowered)


def safe_name(name: str) -> str:
    """Return a name as part of a path, at most 150 characters."""
    return _UNSAFE_IN_PATHS.sub("_", name).strip(" .")[:150] or "_"


def file_name(name: str) -> str:
    """Return the name of the folder that a server makes for a name; characters that it does not allow become blanks."""
    return _UNSAFE_IN_PATHS.sub(" ", name)


def stable_number(text: str) -> int:
    """Hash a text to a 64-bit number that is the same in every run."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


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
        self.hidden_libraries: set[str] = set()
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
        return item.present and item.library.has_id and item.library.name not in self.hidden_libraries

    def every_item(self) -> list[Item]:
        """Return all items that ever existed, by slot. Do not change the list."""
        return self._all

    def find(self, item_id: str) -> Item | None:
        """Return the item with this id (with or without dashes), if it is on the server now."""
        item = self.by_id.get(item_id.replace("-", "").lower())
        return item if item is not None and self._is_here(item) else None

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
        version = self.make_item("Movie", top.title, top.name, top.library, created, top.copy, version=number)
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
        item = self.make_item("Season", top.title, name, top.library, created, top.copy, number)
        item.series = top
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
            episode = self.make_item("Episode", title, name, top.library, at, top.copy, season_number, number)
            episode.series = top
            episode.runtime_ticks = runtime_ticks
            episode.virtual = (season_number, number) in title.missing_episodes
            if number in doubles:
                episode.episode_end = number + 1
                episode.runtime_ticks = 2 * runtime_ticks
            season.episodes.append(episode)

    def make_item(
        self, kind: str, title: WorldTitle, name: str, library: WorldLibrary, created: float, copy: int = 0,
        season: int | None = None, episode: int | None = None, version: int = 0,
    ) -> Item:  # fmt: skip
        """Add an item, in place of one with the same id."""
        item = Item(len(self._all), kind, title, name, library, created)
        item.copy, item.season, item.episode, item.version = copy, season, episode, version
        item.renew_id()
        if item.id in self.by_id:
            self.by_id[item.id].present = False
        self.by_id[item.id] = item
        self._all.append(item)
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


_EPISODE_NAMES = [f"Episode {number}" for number in range(200)]


def episode_air_date(title: WorldTitle, season: int, episode: int) -> str | None:
    """Return when an episode first aired: a season a year, an episode a week. None when the start is unknown."""
    try:
        start = datetime.fromisoformat(title.release_date or "").replace(tzinfo=UTC)
    except ValueError:
        if not title.year:
            return None
        start = datetime(title.year, 1, 10, tzinfo=UTC)
    return (start + timedelta(days=365 * (season - 1) + 7 * (episode - 1))).date().isoformat()
