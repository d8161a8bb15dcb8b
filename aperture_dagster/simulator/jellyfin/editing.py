"""Changing and deleting items; studios, and uploaded pictures."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, ClassVar

from starlette.responses import Response

from aperture_dagster.simulator.catalogue import Item, sort_name
from aperture_dagster.simulator.jellyfin import binding, dto
from aperture_dagster.simulator.jellyfin.access import Access, json_object
from aperture_dagster.simulator.jellyfin.binding import NotFoundError
from aperture_dagster.simulator.opinions import convert
from aperture_dagster.simulator.service import Request, Unmodelled
from aperture_dagster.simulator.state import Picture
from aperture_dagster.simulator.world import CastMember, WorldTitle

# Modelled on jellyfin/jellyfin, 10.9 to 12:
#
# - ``Jellyfin.Api/Controllers/ItemUpdateController.cs`` ``UpdateItem``: the whole object counts. What a client leaves
#   out is cleared, except for lists and provider ids; a lock that differs is passed on to the members of a box set;
# - ``Jellyfin.Api/Controllers/LibraryController.cs`` ``DeleteItem``: an API key deletes anything, with its files.


# Types of items whose changes are modelled.
_EDITABLE = ("Movie", "Series", "BoxSet", "Playlist")
# Written as they are, and cleared when missing.
_PLAIN = ("CriticRating", "CustomRating", "PreferredMetadataLanguage", "PreferredMetadataCountryCode", "AspectRatio")
_CREWS = {"Director": "directors", "Writer": "writers", "Composer": "composers", "Creator": "creators"}


class EditingEndpoints:
    """Endpoints that change and delete items."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._state = access.state

    def update(self, request: Request, item_id: str) -> Response:
        """``POST /Items/{item_id}``, with a whole BaseItemDto."""
        item = self._editable(item_id)
        content = self._content(request)
        locked = bool(content.get("LockData"))
        if locked != item.locked:
            for each in self._below(item):
                each.locked = locked
        write_item(item, content)
        item.locked = locked
        self._state.lists.touch(item)
        return Response(status_code=204)

    def delete(self, request: Request, item_id: str) -> Response:
        """``DELETE /Items/{item_id}``."""
        self._state.delete_item(self._editable(item_id))
        return Response(status_code=204)

    def _content(self, request: Request) -> dict[str, Any]:
        return json_object(request)

    def _editable(self, item_id: str) -> Item:
        if self._access.library(item_id) is not None:
            raise Unmodelled("changes of a library as an item")
        item = self._access.item(item_id, None)
        if item.kind not in _EDITABLE:
            raise Unmodelled(f"changes of a {item.kind}")
        return item

    def _below(self, item: Item) -> Iterator[Item]:
        for member in self._state.lists.members_of(item):
            yield from self._state.catalogue.family(member.item)
        yield from self._state.catalogue.family(item)


def write_item(item: Item, content: dict[str, Any]) -> None:
    """Write a whole BaseItemDto to an item, except for its lock. Raises Unmodelled."""
    title = _title(item, content)
    if content.get("DateCreated"):
        item.created = binding.parse_moment("DateCreated", str(content["DateCreated"]))
    item.name = str(content.get("Name") or "")
    item.title = title
    item.forced_sort_name = content.get("ForcedSortName") or None
    item.sort_name = sort_name(item.forced_sort_name or item.name)
    if content.get("ProviderIds") is not None:
        ids = _of_type(content, "ProviderIds", dict)
        item.own_provider_ids = {str(name): str(value) for name, value in ids.items() if value}
    item.edits |= {name: content.get(name) for name in _PLAIN}
    if item.kind in ("BoxSet", "Series"):
        item.edits["DisplayOrder"] = content.get("DisplayOrder")
    if content.get("LockedFields") is not None:
        item.edits["LockedFields"] = _of_type(content, "LockedFields", list)


def _title(item: Item, content: dict[str, Any]) -> WorldTitle:
    year, rating = content.get("ProductionYear"), content.get("CommunityRating")
    for name, value in (("ProductionYear", year), ("CommunityRating", rating)):
        if value is not None and not isinstance(value, int | float):
            raise binding.invalid(f"$.{name}", value)
    title = replace(
        item.title,
        title=str(content.get("Name") or ""),
        original_title=content.get("OriginalTitle") or None,
        overview=content.get("Overview") or "",
        vote_average=rating,
        year=year,
        release_date=str(content["PremiereDate"])[:10] if content.get("PremiereDate") else None,
        official_rating=content.get("OfficialRating") or None,
    )
    if item.kind == "Series":
        title = replace(title, status=content.get("Status"))
    lists = {"Genres": "genres", "Tags": "tags", "ProductionLocations": "countries"}
    changes: dict[str, Any] = {
        field: tuple(dict.fromkeys(_of_type(content, name, list)))
        for name, field in lists.items()
        if content.get(name) is not None
    }
    if content.get("Taglines") is not None:
        changes["tagline"] = next(iter(_of_type(content, "Taglines", list)), "") or ""
    if content.get("Studios") is not None:
        studios = tuple(dict.fromkeys(studio["Name"] for studio in _of_type(content, "Studios", list)))
        changes |= {"networks": studios if item.kind == "Series" else (), "companies": studios}
    if content.get("People") is not None:
        people = _of_type(content, "People", list)
        cast = [person for person in people if person.get("Type") in ("Actor", "GuestStar")]
        changes["cast"] = tuple(CastMember(one["Name"], one.get("Role") or "") for one in cast)
        for kind, field in _CREWS.items():
            changes[field] = tuple(person["Name"] for person in people if person.get("Type") == kind)
    return replace(title, **changes)


def _of_type(content: dict[str, Any], name: str, kind: type) -> Any:
    if not isinstance(content[name], kind):
        raise binding.invalid(f"$.{name}", content[name])
    return content[name]


# Media types that a client can upload.
_CONTENT_TYPES = ("image/png", "image/jpeg", "image/webp")
# Formats that a client can ask for (``ImageFormat``), by the name of the library that converts them.
_FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}
_IMAGE_TYPES = (
    "primary", "art", "backdrop", "banner", "logo", "thumb", "disc", "box", "screenshot", "menu", "chapter", "boxrear",
    "profile",
)  # fmt: skip


class StudioEndpoints:
    """``GET /Studios``, and pictures, which clients can upload for anything."""

    with_start: ClassVar[bool] = True
    """Whether a listing repeats its start index."""

    def __init__(self, access: Access, server_id: str, default_image: Callable[..., Response]) -> None:
        self._access = access
        self._state = access.state
        self._server_id = server_id
        self._default_image = default_image
        """Serves the pictures of items that have no uploaded one."""
        self._names_by_id: dict[str, str] = {}
        self._version = -1

    def listing(self, request: Request) -> Response:
        """``GET /Studios``: by name."""
        query = request.query
        names = {
            name for kind in ("Movie", "Series") for item in self._state.catalogue.items(kind) for name in item.studios
        }
        images = binding.boolean(query, "enableImages") is not False
        return binding.listing(
            query,
            sorted(names, key=lambda name: (name.lower(), name)),
            lambda page: [self._dto(name, images=images) for name in page],
            with_start=self.with_start,
        )

    def _dto(self, name: str, *, images: bool) -> dict[str, Any]:
        studio: dict[str, Any] = {"Name": name, "ServerId": self._server_id, "Id": self._id(name), "Type": "Studio"}
        if images:
            picture = self._state.pictures.get(("studio", name, "primary"))
            studio["ImageTags"] = {} if picture is None else {"Primary": picture.tag}
            studio["BackdropImageTags"] = []
        return studio | {"LocationType": "FileSystem", "MediaType": "Unknown"}

    def _id(self, name: str) -> str:
        return dto.name_id("studio", name)

    def _item(self, item_id: str) -> Item | None:
        return self._state.catalogue.find(binding.as_guid("itemId", item_id))

    def _studio(self, item_id: str) -> str | None:
        """Return the name of the studio with this id, if any item on the server has it."""
        catalogue = self._state.catalogue
        if self._version != catalogue.version:
            items = (item for kind in ("Movie", "Series") for item in catalogue.items(kind))
            self._names_by_id = {self._id(name): name for item in items for name in item.studios}
            self._version = catalogue.version
        return self._names_by_id.get(item_id.replace("-", "").lower())

    def _picture_key(self, item_id: str, image_type: str) -> tuple[str, str, str]:
        """Return the key of a picture in the state. Raises NotFoundError or Unmodelled."""
        if image_type.lower() not in _IMAGE_TYPES:
            raise binding.invalid("imageType", image_type)
        studio = self._studio(item_id)
        if studio is not None:
            return "studio", studio, image_type.lower()
        number = self._number(item_id)
        if number is None:
            raise NotFoundError(item_id)
        return "item", number, image_type.lower()

    def _number(self, item_id: str) -> str | None:
        """Return the id on Jellyfin of an item, or of a library."""
        item = self._item(item_id)
        library = None if item else self._access.library(item_id)
        return item.id if item else library.item_id if library else None

    def image(self, request: Request, item_id: str, image_type: str) -> Response:
        """``GET /Items/{item_id}/Images/{image_type}``: an uploaded picture, or the default one."""
        studio = self._studio(item_id)
        owner, name = ("studio", studio) if studio is not None else ("item", self._number(item_id) or "")
        picture = self._state.pictures.get((owner, name, image_type.lower()))
        if picture is not None:
            response = Response(picture.content, media_type=picture.media_type)
        else:
            response = self._default_image(request, item_id, image_type)
        return self._converted(request, response)

    def image_at(self, request: Request, item_id: str, image_type: str, image_index: str) -> Response:
        """``GET /Items/{item_id}/Images/{image_type}/{image_index}``: there is one of each type. Raises Unmodelled."""
        if image_index != "0":
            raise Unmodelled(f"GET {request.path}")
        return self.image(request, item_id, image_type)

    @staticmethod
    def _converted(request: Request, response: Response) -> Response:
        """Return a picture in the ``format`` that a client asks for. The size stays. Raises Unmodelled."""
        wanted = request.query.get("format")
        if wanted is None or response.status_code != 200:
            return response
        if wanted.lower() not in _FORMATS:
            raise binding.invalid("format", wanted)
        form = _FORMATS[wanted.lower()]
        try:
            return Response(convert(bytes(response.body), form), media_type=f"image/{form.lower()}")
        except OSError:
            # The server sends a file that it cannot read as it is.
            return response

    def set_image(self, request: Request, item_id: str, image_type: str) -> Response:
        """``POST /Items/{item_id}/Images/{image_type}``: base64, with the picture's own content type.

        Raises NotFoundError or Unmodelled.
        """
        key = self._picture_key(item_id, image_type)
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in _CONTENT_TYPES:
            raise binding.invalid("content-type", media_type)
        self._state.pictures[key] = Picture(media_type, base64.b64decode(request.content, validate=True))
        return Response(status_code=204)

    def remove_image(self, request: Request, item_id: str, image_type: str) -> Response:
        """``DELETE /Items/{item_id}/Images/{image_type}``. Raises NotFoundError or Unmodelled."""
        self._state.pictures.pop(self._picture_key(item_id, image_type), None)
        return Response(status_code=204)
