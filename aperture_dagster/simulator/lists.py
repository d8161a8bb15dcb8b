"""Box sets and playlists: items whose members are other items."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from aperture_dagster.simulator.catalogue import (
    CREATED_WITHIN_DAYS,
    Catalogue,
    Item,
    file_name,
    sort_name,
    stable_number,
)
from aperture_dagster.simulator.members import Member
from aperture_dagster.simulator.world import BoxSet, WorldLibrary, WorldTitle

PLAYLISTS = WorldLibrary("Playlists", "playlists", ("/config/data/playlists",))
"""Where playlists are: a folder of the server's own, which is no library for clients."""


class Lists:
    """The box sets and playlists of a catalogue."""

    def __init__(self, catalogue: Catalogue, box_sets: Iterable[BoxSet] = ()) -> None:
        self._catalogue = catalogue
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
        """Return the entries of a box set or playlist whose items are on the server now."""
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
