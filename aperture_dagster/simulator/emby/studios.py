"""Studios with Emby's numeric ids."""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import Response

from aperture_dagster.simulator.catalogue import Item
from aperture_dagster.simulator.emby import ids
from aperture_dagster.simulator.emby.access import EmbyAccess
from aperture_dagster.simulator.jellyfin.studios import StudioEndpoints
from aperture_dagster.simulator.world import WorldLibrary


class EmbyStudioEndpoints(StudioEndpoints):
    """``GET /Studios``, and pictures, which clients can upload for anything."""

    with_start = False

    def __init__(self, access: EmbyAccess, server_id: str, default_image: Callable[..., Response]) -> None:
        super().__init__(access, server_id, default_image)
        self._emby_access = access

    def _id(self, name: str) -> str:
        return str(ids.name_number("studio", name))

    def _item(self, item_id: str) -> Item | None:
        return ids.find_item(self._state.catalogue, item_id)

    def _library(self, item_id: str) -> WorldLibrary | None:
        return self._emby_access.library(item_id)
