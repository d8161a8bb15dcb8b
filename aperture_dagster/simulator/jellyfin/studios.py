"""Studios as items of the media server, and uploaded pictures of studios and other items."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any, ClassVar

from starlette.responses import Response

from aperture_dagster.simulator.catalogue import Item
from aperture_dagster.simulator.images import convert
from aperture_dagster.simulator.jellyfin import binding, dto
from aperture_dagster.simulator.jellyfin.access import Access
from aperture_dagster.simulator.jellyfin.binding import BindingError, NotFoundError
from aperture_dagster.simulator.service import Request, Unmodelled
from aperture_dagster.simulator.state import Picture

# Media types that a client can upload.
_MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp")
# Formats that a client can ask for (``ImageFormat``), by the name of the library that converts them.
_FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "bmp": None, "gif": None, "svg": None}
_IMAGE_TYPES = (
    "primary", "art", "backdrop", "banner", "logo", "thumb", "disc", "box", "screenshot", "menu", "chapter", "boxrear",
    "profile",
)  # fmt: skip


class PictureError(Exception):
    """An upload is not named as a picture (400, 415), or is not base64 (500)."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


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
        """Return the key of a picture in the state. Raises NotFoundError or BindingError."""
        if image_type.lower() not in _IMAGE_TYPES:
            raise BindingError("imageType", image_type)
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

    @staticmethod
    def _converted(request: Request, response: Response) -> Response:
        """Return a picture in the ``format`` that a client asks for. The size stays. Raises BindingError."""
        wanted = request.query.get("format")
        if wanted is None or response.status_code != 200:
            return response
        if wanted.lower() not in _FORMATS:
            raise BindingError("format", wanted)
        form = _FORMATS[wanted.lower()]
        if form is None:
            raise Unmodelled(f"format={wanted}")
        try:
            return Response(convert(bytes(response.body), form), media_type=f"image/{form.lower()}")
        except OSError:
            # The server sends a file that it cannot read as it is.
            return response

    def set_image(self, request: Request, item_id: str, image_type: str) -> Response:
        """``POST /Items/{item_id}/Images/{image_type}``: base64, with the picture's own content type.

        Raises NotFoundError, BindingError, or PictureError.
        """
        key = self._picture_key(item_id, image_type)
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in _MEDIA_TYPES:
            raise PictureError(400 if media_type.startswith("image/") else 415)
        try:
            content = base64.b64decode(request.content, validate=True)
        except binascii.Error:
            raise PictureError(500) from None
        self._state.pictures[key] = Picture(media_type, content)
        return Response(status_code=204)

    def remove_image(self, request: Request, item_id: str, image_type: str) -> Response:
        """``DELETE /Items/{item_id}/Images/{image_type}``. Raises NotFoundError or BindingError."""
        self._state.pictures.pop(self._picture_key(item_id, image_type), None)
        return Response(status_code=204)
