"""Scans of the folders of libraries that clients made, and the items found in them.

Modelled on jellyfin/jellyfin 10.9 to 12: ``MediaBrowser.Controller/Entities/Folder.cs`` (``ValidateChildren``),
``Emby.Server.Implementations/Library/Resolvers``, ``MediaBrowser.Providers/Manager/MetadataService.cs``,
``MediaBrowser.LocalMetadata/Images/LocalImageProvider.cs``. A scan reads the disk when it begins, and its result is
applied when it ends.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from aperture_dagster.simulator.catalogue import TICKS_PER_MINUTE, Season, pad_numbers, sort_name
from aperture_dagster.simulator.disk import Entry, ServerDisk
from aperture_dagster.simulator.folder_reader import FolderReader, Found, every_found
from aperture_dagster.simulator.item import Item, rating_age
from aperture_dagster.simulator.nfo_reader import Nfo, read_nfo, set_provider_id
from aperture_dagster.simulator.world import CastMember, WorldLibrary, WorldTitle

if TYPE_CHECKING:
    from aperture_dagster.simulator.state import SimulatorState


class ScannedItem(Item):
    """An item of a library that a client made, found by a scan."""

    __slots__ = ("artwork", "ends", "file_modified", "image", "parts", "server_path", "strm", "target", "values")

    def __init__(self, slot: int, found: Found, library: WorldLibrary, created: float) -> None:
        title = WorldTitle(f"scanned:{found.item_id}", "movie" if found.kind == "Movie" else "series", found.name)
        super().__init__(slot, found.kind, title, found.name, library, created)
        self.id = found.item_id
        self.server_path = found.path
        self.values: dict[str, Any] = {}
        """Metadata by name, as the parser of NFO files names it."""
        self.image: Entry | None = None
        self.artwork: dict[str, Entry] = {}
        self.target: str | None = None
        """Of a link: the path of the file that is played."""
        self.strm: str | None = None
        """Of a STRM file: its first line."""
        self.parts: tuple[str, ...] = ()
        self.file_modified = 0.0
        self.ends: str | None = None

    @property
    def path(self) -> str:
        """Where the file or folder lies on the media server."""
        return self.server_path

    @property
    def has_own_facts(self) -> bool:
        """Whether ``title`` describes the item itself: always."""
        return True

    @property
    def premiere(self) -> str | None:
        """The premiere as ``YYYY-MM-DD``, if known."""
        return self.title.release_date

    @property
    def end_date(self) -> str | None:
        """When the last episode aired, if known."""
        return self.ends

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags that decide who may see the item."""
        inherited = self.series.title.server_tags if self.series is not None else ()
        return (*self.title.server_tags, *inherited, *self.library.tags)

    @property
    def rating_age(self) -> int | None:
        """Minimum age of the official rating, or that of the series."""
        own = rating_age(self.title.official_rating)
        return self.series.rating_age if own is None and self.series is not None else own

    @property
    def image_tag(self) -> str | None:
        """A hash of the image's path and time; None without one."""
        return None if self.image is None else _tag(self.image)

    @property
    def artwork_files(self) -> dict[str, str]:
        """The files of the other images by type, beside the video."""
        return {kind: entry.path for kind, entry in self.artwork.items()}

    @property
    def artwork_tags(self) -> dict[str, str]:
        """The tags of the other images by type."""
        return {kind: _tag(entry) for kind, entry in self.artwork.items()}

    @property
    def media_path(self) -> str:
        """The path of the file that is played: a link's target, or what a STRM file names."""
        return self.strm or self.target or self.server_path

    @property
    def part_paths(self) -> list[str]:
        """The files of a film that follow the first one."""
        return list(self.parts)

    def renew_id(self) -> None:
        """Leave the id as it is: it follows from type and path."""


def _tag(image: Entry) -> str:
    return hashlib.md5(f"{image.path}|{image.modified:.3f}".encode(), usedforsecurity=False).hexdigest()


# The stand-in does not look into video files.
_PROBED_MINUTES = 90
FETCHED = "metadata fetched from the internet"


@dataclass(slots=True)
class ScanResult:
    """What a scan of a library found. ``kept`` are folders that could not be read: their items stay."""

    library: str
    at: float
    replace: bool
    found: list[Found]
    kept: list[str]


class Scanner:
    """Reads libraries from the disk, and keeps their items."""

    def __init__(self, state: SimulatorState, disk: ServerDisk) -> None:
        self._state = state
        self._disk = disk
        self._rules = state.settings.rules
        self._reader = FolderReader(disk, state.counters.note_unmodelled)
        self._new: list[ScannedItem] = []

    # Reading

    def read(self, library: WorldLibrary, options: dict[str, Any], replace: bool, conflicts: set[str]) -> ScanResult:
        """Read a library from the disk.

        Args:
            library: the library.
            options: its options.
            replace: whether everything is read again, and what is in no file is forgotten.
            conflicts: its locations that count as duplicates of other libraries' locations.
        """
        now = self._state.clock.now()
        result = ScanResult(library.name, now, replace, *self._reader.read(library, options, conflicts))
        for found in every_found(result.found):
            self._read_metadata(found, replace)
        return result

    def _read_metadata(self, found: Found, replace: bool) -> None:
        """Read the NFO file if the server would."""
        if found.nfo_file is None or not self._wants_nfo(found, replace):
            return
        content = self._disk.read(found.nfo_file.path)
        if content is None:
            return
        found.nfo = read_nfo(content, found.kind)
        for gap in sorted(found.nfo.unmodelled):
            self._state.counters.note_unmodelled(f"the stand-in does not model <{gap}> in {found.nfo_file.path}")

    def _wants_nfo(self, found: Found, replace: bool) -> bool:
        item = self._item(found.item_id)
        if item is None or not item.present:
            return True
        if item.locked and self._rules.skips_nfo_of_locked:
            return False
        assert found.nfo_file is not None
        return replace or found.nfo_file.modified - item.saved > self._rules.nfo_tolerance

    def _item(self, item_id: str) -> ScannedItem | None:
        item = self._state.catalogue.by_id.get(item_id)
        return item if isinstance(item, ScannedItem) else None

    # Applying

    def apply(
        self,
        result: ScanResult,
        library: WorldLibrary,
        options: dict[str, Any],
        only: str | None = None,
        *,
        since: int = 0,
        until: int | None = None,
    ) -> None:
        """Apply the result of a scan, or the part that has been read so far.

        Args:
            result: what was found.
            library: the library as it is now.
            options: its options.
            only: the id of the item to refresh, with what is below it; None: the whole library.
            since: films and episodes that were applied before.
            until: films and episodes that have been read; None: all, so that what was not found is gone.
        """
        passed = 0
        for found in result.found:
            if only is not None and not any(each.item_id == only for each in every_found([found])):
                continue
            first, passed = passed, passed + len(playable([found]))
            if until is not None and first >= until:
                break
            if passed <= since and first < passed:
                continue
            if found.kind == "Movie":
                self._keep_film(found, library, options, result)
            else:
                self._keep_series(_beginning(found, until and until - first), library, options, result)
        if only is None and until is None:
            seen = {each.item_id for each in every_found(result.found)}
            kept = tuple(f"{root}/" for root in result.kept)
            gone = [
                item
                for item in self.items_of(library)
                if item.id not in seen and not f"{item.server_path}/".startswith(kept)
            ]
            self._remove(gone)
        self._state.catalogue.version += 1
        new, self._new = self._new, []
        self._state.sharing.inherit(new)

    def items_of(self, library: WorldLibrary) -> list[ScannedItem]:
        """Return the scanned items of a library that are present."""
        return [
            item
            for item in self._state.catalogue.every_item()
            if isinstance(item, ScannedItem) and item.present and item.library is library
        ]

    def forget(self, library: WorldLibrary) -> None:
        """Delete all items of a library."""
        self._remove(self.items_of(library))
        self._state.catalogue.version += 1

    def _remove(self, items: list[ScannedItem]) -> None:
        for item in items:
            item.present, item.primary = False, None

    def _keep_film(self, found: Found, library: WorldLibrary, options: dict[str, Any], result: ScanResult) -> None:
        film = self._keep(found, library, options, result)
        film.primary, film.parts = None, found.parts

    def _keep_series(self, found: Found, library: WorldLibrary, options: dict[str, Any], result: ScanResult) -> None:
        series = self._keep(found, library, options, result)
        seasons: list[Season] = []
        for part in found.children:
            season = self._keep(part, library, options, result, series)
            episodes = [self._keep(each, library, options, result, series) for each in part.children]
            episodes.sort(key=lambda episode: (episode.episode or 0, episode.server_path))
            for episode in episodes:
                # The season in an NFO file does not override the folder.
                episode.season = season.season
            seasons.append(Season(season, list(episodes)))
        seasons.sort(key=lambda season: season.item.season or 0)
        series.specials = next((season for season in seasons if season.item.season == 0), None)
        series.seasons = [season for season in seasons if season.item.season != 0]
        for user in self._state.users.values():
            user.recount(series)

    def _keep(
        self, found: Found, library: WorldLibrary, options: dict[str, Any], result: ScanResult,
        series: ScannedItem | None = None,
    ) -> ScannedItem:  # fmt: skip
        """Make or update the item of a file or folder."""
        catalogue = self._state.catalogue
        item = self._item(found.item_id)
        is_new = item is None or not item.present
        if item is None:
            item = ScannedItem(len(catalogue.every_item()), found, library, result.at)
            catalogue.include(item)
        item.library = library
        changed = is_new
        if is_new:
            item.present, item.series = True, series
            item.locked = False
            item.created = self._date(found)
            item.season, item.episode, item.episode_end = found.season, found.episode, found.episode_end
            item.values, item.own_provider_ids = self._values_of(found), {}
            item.image, item.artwork = None, {}
        elif found.entry.modified != item.file_modified and not found.entry.is_folder:
            changed = True
            if self._rules.resets_date_of_changed_files:
                item.created = self._date(found)
        item.file_modified = found.entry.modified
        item.target = found.entry.target or None
        item.strm = found.strm
        self._probe(item, found)
        if found.nfo is not None:
            changed = True
            if result.replace and not is_new:
                item.values, item.own_provider_ids = self._values_of(found), {}
                item.forced_sort_name = None
            # With a saver, the server writes its own file first, and reads that.
            if not (result.replace and not is_new and options.get("MetadataSavers") is None):
                self._merge(item, found.nfo)
        if is_new:
            self._fetch(item, options)
        if _differs(item.image, found.image):
            item.image = found.image
            changed = True
        kinds = item.artwork.keys() | found.artwork.keys()
        if any(_differs(item.artwork.get(kind), found.artwork.get(kind)) for kind in kinds):
            item.artwork = found.artwork
            changed = True
        if changed:
            item.saved = result.at
            self._describe(item)
        if is_new:
            self._new.append(item)
        return item

    def _date(self, found: Found) -> float:
        entry = found.entry
        return entry.link_created if entry.is_link and not self._rules.dates_links_by_target else entry.created

    def _probe(self, item: ScannedItem, found: Found) -> None:
        """Set the length, which a STRM file does not have until it is played."""
        if found.kind not in ("Movie", "Episode"):
            return
        if found.strm is not None:
            item.runtime_ticks = None
        elif found.entry.original is not None:
            item.runtime_ticks = found.entry.original.runtime_ticks
        else:
            item.runtime_ticks = _PROBED_MINUTES * TICKS_PER_MINUTE

    @staticmethod
    def _values_of(found: Found) -> dict[str, Any]:
        values: dict[str, Any] = {"name": found.name}
        if found.year is not None:
            values["year"] = found.year
        return values

    def _merge(self, item: ScannedItem, nfo: Nfo) -> None:
        """Take over what an NFO file says."""
        for name, value in nfo.values.items():
            if name == "created":
                item.created = value
            elif value not in ("", [], None):
                item.values[name] = value
        ids = dict(item.own_provider_ids or {})
        for name, value in nfo.provider_ids.items():
            set_provider_id(ids, name, value)
        item.own_provider_ids = ids
        # Once locked, an item stays locked.
        item.locked = item.locked or bool(nfo.locked)

    def _fetch(self, item: ScannedItem, options: dict[str, Any]) -> None:
        """Count that the server would complete an item from the internet, as the library's options let it."""
        if item.locked or any(
            each.get("Type") == item.kind and not each.get("MetadataFetchers")
            for each in options.get("TypeOptions") or ()
        ):
            return
        self._state.counters.count_costly(self._state.settings.media_server, FETCHED)

    def _describe(self, item: ScannedItem) -> None:
        """Make what the server says of an item from its metadata."""
        values = item.values
        item.name = values.get("name") or item.name
        item.title = WorldTitle(
            item.title.key,
            item.title.media_type,
            item.name,
            year=values.get("year"),
            original_title=values.get("original_title"),
            genres=tuple(dict.fromkeys(values.get("genres", ()))),
            overview=values.get("overview", ""),
            tagline=values.get("tagline", ""),
            cast=tuple(CastMember(name, role) for name, role in values.get("cast", ())),
            directors=tuple(values.get("directors", ())),
            writers=tuple(values.get("writers", ())),
            companies=tuple(values.get("studios", ())),
            countries=tuple(values.get("countries", ())),
            release_date=values.get("premiere"),
            status=values.get("status"),
            official_rating=values.get("custom_rating") or values.get("official_rating"),
            vote_average=values.get("rating"),
            tags=tuple(values.get("tags", ())),
        )
        item.ends = values.get("end_date")
        item.forced_sort_name = values.get("forced_sort_name")
        if item.forced_sort_name is not None:
            item.sort_name = forced_sort_name(item.forced_sort_name, as_name=self._rules.sorts_as_named)
        elif item.kind == "Season":
            item.sort_name = f"season {item.season or 0:010d}"
        else:
            item.sort_name = sort_name(values.get("sort_name") or item.name)
        if item.kind == "Episode" and isinstance(values.get("episode"), int):
            item.episode = values["episode"]


def forced_sort_name(name: str, *, as_name: bool) -> str:
    """Return how the server sorts by a forced sort name: numbers padded, in lower case; from 12 on as by a name."""
    if not as_name:
        return pad_numbers(name.lower())
    return sort_name(re.sub(r"[.+%]", " ", re.sub(r"[,&{}'-]", "", name.strip())))


def playable(found: Iterable[Found], only: str | None = None) -> list[Found]:
    """Return the films and episodes of what was found; ``only``: of the film or series with this item."""
    return [
        each
        for one in found
        if only is None or any(below.item_id == only for below in every_found([one]))
        for each in ([one] if one.kind == "Movie" else [part for season in one.children for part in season.children])
    ]


def _beginning(series: Found, episodes: int | None) -> Found:
    """Return a series with its first episodes; None: with all."""
    if episodes is None:
        return series
    seasons: list[Found] = []
    for season in series.children:
        if episodes > 0:
            seasons.append(replace(season, children=season.children[:episodes]))
        episodes -= len(season.children)
    return replace(series, children=seasons)


def _differs(before: Entry | None, after: Entry | None) -> bool:
    if before is None or after is None:
        return before is not after
    return (before.path, before.modified) != (after.path, after.modified)
