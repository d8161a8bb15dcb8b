"""Box sets and playlists of Emby, and changes of items.

Emby is closed source: parameters and fields are those of its published specification (4.8.11). It is assumed that a new
collection with the name of an existing one becomes that one, that collections without members are not kept, that new
playlists are private, and that unknown ids are ignored.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from aperture_dagster.simulator.catalogue import Item
from aperture_dagster.simulator.emby import ids
from aperture_dagster.simulator.emby.access import EmbyAccess
from aperture_dagster.simulator.emby.items import EmbyItemEndpoints
from aperture_dagster.simulator.jellyfin import binding
from aperture_dagster.simulator.jellyfin.access import json_object
from aperture_dagster.simulator.jellyfin.binding import BindingError, NotFoundError
from aperture_dagster.simulator.jellyfin.editing import EditingEndpoints
from aperture_dagster.simulator.jellyfin.visibility import allowed_to
from aperture_dagster.simulator.members import Member
from aperture_dagster.simulator.responses import JSONResponse
from aperture_dagster.simulator.service import Request
from aperture_dagster.simulator.user_data import ServerUser


class EmbyListEndpoints:
    """Endpoints that read and change box sets and playlists."""

    def __init__(self, access: EmbyAccess, items: EmbyItemEndpoints) -> None:
        self._access = access
        self._state = access.state
        self._items = items

    def create_box_set(self, request: Request) -> Response:
        """``POST /Collections``."""
        name = self._name(request)
        box_set = next((item for item in self._state.catalogue.items("BoxSet") if item.name == name), None)
        if box_set is None:
            locked = binding.boolean(request.query, "IsLocked") or False
            box_set = self._state.catalogue.by_id[self._state.create_box_set(name, locked=locked)]
        self._add(box_set, self._found(request, "Ids"))
        if not box_set.members:
            self._state.delete_item(box_set)
        return JSONResponse({"Id": ids.item_number(box_set), "Name": box_set.name})

    def add_to_box_set(self, request: Request, list_id: str) -> Response:
        """``POST /Collections/{list_id}/Items``."""
        self._add(self._find(list_id, "BoxSet"), self._found(request, "Ids"))
        return Response(status_code=204)

    def remove_from_box_set(self, request: Request, list_id: str) -> Response:
        """``DELETE /Collections/{list_id}/Items``."""
        box_set, removed = self._find(list_id, "BoxSet"), self._found(request, "Ids")
        self._state.lists.keep(box_set, lambda member: member.item not in removed)
        return Response(status_code=204)

    def create_playlist(self, request: Request) -> Response:
        """``POST /Playlists``. Without ``UserId``, the playlist has no owner, and everyone sees it."""
        user = self._access.user(request)
        created = self._state.create_playlist(
            self._name(request),
            owner=None if user is None else user.name,
            media_type=request.query.get("MediaType") or "Video",
        )
        playlist = self._state.catalogue.by_id[created]
        added = self._add_playable(playlist, self._found(request, "Ids"), user)
        return JSONResponse({"Id": ids.item_number(playlist), "Name": playlist.name, "ItemAddedCount": added})

    def playlist(self, request: Request, list_id: str) -> Response:
        """``GET /Playlists/{list_id}/Items``."""
        user, playlist = self._access.user(request), self._find(list_id, "Playlist")
        self._require(playlist, user)
        members = self._state.lists.members_of(playlist)

        def entries(page: list[Member]) -> list[dict[str, Any]]:
            found = self._items.dtos(request, [member.item for member in page], user)
            for entry, member in zip(found, page, strict=True):
                entry["PlaylistItemId"] = str(member.number)
            return found

        return binding.listing(request.query, members, entries, with_start=False)

    def add_to_playlist(self, request: Request, list_id: str) -> Response:
        """``POST /Playlists/{list_id}/Items``. An item may be added twice."""
        user, playlist = self._access.user(request), self._find(list_id, "Playlist")
        self._require(playlist, user)
        added = self._add_playable(playlist, self._found(request, "Ids"), user)
        return JSONResponse({"Id": ids.item_number(playlist), "ItemAddedCount": added})

    def remove_from_playlist(self, request: Request, list_id: str) -> Response:
        """``DELETE /Playlists/{list_id}/Items``."""
        removed = set(request.query.split("EntryIds"))
        self._state.lists.keep(self._find(list_id, "Playlist"), lambda member: str(member.number) not in removed)
        return Response(status_code=204)

    def _name(self, request: Request) -> str:
        name = request.query.get("Name")
        if name is None:
            raise BindingError("Name", "")
        return name

    def _found(self, request: Request, name: str) -> list[Item]:
        found = (ids.find_item(self._state.catalogue, number) for number in request.query.split(name))
        return [item for item in found if item is not None]

    def _find(self, number: str, kind: str) -> Item:
        item = ids.find_item(self._state.catalogue, number)
        if item is None or item.kind != kind:
            raise NotFoundError(number)
        return item

    def _require(self, playlist: Item, user: ServerUser | None) -> None:
        if user is not None and playlist.ownership is not None and not playlist.ownership.allows(user.id):
            raise NotFoundError(playlist.id)

    def _add(self, box_set: Item, items: list[Item]) -> None:
        known = {member.item.slot for member in box_set.members}
        self._state.lists.add_members(box_set, [item for item in items if item.slot not in known])

    def _add_playable(self, playlist: Item, items: list[Item], user: ServerUser | None) -> int:
        allowed = allowed_to(user) if user is not None else lambda _: True
        playable = [one for item in items if allowed(item) for one in self._state.lists.playable(item)]
        self._state.lists.add_members(playlist, playable)
        return len(playable)


class EmbyEditingEndpoints(EditingEndpoints):
    """Endpoints that change and delete items."""

    def _content(self, request: Request) -> dict[str, Any]:
        content = json_object(request)
        if "TagItems" in content:
            content["Tags"] = [tag["Name"] for tag in content["TagItems"]]
        return content
