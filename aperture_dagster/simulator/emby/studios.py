"""Studios with Emby's numeric ids."""

from __future__ import annotations

from aperture_dagster.simulator.catalogue import Item
from aperture_dagster.simulator.emby import ids
from aperture_dagster.simulator.jellyfin.studios import StudioEndpoints


class EmbyStudioEndpoints(StudioEndpoints):
    """``GET /Studios``, and pictures, which clients can upload for anything."""

    with_start = False

    def _id(self, name: str) -> str:
        return str(ids.name_number("studio", name))

    def _item(self, item_id: str) -> Item | None:
        return ids.find_item(self._state.catalogue, item_id)
