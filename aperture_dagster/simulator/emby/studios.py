"""Studios as Emby lists them, by numbers of its own."""

from __future__ import annotations

from starlette.responses import Response

from aperture_dagster.simulator.catalogue import Item
from aperture_dagster.simulator.emby import ids
from aperture_dagster.simulator.jellyfin.studios import StudioEndpoints
from aperture_dagster.simulator.responses import JSONResponse
from aperture_dagster.simulator.service import Request


class EmbyStudioEndpoints(StudioEndpoints):
    """``GET /Studios``, and pictures that can be set."""

    def listing(self, request: Request) -> Response:
        """``GET /Studios``: by name, of everything."""
        names = {name for kind in ("Movie", "Series") for item in self._items_of(kind) for name in item.studios}
        page, total = self._page(request, sorted(names, key=lambda name: (name.lower(), name)))
        return JSONResponse({"Items": page, "TotalRecordCount": total})

    def _items_of(self, kind: str) -> list[Item]:
        return self._state.catalogue.items(kind)

    def _id(self, name: str) -> str:
        return str(ids.name_number("studio", name))

    def _item(self, item_id: str) -> Item | None:
        return ids.find_item(self._state.catalogue, item_id)
