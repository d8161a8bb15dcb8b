"""Items, user data, box sets and playlists of Emby."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from starlette.responses import Response

from aperture_dagster.simulator.catalogue import Item
from aperture_dagster.simulator.emby import dto
from aperture_dagster.simulator.emby import dto as ids
from aperture_dagster.simulator.emby.dto import EmbyAccess
from aperture_dagster.simulator.item import Member
from aperture_dagster.simulator.jellyfin import binding
from aperture_dagster.simulator.jellyfin.access import allowed_to, json_object
from aperture_dagster.simulator.jellyfin.binding import NotFoundError
from aperture_dagster.simulator.jellyfin.editing import EditingEndpoints
from aperture_dagster.simulator.jellyfin.items import ItemEndpoints
from aperture_dagster.simulator.jellyfin.listing import ItemQuery, Listings, parse_item_query
from aperture_dagster.simulator.jellyfin.users import PlaystateEndpoints
from aperture_dagster.simulator.responses import JSONResponse
from aperture_dagster.simulator.service import Request, Unmodelled
from aperture_dagster.simulator.user_data import ServerUser
from aperture_dagster.simulator.world import WorldLibrary

_ALL_FIELDS = frozenset(
    (
        "providerids", "overview", "genres", "tags", "studios", "people", "datecreated", "originaltitle",
        "productionlocations", "taglines", "sortname", "path", "parentid", "mediasources", "recursiveitemcount",
        "childcount", "productionyear", "premieredate", "enddate", "communityrating", "criticrating",
        "officialrating", "status", "userdataplaycount", "userdatalastplayeddate", "customrating", "settings",
    )
)  # fmt: skip
# Parameters that contain Emby's ids, or that differ from Jellyfin's.
_EMBY_PARAMETERS = ("ParentId", "Ids", "MinDateLastSavedForUser", "UserId", "GroupItemsIntoCollections")
LISTING_PARAMETERS = (
    "UserId", "ParentId", "Recursive", "IncludeItemTypes", "Ids", "SortBy", "SortOrder", "Filters", "IsPlayed",
    "IsFavorite", "MinDateLastSaved", "MinDateLastSavedForUser", "GroupItemsIntoCollections",
)  # fmt: skip
"""Parameters that select items; 4.8 has neither location types nor listings without a total."""
PAGE_PARAMETERS = ("StartIndex", "Limit", "Fields", "EnableImages", "EnableUserData")
# Replaces unknown ids, which must list nothing rather than everything.
_NOWHERE = "nowhere"


class EmbyItemEndpoints(ItemEndpoints):
    """Endpoints that return items."""

    with_start = False

    def __init__(self, access: EmbyAccess, server_id: str) -> None:
        super().__init__(access, server_id, Listings(access.state, "emby", None))

    def _library_dto(
        self, library: WorldLibrary, fields: frozenset[str] = frozenset(), *, images: bool = True
    ) -> dict[str, Any]:
        found = dto.library_dto(library, self._catalogue, self._server_id)
        return self._with_pictures([found], [library.item_id])[0]

    def _names_of(self, library: WorldLibrary) -> list[str]:
        # Which of its ids a configuration has is not known.
        return [library.item_id, ids.library_number(self._catalogue, library)]

    def listing(self, request: Request, user_id: str | None = None) -> Response:
        """``GET /Items`` and ``GET /Users/{user_id}/Items``: without ``Recursive`` and a parent, the libraries."""
        user = self._access.user(request, user_id)
        query = self._query(request)
        if not query.recursive and not query.ids and query.parent is None:
            return self._libraries(user)
        if query.user_saved_from is not None and user is None:
            return self._page(request, [], user)
        return self._page(request, self._listings.items(query, user), user)

    def _query(self, request: Request) -> ItemQuery:
        query = request.query
        parsed = parse_item_query(query.without(*_EMBY_PARAMETERS))
        return replace(
            parsed,
            parent=self._parent(query.get("ParentId")),
            ids=self._item_ids(query.split("Ids")) or ((_NOWHERE,) if query.get("Ids") else ()),
            user_saved_from=binding.moment(query, "MinDateLastSavedForUser"),
            collapse=binding.boolean(query, "GroupItemsIntoCollections"),
        )

    def _parent(self, number: str | None) -> str | None:
        if number is None:
            return None
        library = self._access.library(number)
        if library is not None:
            return library.item_id
        item = ids.find_item(self._catalogue, number)
        return _NOWHERE if item is None else item.id

    def _item_ids(self, numbers: list[str]) -> tuple[str, ...]:
        found = (ids.find_item(self._catalogue, number) for number in numbers)
        return tuple(item.id for item in found if item is not None)

    def dtos(self, request: Request, items: list[Item], user: ServerUser | None) -> list[dict[str, Any]]:
        """Return items with the fields that a request asks for."""
        query = request.query
        fields = frozenset(name.lower() for name in query.split("Fields"))
        if unmodelled := fields - _ALL_FIELDS - dto.OTHER_FIELDS:
            raise Unmodelled(f"Fields={','.join(sorted(unmodelled))}")
        images = binding.boolean(query, "EnableImages") is not False
        owner = None if binding.boolean(query, "EnableUserData") is False else user
        found = [self._dto(item, fields, owner, images=images) for item in items]
        return self._with_pictures(found, [item.id for item in items]) if images else found

    def _dto(
        self, item: Item, fields: frozenset[str], user: ServerUser | None, *, images: bool = True
    ) -> dict[str, Any]:
        return dto.item_dto(
            item, fields, catalogue=self._catalogue, server_id=self._server_id, user=user, images=images
        )

    def single(self, request: Request, item_id: str, user_id: str | None = None) -> Response:
        """``GET /Users/{user_id}/Items/{item_id}``: an item with all fields, or a library."""
        user = self._access.user(request, user_id)
        library = self._access.library(item_id)
        if library is not None and library in self._access.libraries(user):
            return JSONResponse(self._library_dto(library))
        item = self._access.item(item_id, user)
        return JSONResponse(self._with_pictures([self._dto(item, _ALL_FIELDS, user)], [item.id])[0])

    def whole(self, item: Item) -> dict[str, Any]:
        """Return an item with all fields, without anybody's data."""
        return self._dto(item, _ALL_FIELDS, None)

    def _find(self, item_id: str) -> Item | None:
        return ids.find_item(self._catalogue, item_id)

    def _no_image(self, item_id: str) -> Response:
        raise NotFoundError(item_id)


class EmbyPlaystateEndpoints(PlaystateEndpoints):
    """Played, favourite, position."""

    def write(self, request: Request, item_id: str, user_id: str | None = None) -> Response:
        """``POST /Users/{user_id}/Items/{item_id}/UserData``: only the given fields change; the response is empty."""
        super().write(request, item_id, user_id)
        return Response(status_code=204)

    def _response(self, item: Item, user: ServerUser) -> Response:
        return JSONResponse(dto.user_data_dto(item, user, _ALL_FIELDS))


# Box sets and playlists of Emby, and changes of items.
#
# Emby is closed source: parameters and fields are those of its published specification (4.8.11). It is assumed that a
# new collection with the name of an existing one becomes that one, that collections without members are not kept, that
# new playlists are private, and that unknown ids are ignored.


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
        return JSONResponse({"Id": dto.item_number(box_set), "Name": box_set.name})

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
        return JSONResponse({"Id": dto.item_number(playlist), "Name": playlist.name, "ItemAddedCount": added})

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
        return JSONResponse({"Id": dto.item_number(playlist), "ItemAddedCount": added})

    def remove_from_playlist(self, request: Request, list_id: str) -> Response:
        """``DELETE /Playlists/{list_id}/Items``."""
        removed = set(request.query.split("EntryIds"))
        self._state.lists.keep(self._find(list_id, "Playlist"), lambda member: str(member.number) not in removed)
        return Response(status_code=204)

    def _name(self, request: Request) -> str:
        name = request.query.get("Name")
        if name is None:
            raise Unmodelled("a list without a name")
        return name

    def _found(self, request: Request, name: str) -> list[Item]:
        found = (dto.find_item(self._state.catalogue, number) for number in request.query.split(name))
        return [item for item in found if item is not None]

    def _find(self, number: str, kind: str) -> Item:
        item = dto.find_item(self._state.catalogue, number)
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
