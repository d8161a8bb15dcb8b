"""Operations on box sets, playlists and users' settings, as their owners and other programs change them."""

from __future__ import annotations

import os
import posixpath
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aperture_dagster.simulator.catalogue import Item, sort_name
from aperture_dagster.simulator.locking import Operations, locked
from aperture_dagster.simulator.members import Ownership


class ListOperations(Operations):
    """The part of the state that holds lists. Lists are named by their ids on Jellyfin."""

    @locked
    def create_box_set(self, name: str, *, locked: bool = False, keys: Iterable[str] = ()) -> str:
        """Create a box set, in place of one of the same name, and return its id. Raises KeyError for unknown titles."""
        is_first = not any(library.collection_type == "boxsets" for library in self.catalogue.libraries)
        box_set = self.lists.create_box_set(name, locked=locked)
        if is_first:
            # The first one makes the library, which starts a scan of everything.
            self.scans.start()
        self.lists.add_members(box_set, self._first_of(keys))
        return box_set.id

    @locked
    def create_playlist(
        self,
        name: str,
        *,
        owner: str | None = None,
        is_public: bool = False,
        keys: Iterable[str] = (),
        media_type: str = "Video",
    ) -> str:
        """Create a playlist of a user by name, and return its id. Raises KeyError for an unknown user or title."""
        owner_id = None if owner is None else self.user_named(owner).id
        ownership = Ownership(owner_id, is_public, media_type)
        playlist = self.lists.create_playlist(name, ownership)
        self.lists.add_members(playlist, self._first_of(keys))
        return playlist.id

    @locked
    def set_members(self, list_id: str, keys: Iterable[str]) -> None:
        """Replace the members of a box set or playlist. Raises KeyError for an unknown list or title."""
        target = self.list_of(list_id)
        items = self._first_of(keys)
        self.lists.keep(target, lambda _: False)
        self.lists.add_members(target, items)

    @locked
    def rename_list(self, list_id: str, name: str) -> None:
        """Rename a box set or playlist; its folder and its id stay. Raises KeyError for an unknown list."""
        target = self.list_of(list_id)
        target.name, target.sort_name = name, sort_name(name)
        self.lists.touch(target)

    @locked
    def members_of(self, list_id: str) -> list[str]:
        """Return the keys of the titles in a box set or playlist, in order. Raises KeyError for an unknown list."""
        return [member.item.title.key for member in self.lists.members_of(self.list_of(list_id))]

    @locked
    def names_of_lists(self, kind: str) -> list[str]:
        """Return the names of all ``BoxSet`` or all ``Playlist`` items, in the order of their creation."""
        return [item.name for item in self.catalogue.items(kind)]

    @locked
    def set_policy_fields(self, name: str, **fields: Any) -> None:
        """Change fields of a user's policy that decide nothing in the stand-ins. Raises KeyError."""
        user = self.user_named(name)
        user.policy.extra |= fields
        user.version += 1

    def list_of(self, list_id: str) -> Item:
        """Return a box set or playlist by its id on Jellyfin. Raises KeyError."""
        item = self.catalogue.find(list_id)
        if item is None or item.kind not in ("BoxSet", "Playlist"):
            raise KeyError(list_id)
        return item

    def delete_item(self, item: Item) -> None:
        """Delete an item as the server does, with its files: of a title, those of the original."""
        for each in self.catalogue.family(item):
            each.present = False
            if each.kind in ("Movie", "Episode") and not each.virtual:
                self.deleted_paths.append(each.path)
        if item.kind in ("Movie", "Series"):
            self._delete_files(item)
        for key in [key for key in self.pictures if key[:2] == ("item", item.id)]:
            del self.pictures[key]
        self.catalogue.version += 1

    def _delete_files(self, item: Item) -> None:
        """Delete a title's files, if the server sees real ones: a film's whole folder, unless it is the library's."""
        folder = item.path if item.kind == "Series" else posixpath.dirname(item.path)
        if folder in item.library.locations:
            folder = item.path
        here = self.libraries.disk.here(folder)
        if here is None or not os.path.lexists(here):
            return
        if Path(here).is_dir() and not Path(here).is_symlink():
            shutil.rmtree(here)
        else:
            Path(here).unlink()

    def _first_of(self, keys: Iterable[str]) -> list[Item]:
        return [self.catalogue.by_key[key][0] for key in keys]
