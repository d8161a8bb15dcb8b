"""Box sets, which clients call collections: creating them, adding and removing members.

Modelled on jellyfin/jellyfin v10.9.11, v10.10.7, v10.11.11 and v12.0-rc5:

- ``Jellyfin.Api/Controllers/CollectionController.cs``;
- ``Emby.Server.Implementations/Collections/CollectionManager.cs`` ``CreateCollectionAsync`` (the folder follows from
  the name, so a used name takes the box set over), ``EnsureLibraryFolder`` (the first one makes a library, and starts
  a scan), ``AddToCollectionAsync`` (one unknown id, and nothing is added), ``RemoveFromCollectionAsync``;
- ``MediaBrowser.Providers/Plugins/Tmdb/BoxSets/TmdbBoxSetProvider.cs`` ``GetMetadata``: a box set that is not locked
  is looked up by its name.
"""

from __future__ import annotations

from starlette.responses import Response

from aperture_dagster.simulator.catalogue import Item
from aperture_dagster.simulator.jellyfin import binding
from aperture_dagster.simulator.jellyfin.access import Access
from aperture_dagster.simulator.jellyfin.binding import ArgumentError
from aperture_dagster.simulator.responses import JSONResponse
from aperture_dagster.simulator.service import Request, Unmodelled


class BoxSetEndpoints:
    """Endpoints that create and change box sets."""

    def __init__(self, access: Access) -> None:
        self._state = access.state

    def create(self, request: Request) -> Response:
        """``POST /Collections``: with an unknown id among ``ids``, an empty box set is left behind."""
        query = request.query
        name = query.get("name")
        if name is None:
            raise ArgumentError("name")
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
        if request.query.get("ids") is None:
            return binding.problem(400, {"ids": ["The ids field is required."]})
        self._add(box_set, list(binding.guids(request.query, "ids")))
        return Response(status_code=204)

    def remove(self, request: Request, box_set_id: str) -> Response:
        """``DELETE /Collections/{box_set_id}/Items``: unknown ids are ignored."""
        box_set = self._find(box_set_id)
        if request.query.get("ids") is None:
            return binding.problem(400, {"ids": ["The ids field is required."]})
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
