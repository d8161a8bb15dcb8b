"""Items: listings, single ones, series with their seasons and episodes."""

from __future__ import annotations

import mimetypes
import posixpath
from dataclasses import replace
from typing import Any, ClassVar

from starlette.responses import Response

from aperture_dagster.simulator.catalogue import Item
from aperture_dagster.simulator.disk import Entry
from aperture_dagster.simulator.jellyfin import binding, dto
from aperture_dagster.simulator.jellyfin import dto as media
from aperture_dagster.simulator.jellyfin.access import Access, visible_to
from aperture_dagster.simulator.jellyfin.listing import (
    Listings,
    parse_item_query,
)
from aperture_dagster.simulator.opinions import jpeg, png, poster
from aperture_dagster.simulator.responses import JSONResponse
from aperture_dagster.simulator.scanner import ScannedItem
from aperture_dagster.simulator.service import Query, Request, Unmodelled
from aperture_dagster.simulator.user_data import PLAYLISTS, ServerUser
from aperture_dagster.simulator.world import WorldLibrary

_SINGLE_ITEM_FIELDS = frozenset(
    (
        "providerids", "overview", "genres", "tags", "studios", "people", "datecreated", "originaltitle",
        "productionlocations", "taglines", "sortname", "path", "parentid", "mediasources", "recursiveitemcount",
        "childcount", "externalurls", "etag", "settings",
        "customrating",
    )
)  # fmt: skip
SERIES_COUNTED = "series counted for its user data"


class ItemEndpoints:
    """Endpoints that return items.

    Args:
        access: the key check and look-ups.
        server_id: the server's id.
        listings: the listings of the server.
    """

    with_start: ClassVar[bool] = True
    """Whether a listing repeats its start index."""

    def __init__(self, access: Access, server_id: str, listings: Listings) -> None:
        self._access = access
        self._catalogue = access.state.catalogue
        self._release = access.state.settings.jellyfin_release
        self._listings = listings
        self._server_id = server_id

    def views(self, request: Request, user_id: str | None = None) -> Response:
        """``GET /UserViews``: libraries as items, as a user sees them.

        Libraries of box sets and playlists are missing unless the user sees any of their items
        (``Emby.Server.Implementations/Library/UserViewManager.cs``: ``GetUserViews``).
        """
        user = self._access.required_user(request, user_id)
        views = [library for library in self._access.libraries(user) if self._has_content(library, user)]
        if self._has_content(PLAYLISTS, user):
            views.append(PLAYLISTS)
        if not binding.boolean(request.query, "includeHidden"):
            views = [view for view in views if not self._is_named(view, user, "MyMediaExcludes")]
        return self._library_listing(sorted(views, key=lambda view: view.name.lower()))

    def people(self, request: Request) -> Response:
        """``GET /Persons``: people by name (``PersonsController.cs``), of whichever titles; case does not count."""
        query = request.query
        term, kinds = (query.get("searchTerm") or "").lower(), query.split("personTypes")
        self._access.required_user(request)
        found: dict[str, str] = {}
        for kind in ("Movie", "Series"):
            for item in self._catalogue.items(kind):
                for person in dto.people_of(item):
                    if term in person["Name"].lower() and (not kinds or person["Type"] in kinds):
                        found.setdefault(person["Name"], person["Id"])
        people = [{"Name": name, "Id": found[name], "Type": "Person"} for name in sorted(found)]
        return binding.listing(query, people, list)

    def _has_content(self, library: WorldLibrary, user: ServerUser) -> bool:
        kind = {"boxsets": "BoxSet", "playlists": "Playlist"}.get(library.collection_type)
        return kind is None or any(map(visible_to(user), self._catalogue.items(kind)))

    def _names_of(self, library: WorldLibrary) -> list[str]:
        """Return the ids that stand for a library in a user's configuration."""
        return [library.item_id]

    def _is_named(self, library: WorldLibrary, user: ServerUser, name: str) -> bool:
        return any(one in user.configuration.get(name, ()) for one in self._names_of(library))

    def _libraries(self, user: ServerUser | None) -> Response:
        return self._library_listing(self._access.libraries(user))

    def listing(self, request: Request, user_id: str | None = None) -> Response:
        """``GET /Items``: without ``recursive`` and a parent, the libraries."""
        user = self._access.user(request, user_id)
        query = parse_item_query(request.query)
        if query.parent == PLAYLISTS.item_id:
            query = replace(query, kinds=("Playlist",), recursive=True)
        if query.kinds in (("BoxSet",), ("Playlist",)):
            # They are in libraries of their own.
            query = replace(query, parent=None)
        is_library = any(library.item_id == query.parent for library in self._access.libraries())
        if self._release >= (12, 0) and is_library and query.kinds and request.query.get("recursive") is None:
            query = replace(query, recursive=True)
        if not query.recursive and not query.ids and query.parent is None:
            # From 12 on, other types are searched for among the libraries; before, the types are ignored.
            return self._page(request, [], user) if self._release >= (12, 0) and query.kinds else self._libraries(user)
        if query.ids and not query.kinds:
            found = [library for library in self._access.libraries(user) if library.item_id in query.ids]
            if found:
                # Libraries are items, too. Mixed with other items, they are not modelled.
                if len(found) < len(query.ids):
                    raise Unmodelled("ids of libraries and of other items at once")
                fields = frozenset(name.lower() for name in request.query.split("fields"))
                images = binding.boolean(request.query, "enableImages") is not False
                return self._library_listing(found, fields, images=images)
        return self._page(request, self._listings.items(query, user), user)

    def _library_listing(
        self, libraries: list[WorldLibrary], fields: frozenset[str] = frozenset(), *, images: bool = True
    ) -> Response:
        return binding.listing(
            Query(""),
            libraries,
            lambda page: [self._library_dto(library, fields, images=images) for library in page],
            with_start=self.with_start,
        )

    def _library_dto(
        self, library: WorldLibrary, fields: frozenset[str] = frozenset(), *, images: bool = True
    ) -> dict[str, Any]:
        found = dto.library_dto(library, self._server_id, fields, images=images)
        return self._with_pictures([found], [library.item_id])[0] if images else found

    def _page(self, request: Request, items: list[Item], user: ServerUser | None) -> Response:
        return binding.listing(
            request.query, items, lambda page: self.dtos(request, page, user), with_start=self.with_start
        )

    def dtos(self, request: Request, items: list[Item], user: ServerUser | None) -> list[dict[str, Any]]:
        """Return items with the fields that a request asks for."""
        query = request.query
        fields = frozenset(name.lower() for name in query.split("fields"))
        if unmodelled := fields - dto.FIELDS:
            raise Unmodelled(f"fields={','.join(sorted(unmodelled))}")
        images = binding.boolean(query, "enableImages") is not False
        owner = None if binding.boolean(query, "enableUserData") is False else user
        if owner is not None and self._release < (12, 0):
            # Each of them costs a query that counts its unplayed episodes
            # (MediaBrowser.Controller/Entities/Folder.cs: FillUserDataDtoValues).
            for _ in (item for item in items if item.kind in ("Series", "Season")):
                self._access.state.counters.count_costly("jellyfin", SERIES_COUNTED)
        facts = {"server_id": self._server_id, "user": owner, "images": images, "counted": self._release >= (12, 0)}
        found = [dto.item_dto(item, fields, **facts) for item in items]
        return self._with_pictures(found, [item.id for item in items]) if images else found

    def whole(self, item: Item) -> dict[str, Any]:
        """Return an item with all fields, without anybody's data."""
        return dto.item_dto(item, _SINGLE_ITEM_FIELDS, server_id=self._server_id)

    def _with_pictures(self, dtos: list[dict[str, Any]], numbers: list[str]) -> list[dict[str, Any]]:
        """Add the tags of uploaded pictures."""
        wanted = set(numbers)
        tags: dict[str, dict[str, str]] = {}
        for (owner, number, image_type), picture in self._access.state.pictures.items():
            if owner == "item" and number in wanted:
                tags.setdefault(number, {})[image_type.capitalize()] = picture.tag
        for one, number in zip(dtos, numbers, strict=True):
            if number in tags:
                one["ImageTags"] = {**one.get("ImageTags", {}), **tags[number]}
        return dtos

    def single(self, request: Request, item_id: str, user_id: str | None = None) -> Response:
        """``GET /Items/{item_id}``: an item with all fields, or a library, as a user sees it.

        An API key has no user of its own, so it needs ``userId``.
        """
        user = self._access.required_user(request, user_id)
        wanted = binding.as_guid("itemId", item_id)
        for library in self._access.libraries(user):
            if library.item_id == wanted:
                return JSONResponse(self._library_dto(library))
        item = self._access.item(wanted, user)
        found = dto.item_dto(item, _SINGLE_ITEM_FIELDS, server_id=self._server_id, user=user)
        return JSONResponse(self._with_pictures([found], [item.id])[0])

    def parts(self, request: Request, item_id: str) -> Response:
        """``GET /Videos/{item_id}/AdditionalParts``: the files of a film that follow the first one."""
        item = self._access.item(item_id, self._access.user(request))
        parts = media.part_dtos(item, self._server_id)
        return binding.listing(Query(""), parts, list, with_start=self.with_start)

    def image(self, request: Request, item_id: str, image_type: str) -> Response:
        """``GET /Items/{item_id}/Images/{image_type}``: the primary picture, the backdrop, the logo or the thumb."""
        item, kind = self._find(item_id), image_type.capitalize()
        if item is None or (kind != "Primary" and kind not in item.artwork_files):
            return self._no_image(item_id)
        if isinstance(item, ScannedItem):
            return self._file_image(item, item.image if kind == "Primary" else item.artwork[kind])
        if kind == "Primary":
            return Response(poster(item.title.key, item.title.title), media_type="image/png")
        return _artwork(item, kind)

    def image_infos(self, request: Request, item_id: str) -> Response:
        """``GET /Items/{item_id}/Images``: the files of an item's images, apart from the primary one.

        Modelled on jellyfin/jellyfin, ``Jellyfin.Api/Controllers/ImageController.cs`` (``GetItemImageInfos``).
        """
        item = self._access.item(binding.as_guid("itemId", item_id), None)
        tags = item.artwork_tags
        return JSONResponse([
            {"ImageType": kind, **({"ImageIndex": 0} if kind == "Backdrop" else {}), "ImageTag": tags[kind],
             "Path": path, "Size": 1}
            for kind, path in item.artwork_files.items()
        ])  # fmt: skip

    def _find(self, item_id: str) -> Item | None:
        return self._catalogue.find(item_id)

    def _no_image(self, item_id: str) -> Response:
        return JSONResponse("Image not found", 404)

    def _file_image(self, item: ScannedItem, image: Entry | None) -> Response:
        if image is not None and image.original is not None:
            # A link to an image of a title of the world, which has no file on this machine.
            return _artwork(image.original, posixpath.basename(image.target).partition(".")[0].capitalize())
        content = self._access.state.libraries.disk.read(image.path) if image is not None else None
        if image is None or content is None:
            return self._no_image(item.id)
        return Response(content, media_type=mimetypes.guess_type(image.name)[0] or "application/octet-stream")


def _artwork(item: Item, kind: str) -> Response:
    """Return an image of one of the world's titles."""
    if kind == "Logo":
        return Response(png(f"{item.title.key} {kind}", 200, 80), media_type="image/png")
    return Response(jpeg(f"{item.title.key} {kind}", 192, 108), media_type="image/jpeg")
