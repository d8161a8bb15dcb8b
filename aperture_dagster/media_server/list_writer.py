"""Collections and playlists on a media server.

Facts about both servers that shaped this module:

- A collection that is created under a used name takes over the one that has it.
- An update of a collection with another ``LockData`` locks or unlocks its members, originals included.
- Ids are only accepted in the query, so they are written in batches.
- A deletion with an API key deletes anything, files included.
- Names are no proof that a list is ours: each list of ours has a stamp among its provider ids.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

from aperture_dagster.http.errors import BadAnswer, Conflict, NotFound, RequestRejected, ServiceUnavailable
from aperture_dagster.http.messages import Request, expect
from aperture_dagster.media_server.changes import MediaServerChanges, route, stored_name
from aperture_dagster.media_server.listing import IDS_PER_QUERY, id_batches, only_types
from aperture_dagster.media_server.published_items import MARKER, ListType, marker_of, parse_list
from aperture_dagster.media_server.records import ServerList
from aperture_dagster.media_server.values import (
    parse_id,
)

DisplayOrder = Literal["Default", "SortName", "PremiereDate"]


_NAMES: dict[ListType, str] = {"BoxSet": "collection", "Playlist": "playlist"}


class ListWriter(MediaServerChanges):
    """The part of a writer that is about collections and playlists."""

    def collections(self) -> list[ServerList]:
        """Return all collections of the server, those of others included."""
        return self._lists("BoxSet", None)

    def playlists(self, user_id: str | None) -> list[ServerList]:
        """Return all playlists that a user sees (their own, shared and public ones); None: those of everybody."""
        return self._lists("Playlist", user_id)

    def _lists(self, list_type: ListType, user_id: str | None) -> list[ServerList]:
        query = {"IncludeItemTypes": list_type, "Fields": "ProviderIds", "EnableImages": "false"}
        what = f"{self.reader.product}'s list of {_NAMES[list_type]}s"
        return self._all(self._items(query, user_id), only_types(list_type, parse_list), what)

    def create_collection(self, name: str, item_ids: Sequence[str]) -> str:
        """Create a collection and return its id; empty in a dry run.

        It is locked: unlocked, Jellyfin searches TMDb for its name, and takes over what it finds.

        Args:
            name: not used by any collection.
            item_ids: its members in order; at least one, since Emby does not keep an empty collection.

        Raises:
            Conflict: the name is used.
            RequestRejected: one of the items does not exist; no collection is left behind.
        """
        query = {"Name": name, "IsLocked": "true", "Ids": ",".join(item_ids[:IDS_PER_QUERY]) or None}
        request = self._request("POST", "/Collections", query, patient=True)
        list_id = self._create("BoxSet", name, request, self.collections)
        if rest := item_ids[IDS_PER_QUERY:]:
            self.add_to_collection(list_id, rest)
        return list_id

    def create_playlist(self, name: str, user_id: str, item_ids: Sequence[str]) -> str:
        """Create a private playlist of a user and return its id; empty in a dry run.

        A server leaves out ids that it does not know or that the user may not see, and puts the episodes in place of a
        series: read the entries afterwards.

        Raises:
            Conflict: the user sees a playlist of this name.
        """
        first, rest = item_ids[:IDS_PER_QUERY], item_ids[IDS_PER_QUERY:]
        request = self._playlist_request(name, user_id, first)
        list_id = self._create("Playlist", name, request, lambda: self.playlists(user_id))
        if rest:
            self.add_to_playlist(list_id, user_id, rest)
        return list_id

    @abstractmethod
    def _playlist_request(self, name: str, user_id: str, item_ids: Sequence[str]) -> Request:
        """Return the request that creates a playlist."""

    def _create(self, list_type: ListType, name: str, request: Request, read: Callable[[], list[ServerList]]) -> str:
        """Create a list, whose name must be free, and return its id."""
        kind, used = _NAMES[list_type], stored_name(name).casefold()

        def find() -> ServerList | None:
            return next((one for one in read() if stored_name(one.name).casefold() == used), None)

        if find() is not None:
            raise Conflict(
                f"The {kind} {name!r} on {self.reader.product} was not made here and was left alone: "
                "rename it, or choose another name in the settings."
            )
        try:
            answer = self._write(f"{kind}_created", f"create the {kind} {name!r}", request)
        except (ServiceUnavailable, RequestRejected) as error:
            # It may have been created all the same; another attempt would make a second one.
            made = find()
            if made is not None and isinstance(error, ServiceUnavailable):
                return made.list_id
            if made is not None and list_type == "BoxSet" and not self.collection_items(made.list_id):
                # Jellyfin refused an item, but made the collection. Left there, its name would never be free again.
                self._delete(made, f"delete the collection {name!r}, which is empty since an item was refused")
            raise
        if answer is None:
            return ""
        return parse_id(expect(answer.json(), dict, f"the new {kind}").get("Id"))

    def collection_items(self, collection_id: str) -> list[str]:
        """Return the ids of all members, whatever a user sees of them.

        In the order of adding only with :attr:`lists_collections_in_order`.
        """
        query = {"ParentId": collection_id, "EnableImages": "false"}
        what = f"{self.reader.product}'s list of a collection"
        return self._all(self._items(query), lambda item: parse_id(item.get("Id")), what)

    def known_items(self, item_ids: Sequence[str], user_id: str | None = None) -> set[str]:
        """Return those of some ids that a user may see, or without a user, those that the server has."""
        known: set[str] = set()
        for ids in id_batches(item_ids):
            answer = self._items({"Ids": ids, "EnableImages": "false"}, user_id)
            known.update(self._all(answer, lambda item: parse_id(item.get("Id")), "the list of requested items"))
        return known

    def add_to_collection(self, collection_id: str, item_ids: Sequence[str]) -> None:
        """Add members, in order. Those that it has already are left out by the server.

        Raises:
            RequestRejected: one of a batch of items does not exist, and none of that batch was added.
        """
        path = self._list_path("/Collections/{}/Items", collection_id)
        what = f"add {{}} items to the collection {collection_id}"
        add = partial(self._request, "POST", path, repeatable=True)
        self._write_batches("collection_items_added", what, lambda ids: add({"Ids": ids}), item_ids)

    def remove_from_collection(self, collection_id: str, item_ids: Sequence[str]) -> None:
        """Remove members."""
        path = self._list_path("/Collections/{}/Items", collection_id)
        what = f"remove {{}} items from the collection {collection_id}"
        remove = partial(self._request, "DELETE", path)
        self._write_batches("collection_items_removed", what, lambda ids: remove({"Ids": ids}), item_ids)

    def playlist_entries(self, playlist_id: str, user_id: str) -> list[tuple[str, str]]:
        """Return the ids of the entries and of their items, in order.

        From Jellyfin 10.10 on they are the same, so that removing an entry removes every copy of its item.
        """
        answer = self._get(route("/Playlists/{}/Items", playlist_id), {"UserId": user_id, "EnableUserData": "false"})

        def parse(item: dict[str, Any]) -> tuple[str, str]:
            item_id = parse_id(item.get("Id"))
            entry = item.get("PlaylistItemId")
            return (parse_id(entry, "PlaylistItemId") if entry is not None else item_id), item_id

        what = f"{self.reader.product}'s list of a playlist"
        return self._all(expect(answer, dict, what), parse, what)

    def add_to_playlist(self, playlist_id: str, user_id: str, item_ids: Sequence[str]) -> None:
        """Add items at the end, in order.

        Never repeated after a failure, because some versions would add the items twice: read the entries, then add
        what is missing.
        """
        path = self._list_path("/Playlists/{}/Items", playlist_id)
        what = f"add {{}} items to the playlist {playlist_id}"
        add = partial(self._request, "POST", path)
        self._write_batches("playlist_items_added", what, lambda ids: add({"Ids": ids, "UserId": user_id}), item_ids)

    def remove_from_playlist(self, playlist_id: str, user_id: str, entry_ids: Sequence[str]) -> None:
        """Remove entries. ``user_id``, the owner, is not sent: an API key removes entries of any playlist.

        Raises:
            RequestRejected: this server cannot; see :attr:`can_remove_playlist_entries`.
        """
        if not self.can_remove_playlist_entries:
            raise RequestRejected(f"{self.reader.product} removes no entries of playlists with an API key")
        path = self._list_path("/Playlists/{}/Items", playlist_id)
        what = f"remove {{}} entries from the playlist {playlist_id}"
        remove = partial(self._request, "DELETE", path)
        self._write_batches("playlist_items_removed", what, lambda ids: remove({"EntryIds": ids}), entry_ids)

    def _list_path(self, pattern: str, list_id: str) -> str:
        # In a dry run, a list that would have been created has no id.
        return route(pattern, list_id or "new") if self.dry_run else route(pattern, list_id)

    def stamp(self, list_id: str, marker: str, *, user_id: str | None = None) -> None:
        """Mark a list as ours; a list that has this stamp is not written.

        Args:
            list_id: of a collection or playlist.
            marker: which one it is.
            user_id: the owner of a playlist. Emby shows an item only as a user sees it.

        Raises:
            NotFound: there is no such list.
            Conflict: the id is not that of a list.
        """
        if self.dry_run and not list_id:
            self._write("stamped", f"stamp the new list as {marker!r}", self._request("POST", "/Items/new"))
            return
        item = self._list(list_id, user_id)
        if marker_of(item) == marker:
            return
        others = {
            name: value for name, value in (item.get("ProviderIds") or {}).items() if name.lower() != MARKER.lower()
        }
        changed = item | {"ProviderIds": others | {MARKER: marker}}
        self._update_item("stamped", f"stamp {item.get('Name')!r} as {marker!r}", changed)

    def set_display_order(self, collection_id: str, order: DisplayOrder) -> None:
        """Set the order in which a collection is shown, if it differs and the server knows this order.

        Raises:
            NotFound: there is no such collection.
            Conflict: the id is not that of a collection.
        """
        if (order == "Default" and not self.keeps_collection_order) or (self.dry_run and not collection_id):
            return
        item = self._list(collection_id, None, "BoxSet")
        if item.get("DisplayOrder") != order:
            what = f"show the collection {item.get('Name')!r} in the order {order}"
            self._update_item("display_order", what, item | {"DisplayOrder": order})

    def _list(self, list_id: str, user_id: str | None, *types: ListType) -> dict[str, Any]:
        item = self._whole_item(list_id, user_id)
        if item is None:
            raise NotFound(f"{self.reader.product} has no list with the id {list_id}")
        self._check_type(item, *types)
        return item

    def _check_type(self, item: dict[str, Any], *types: ListType) -> None:
        accepted = types or tuple(_NAMES)
        if item.get("Type") not in accepted:
            raise Conflict(
                f"{item.get('Name')!r} on {self.reader.product} (id {item.get('Id')}) is of type {item.get('Type')}, "
                f"not {' or '.join(accepted)}; it was left alone."
            )

    def delete_list(
        self, list_id: str, *, expected_type: ListType, marker: str | None, user_id: str | None = None
    ) -> None:
        """Delete a collection or playlist of ours; its members remain. One that is gone is no error.

        Args:
            list_id: its id.
            expected_type: its type.
            marker: the stamp that it must have.
            user_id: the owner of a playlist; see :meth:`stamp`.

        Raises:
            Conflict: it has another type or another stamp, and was not deleted.
        """
        item = self._whole_item(list_id, user_id)
        if item is not None:
            self._check_type(item, expected_type)
            one = parse_list(item)
        else:
            # Emby shows a private playlist to its owner alone, who may have been deleted.
            one = next((each for each in self._lists(expected_type, None) if each.list_id == list_id), None)
        if one is None:
            return
        if marker is None or one.marker != marker:
            raise Conflict(
                f"The {_NAMES[expected_type]} {one.name!r} on {self.reader.product} (id {list_id}) is not "
                f"stamped as {marker!r} but as {one.marker!r}; it was not deleted."
            )
        self._delete(one, f"delete the {_NAMES[expected_type]} {one.name!r}")

    def _delete(self, one: ServerList, what: str) -> None:
        if one.list_type not in _NAMES:
            raise BadAnswer(f"{one.name!r} is of type {one.list_type}; it was not deleted")
        try:
            self._write(
                f"{_NAMES[one.list_type]}_deleted", what, self._request("DELETE", route("/Items/{}", one.list_id))
            )
        except NotFound:
            # Gone already, perhaps with the first attempt, whose answer was lost.
            return
