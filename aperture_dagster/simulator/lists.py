"""Box sets and playlists: items whose members are other items."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from aperture_dagster.simulator.catalogue import (
    CREATED_WITHIN_DAYS,
    Catalogue,
    Item,
    file_name,
    sort_name,
    stable_number,
)
from aperture_dagster.simulator.members import Member, Ownership
from aperture_dagster.simulator.user_data import episodes_of
from aperture_dagster.simulator.world import BoxSet, WorldLibrary, WorldTitle

PLAYLISTS = WorldLibrary("Playlists", "playlists", ("/config/data/playlists",))
"""Where playlists are: a folder of the server's own, which is no library for clients."""


class Lists:
    """The box sets and playlists of a catalogue."""

    def __init__(
        self, catalogue: Catalogue, box_sets: Iterable[BoxSet], clock: Callable[[], float], *, drops_removed: bool
    ) -> None:
        self._catalogue = catalogue
        self._drops_removed = drops_removed
        self._clock = clock
        self._entries = 0
        for box_set in box_sets:
            self._make_box_set(box_set)

    def by_member(self) -> dict[int, list[Item]]:
        """Return the box sets of each item, by the item's slot."""
        found: dict[int, list[Item]] = {}
        for box_set in self._catalogue.items("BoxSet"):
            for member in box_set.members:
                found.setdefault(member.item.slot, []).append(box_set)
        return found

    def members_of(self, item: Item) -> list[Member]:
        """Return the entries of a box set or playlist whose items are on the server now.

        Links to removed items are lost for good from Jellyfin 12 on. Before, they count again when the item returns.
        """
        if self._drops_removed:
            item.members = [member for member in item.members if member.item.present]
        return [member for member in item.members if self._catalogue.find(member.item.id) is member.item]

    def member(self, item: Item) -> Member:
        """Make an entry for a box set or playlist."""
        self._entries += 1
        return Member(item, self._entries)

    def collections_library(self) -> WorldLibrary:
        """Return the library of box sets, which a server creates with the first one."""
        library = next((each for each in self._catalogue.libraries if each.collection_type == "boxsets"), None)
        if library is None:
            taken = {each.name for each in self._catalogue.libraries}
            names = ("Collections", *(f"Collections{number}" for number in range(2, 100)))
            name = next(name for name in names if name not in taken)
            library = WorldLibrary(name, "boxsets", ("/config/data/collections",))
            self._catalogue.libraries.append(library)
        return library

    def _make_box_set(self, box_set: BoxSet) -> None:
        title = WorldTitle("", "movie", box_set.name, tmdb_id=box_set.tmdb_id, tags=())
        age = stable_number(f"boxset:{box_set.name}") % (CREATED_WITHIN_DAYS * 86_400) + 1
        created = self._catalogue.today.timestamp() - age
        item = self.add("BoxSet", title, f"{file_name(box_set.name)} [boxset]", created)
        item.members = [self.member(top) for key in box_set.title_keys for top in self._catalogue.top_items(key)]

    def add(self, kind: str, title: WorldTitle, folder: str, created: float) -> Item:
        """Add an empty box set or playlist; its id follows from its folder, and replaces an item with the same id."""
        library = PLAYLISTS if kind == "Playlist" else self.collections_library()
        path = f"{library.locations[0]}/{folder}"
        title = replace(title, key=f"{kind.lower()}:{path}")
        item = self._catalogue.make_item(kind, title, title.title, library, created)
        item.sort_name = sort_name(title.title)
        item.folder = path
        self._catalogue.version += 1
        return item

    def create_box_set(self, name: str, *, locked: bool) -> Item:
        """Create an empty box set. One in the same folder, and so with the same id, is overwritten."""
        title, folder = WorldTitle("", "movie", name, tags=()), file_name(f"{name} [boxset]")
        item = self.add("BoxSet", title, folder, self._clock())
        item.locked = locked
        return item

    def create_playlist(self, name: str, ownership: Ownership) -> Item:
        """Create an empty playlist. Names may repeat: ``1`` is appended to the folder until it is unique."""
        taken = {item.folder for item in self._catalogue.items("Playlist")}
        folder = file_name(name)
        while f"{PLAYLISTS.locations[0]}/{folder}" in taken:
            folder += "1"
        item = self.add("Playlist", WorldTitle("", "movie", name, tags=()), folder, self._clock())
        item.ownership = ownership
        return item

    def add_members(self, target: Item, items: Iterable[Item]) -> None:
        """Add items at the end of a box set or playlist."""
        target.members += [self.member(item) for item in items]
        self.touch(target)

    def keep(self, target: Item, wanted: Callable[[Member], bool]) -> None:
        """Keep some of the entries of a box set or playlist, and remove the others."""
        target.members = [member for member in target.members if wanted(member)]
        self.touch(target)

    def touch(self, target: Item) -> None:
        """Record a change of a box set or playlist; a box set has the lowest of its members' official ratings."""
        if target.kind == "BoxSet":
            rated = [item for member in self.members_of(target) if (item := member.item).title.official_rating]
            lowest = min(rated, key=lambda item: 1_001 if item.rating_age is None else item.rating_age, default=None)
            if lowest is not None:
                target.title = replace(target.title, official_rating=lowest.title.official_rating)
        target.saved = self._clock()
        self._catalogue.version += 1

    def playable(self, item: Item) -> list[Item]:
        """Return the items that a playlist stores for an item.

        These are the episodes of a series or season, or the members of a box set.
        """
        if item.kind in ("BoxSet", "Playlist"):
            return [one for member in self.members_of(item) for one in self.playable(member.item)]
        return episodes_of(item) if item.kind in ("Series", "Season") else [item]
