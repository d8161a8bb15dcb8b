"""Studios as items of the media server, and pictures that clients set, on studios as on anything else."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from starlette.responses import Response

from aperture_dagster.simulator.catalogue import Item
from aperture_dagster.simulator.jellyfin import binding, dto
from aperture_dagster.simulator.jellyfin.access import Access
from aperture_dagster.simulator.jellyfin.binding import BindingError, NotFoundError
from aperture_dagster.simulator.jellyfin.listing import KINDS, visible_to
from aperture_dagster.simulator.responses import JSONResponse
from aperture_dagster.simulator.service import Request
from aperture_dagster.simulator.state import Picture

# Of all that a picture may be, what a client can set.
_CONTENT_TYPES = ("image/png", "image/jpeg", "image/webp")
_IMAGE_TYPES = (
    "primary", "art", "backdrop", "banner", "logo", "thumb", "disc", "box", "screenshot", "menu", "chapter", "boxrear",
    "profile",
)  # fmt: skip


class PictureError(Exception):
    """A picture that cannot be set: it is named as something else (400, 415), or not base64 (500)."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class StudioEndpoints:
    """``GET /Studios``, and pictures that can be set."""

    def __init__(self, access: Access, server_id: str, otherwise: Callable[..., Response]) -> None:
        self._access = access
        self._state = access.state
        self._server_id = server_id
        self._otherwise = otherwise
        """Who answers with pictures that nobody set."""
        self._names_by_id: dict[str, str] = {}
        self._version = -1

    def listing(self, request: Request) -> Response:
        """``GET /Studios``: by name, of all items or of some types of them, of a library, of what a user may see."""
        query = request.query
        kinds = [KINDS[kind.lower()] for kind in query.split("includeItemTypes") if kind.lower() in KINDS]
        parent, user = binding.guid(query, "parentId"), self._access.user(request)
        seen = visible_to(user) if user is not None else None
        text = (query.get("searchTerm") or "").lower()
        names = {
            name
            for kind in kinds or ("Movie", "Series")
            for item in self._state.catalogue.items(kind)
            if parent in (None, item.library.item_id) and (seen is None or seen(item))
            for name in item.studios
            if text in name.lower()
        }
        page, total = self._page(request, sorted(names, key=lambda name: (name.lower(), name)))
        start = max(0, binding.integer(query, "startIndex") or 0)
        return JSONResponse({"Items": page, "TotalRecordCount": total, "StartIndex": start})

    def _page(self, request: Request, names: list[str]) -> tuple[list[dict[str, Any]], int]:
        query = request.query
        start, limit = max(0, binding.integer(query, "startIndex") or 0), binding.integer(query, "limit")
        page = names[start:] if limit is None else names[start : start + max(0, limit)]
        total = len(page) if binding.boolean(query, "enableTotalRecordCount") is False else len(names)
        images = binding.boolean(query, "enableImages") is not False
        return [self._dto(name, images=images) for name in page], total

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
        """The name of the studio of this id, if anything on the server is of it."""
        catalogue = self._state.catalogue
        if self._version != catalogue.version:
            items = (item for kind in ("Movie", "Series") for item in catalogue.items(kind))
            self._names_by_id = {self._id(name): name for item in items for name in item.studios}
            self._version = catalogue.version
        return self._names_by_id.get(item_id.replace("-", "").lower())

    def _owner(self, item_id: str, kind: str) -> tuple[str, str, str]:
        """What a picture belongs to. Raises NotFoundError or BindingError."""
        if kind.lower() not in _IMAGE_TYPES:
            raise BindingError("imageType", kind)
        studio = self._studio(item_id)
        if studio is not None:
            return "studio", studio, kind.lower()
        item = self._item(item_id)
        if item is None:
            raise NotFoundError(item_id)
        return "item", item.id, kind.lower()

    def image(self, request: Request, item_id: str, image_type: str) -> Response:
        """``GET /Items/{item}/Images/{type}``: what was set; of films and series there is a primary one besides."""
        studio, item = self._studio(item_id), self._item(item_id)
        owner, name = ("studio", studio) if studio is not None else ("item", item.id if item else "")
        picture = self._state.pictures.get((owner, name, image_type.lower()))
        if picture is not None:
            return Response(picture.content, media_type=picture.media_type)
        return self._otherwise(request, item_id, image_type)

    def set_image(self, request: Request, item_id: str, image_type: str) -> Response:
        """``POST /Items/{item}/Images/{type}``: base64, with the picture's own content type.

        Raises NotFoundError, BindingError, or PictureError.
        """
        owner = self._owner(item_id, image_type)
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type not in _CONTENT_TYPES:
            raise PictureError(400 if content_type.startswith("image/") else 415)
        try:
            content = base64.b64decode(request.content, validate=True)
        except binascii.Error:
            raise PictureError(500) from None
        self._state.pictures[owner] = Picture(content_type, content)
        return Response(status_code=204)
