"""Box sets, which clients call collections, and playlists."""

from __future__ import annotations

import hashlib
from typing import Any

from starlette.responses import Response

from aperture_dagster.simulator.catalogue import Item
from aperture_dagster.simulator.item import Member
from aperture_dagster.simulator.jellyfin import binding
from aperture_dagster.simulator.jellyfin.access import Access, allowed_to, json_object
from aperture_dagster.simulator.jellyfin.binding import ArgumentError, NotFoundError
from aperture_dagster.simulator.jellyfin.items import ItemEndpoints
from aperture_dagster.simulator.responses import JSONResponse
from aperture_dagster.simulator.service import Request, Unmodelled, refuse_other_fields
from aperture_dagster.simulator.user_data import ServerUser

# Box sets, which clients call collections: creating them, adding and removing members.
#
# Modelled on jellyfin/jellyfin v10.9.11, v10.10.7, v10.11.11 and v12.0-rc5:
#
# - ``Jellyfin.Api/Controllers/CollectionController.cs``;
# - ``Emby.Server.Implementations/Collections/CollectionManager.cs`` ``CreateCollectionAsync`` (the folder follows from
#   the name, so a used name takes the box set over), ``EnsureLibraryFolder`` (the first one makes a library, and starts
#   a scan), ``AddToCollectionAsync`` (one unknown id, and nothing is added), ``RemoveFromCollectionAsync``;
# - ``MediaBrowser.Providers/Plugins/Tmdb/BoxSets/TmdbBoxSetProvider.cs`` ``GetMetadata``: a box set that is not locked
#   is looked up by its name.


class BoxSetEndpoints:
    """Endpoints that create and change box sets."""

    def __init__(self, access: Access) -> None:
        self._state = access.state

    def create(self, request: Request) -> Response:
        """``POST /Collections``: with an unknown id among ``ids``, an empty box set is left behind."""
        query = request.query
        name = query.get("name")
        if name is None:
            raise binding.invalid("name", name)
        if not binding.boolean(query, "isLocked"):
            # The server would take the title of the first collection that TMDb finds by this name.
            raise Unmodelled("a box set that is not locked")
        created = self._state.create_box_set(name, locked=True)
        box_set = self._state.catalogue.by_id[created]
        self._add(box_set, [number.replace("-", "").lower() for number in query.split("ids")])
        return JSONResponse({"Id": box_set.id})

    def add(self, request: Request, box_set_id: str) -> Response:
        """``POST /Collections/{box_set_id}/Items``: known members are skipped."""
        box_set = self._find(box_set_id)
        self._add(box_set, list(binding.guids(request.query, "ids")))
        return Response(status_code=204)

    def remove(self, request: Request, box_set_id: str) -> Response:
        """``DELETE /Collections/{box_set_id}/Items``: unknown ids are ignored."""
        box_set = self._find(box_set_id)
        removed = set(binding.guids(request.query, "ids"))
        self._state.lists.keep(box_set, lambda member: member.item.id not in removed)
        return Response(status_code=204)

    def _find(self, box_set_id: str) -> Item:
        item = self._state.catalogue.find(binding.as_guid("collectionId", box_set_id))
        if item is None or item.kind != "BoxSet":
            raise ArgumentError(box_set_id)
        return item

    def _add(self, box_set: Item, numbers: list[str]) -> None:
        found: list[Item] = []
        for number in numbers:
            item = self._state.catalogue.find(number)
            if item is None:
                raise ArgumentError(number)
            found.append(item)
        members = {member.item.slot for member in box_set.members}
        self._state.lists.add_members(box_set, [item for item in found if item.slot not in members])


# Playlists of users.
#
# Modelled on jellyfin/jellyfin v10.9.11, v10.10.7, v10.11.11 and v12.0-rc5:
#
# - ``Jellyfin.Api/Controllers/PlaylistsController.cs``: who may do what. An API key has no user, and where the server
#   looks for the caller's playlists, it fails with an uncaught exception ("Guid can't be empty", 400);
# - ``Emby.Server.Implementations/Playlists/PlaylistManager.cs`` ``CreatePlaylist``, ``AddToPlaylistInternal``
#   (duplicates: dropped, and kept from 12 on), ``RemoveItemFromPlaylistAsync`` (10.9: by an id
#   of the entry's own, then by the item's);
# - ``MediaBrowser.Controller/Playlists/Playlist.cs`` ``GetPlaylistItems``: a series becomes its episodes;
# - ``Jellyfin.Api/Models/PlaylistDtos/CreatePlaylistDto.cs``: playlists are public by default.


_FIELDS = ("Name", "Ids", "UserId", "MediaType", "Users", "IsPublic")


class PlaylistEndpoints:
    """Endpoints that read and change playlists."""

    def __init__(self, access: Access, items: ItemEndpoints, release: tuple[int, int]) -> None:
        self._access = access
        self._state = access.state
        self._items = items
        self._release = release

    def create(self, request: Request) -> Response:
        """``POST /Playlists``, with a JSON body."""
        content = json_object(request)
        refuse_other_fields(content, _FIELDS, "POST /Playlists")
        name, given = str(content["Name"]), content.get("UserId")
        numbers = [binding.as_guid("Ids", str(one)) for one in content.get("Ids") or ()]
        user = self._access.user(request, given) if given else None
        if user is None:
            raise ArgumentError("Guid can't be empty")
        if content.get("Users") or content.get("MediaType") != "Video":
            raise Unmodelled(f"the playlist {content}")
        created = self._state.create_playlist(name, owner=user.name, is_public=bool(content.get("IsPublic", True)))
        playlist = self._state.catalogue.by_id[created]
        self._add(playlist, numbers, user)
        return JSONResponse({"Id": playlist.id})

    def listing(self, request: Request, playlist_id: str) -> Response:
        """``GET /Playlists/{playlist_id}/Items``."""
        user, playlist = self._of_user(request, playlist_id)
        # 10.9 also shows what the user may not see.
        allowed = (lambda _: True) if self._release < (10, 10) else allowed_to(user)
        members = [member for member in self._state.lists.members_of(playlist) if allowed(member.item)]
        return binding.listing(request.query, members, lambda page: self._entries(request, page, user))

    def _entries(self, request: Request, members: list[Member], user: ServerUser) -> list[dict[str, Any]]:
        items = self._items.dtos(request, [member.item for member in members], user)
        for entry, member in zip(items, members, strict=True):
            entry["PlaylistItemId"] = self.entry_id(member)
        return items

    def entry_id(self, member: Member) -> str:
        """Return the id of an entry: up to 10.9 one of its own, then the item's."""
        if self._release >= (10, 10):
            return member.item.id
        return hashlib.md5(f"entry|{member.number}".encode(), usedforsecurity=False).hexdigest()

    def add(self, request: Request, playlist_id: str) -> Response:
        """``POST /Playlists/{playlist_id}/Items``: ids that the server does not know are skipped."""
        user, playlist = self._of_user(request, playlist_id)
        if playlist.ownership is None or not playlist.ownership.allows_edits(user.id):
            return Response(status_code=403)
        self._add(playlist, list(binding.guids(request.query, "ids")), user)
        return Response(status_code=204)

    def remove(self, request: Request, playlist_id: str) -> Response:
        """``DELETE /Playlists/{playlist_id}/Items``: from 10.11 on, an API key may do this for any user's playlist."""
        if self._release < (10, 11):
            # It would look for the caller's own playlists.
            raise ArgumentError("Guid can't be empty")
        playlist = self._found(self._find(playlist_id))
        removed = set(request.query.split("entryIds"))
        self._state.lists.keep(playlist, lambda member: self.entry_id(member) not in removed)
        return Response(status_code=204)

    def _add(self, playlist: Item, numbers: list[str], user: ServerUser) -> None:
        """Add what the user's age and tags allow, series and seasons as their episodes."""
        found = [self._state.catalogue.find(number) for number in numbers]
        allowed = allowed_to(user)
        items = [
            one for item in found if item is not None and allowed(item) for one in self._state.lists.playable(item)
        ]
        if self._release < (12, 0):
            known = {member.item.slot for member in playlist.members}
            items = list({item.slot: item for item in items if item.slot not in known}.values())
        if items:
            self._state.lists.add_members(playlist, items)

    def _find(self, playlist_id: str) -> Item | None:
        item = self._state.catalogue.find(binding.as_guid("playlistId", playlist_id))
        return item if item is not None and item.kind == "Playlist" else None

    def _found(self, playlist: Item | None) -> Item:
        if playlist is None:
            raise NotFoundError("Playlist not found")
        return playlist

    def _of_user(self, request: Request, playlist_id: str) -> tuple[ServerUser, Item]:
        """Return the user of the request and the playlist. Raises NotFoundError, also if the user does not see it."""
        user = self._access.required_user(request)
        playlist = self._find(playlist_id)
        visible = playlist is not None and playlist.ownership is not None and playlist.ownership.allows(user.id)
        return user, self._found(playlist if visible else None)
