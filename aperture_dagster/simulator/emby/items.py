"""Items, and what users did with them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from aperture_dagster.simulator.catalogue import Item
from aperture_dagster.simulator.emby import dto, ids
from aperture_dagster.simulator.emby.access import EmbyAccess
from aperture_dagster.simulator.images import png
from aperture_dagster.simulator.jellyfin import binding
from aperture_dagster.simulator.jellyfin.access import json_object
from aperture_dagster.simulator.jellyfin.binding import NotFoundError
from aperture_dagster.simulator.jellyfin.listing import ItemQuery, Listings, parse_item_query
from aperture_dagster.simulator.jellyfin.playstate import write_user_data
from aperture_dagster.simulator.responses import JSONResponse
from aperture_dagster.simulator.service import Request, Unmodelled
from aperture_dagster.simulator.user_data import ServerUser

_ALL_FIELDS = frozenset(
    (
        "providerids", "overview", "genres", "tags", "studios", "people", "datecreated", "originaltitle",
        "productionlocations", "taglines", "sortname", "path", "parentid", "mediasources", "recursiveitemcount",
        "childcount", "productionyear", "premieredate", "enddate", "communityrating", "criticrating",
        "officialrating", "status", "userdataplaycount", "userdatalastplayeddate",
    )
)  # fmt: skip
# Parameters that hold Emby's ids, or that mean something else there.
_READ_HERE = ("ParentId", "Ids", "ExcludeItemIds", "MinDateLastSavedForUser", "UserId", "GroupItemsIntoCollections")
LISTING_PARAMETERS = (
    "UserId", "ParentId", "Recursive", "IncludeItemTypes", "ExcludeItemTypes", "Ids", "ExcludeItemIds", "SortBy",
    "SortOrder", "Filters", "IsPlayed", "IsFavorite", "SearchTerm", "Years", "Genres", "Tags", "Studios",
    "OfficialRatings", "SeriesStatus", "MinDateLastSaved", "MinDateLastSavedForUser", "MinPremiereDate",
    "MaxPremiereDate", "MinCommunityRating", "HasTmdbId", "HasImdbId", "HasTvdbId", "HasOverview", "IsMovie",
    "IsSeries", "GroupItemsIntoCollections",
)  # fmt: skip
"""What says which items are listed; 4.8 knows neither location types nor a listing without its total."""
PAGE_PARAMETERS = ("StartIndex", "Limit", "Fields", "EnableImages", "EnableUserData")
# Stands for ids that lead nowhere: a listing of nothing, not of everything.
_NOWHERE = "nowhere"


class EmbyItemEndpoints:
    """Everything that answers with items or with user data."""

    def __init__(self, access: EmbyAccess, server_id: str) -> None:
        self._access = access
        self._catalogue = access.state.catalogue
        self._listings = Listings(access.state, "emby", None)
        self._server_id = server_id

    def views(self, request: Request, user_id: str | None = None) -> Response:
        """``GET /Users/{user}/Views``: the libraries as items."""
        libraries = self._access.libraries(self._access.user(request, user_id))
        items = [dto.library_dto(library, self._catalogue, self._server_id) for library in libraries]
        return JSONResponse({"Items": items, "TotalRecordCount": len(items)})

    def listing(self, request: Request, user_id: str | None = None) -> Response:
        """``GET /Items`` and ``GET /Users/{user}/Items``. Not recursive and without a parent: the libraries."""
        user = self._access.user(request, user_id)
        query = self._query(request)
        if not query.recursive and not query.ids and query.parent is None:
            return self.views(request, user_id)
        if query.user_saved_from is not None and user is None:
            return self._page(request, [], user)
        return self._page(request, self._listings.items(query, user), user)

    def _query(self, request: Request) -> ItemQuery:
        asked = request.query
        parsed = parse_item_query(asked.without(*_READ_HERE))
        return replace(
            parsed,
            parent=self._parent(asked.get("ParentId")),
            ids=self._item_ids(asked.split("Ids")) or ((_NOWHERE,) if asked.get("Ids") else ()),
            without_ids=self._item_ids(asked.split("ExcludeItemIds")),
            user_saved_from=binding.moment(asked, "MinDateLastSavedForUser"),
            collapse=binding.boolean(asked, "GroupItemsIntoCollections"),
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

    def _page(self, request: Request, items: list[Item], user: ServerUser | None) -> Response:
        query = request.query
        start = max(0, binding.integer(query, "StartIndex") or 0)
        limit = binding.integer(query, "Limit")
        page = items[start:] if limit is None else items[start : start + max(0, limit)]
        return JSONResponse({"Items": self._dtos(request, page, user), "TotalRecordCount": len(items)})

    def _dtos(self, request: Request, items: list[Item], user: ServerUser | None) -> list[dict[str, Any]]:
        query = request.query
        fields = frozenset(name.lower() for name in query.split("Fields"))
        if unmodelled := fields - _ALL_FIELDS - dto.OTHER_FIELDS:
            raise Unmodelled(f"Fields={','.join(sorted(unmodelled))}")
        images = binding.boolean(query, "EnableImages") is not False
        owner = None if binding.boolean(query, "EnableUserData") is False else user
        return [self._dto(item, fields, owner, images=images) for item in items]

    def _dto(
        self, item: Item, fields: frozenset[str], user: ServerUser | None, *, images: bool = True
    ) -> dict[str, Any]:
        return dto.item_dto(
            item, fields, catalogue=self._catalogue, server_id=self._server_id, user=user, images=images
        )

    def single(self, request: Request, user_id: str, item_id: str) -> Response:
        """``GET /Users/{user}/Items/{item}``: with all fields; a library is an item, too."""
        user = self._access.user(request, user_id)
        library = self._access.library(item_id)
        if library is not None and library in self._access.libraries(user):
            return JSONResponse(dto.library_dto(library, self._catalogue, self._server_id))
        return JSONResponse(self._dto(self._access.item(item_id, user), _ALL_FIELDS, user))

    def resume(self, request: Request, user_id: str) -> Response:
        """``GET /Users/{user}/Items/Resume``: what was left in the middle, the latest first."""
        user = self._access.user(request, user_id)
        query = ItemQuery(
            kinds=("Movie", "Episode"),
            recursive=True,
            sort=(("dateplayed", True),),
            collapse=False,
            virtual=False,
            user_filters=frozenset({("resumable", True)}),
        )
        return self._page(request, self._listings.items(query, user), user)

    def episodes(self, request: Request, series_id: str) -> Response:
        """``GET /Shows/{series}/Episodes``, of one season when ``Season`` or ``SeasonId`` says so."""
        user = self._access.user(request)
        series = self._access.item(series_id, user)
        season, season_id = binding.integer(request.query, "Season"), request.query.get("SeasonId")
        found = [
            episode
            for each in series.every_season
            if season in (None, each.item.season) and season_id in (None, ids.item_number(each.item))
            for episode in each.episodes
        ]
        return self._page(request, found, user)

    def image(self, request: Request, item_id: str, image_type: str) -> Response:
        """``GET /Items/{item}/Images/{type}``: there are primary ones only."""
        item = ids.find_item(self._catalogue, item_id)
        if item is None or image_type.lower() != "primary":
            raise NotFoundError(item_id)
        return Response(png(item.title.key), media_type="image/png")

    def played(self, request: Request, user_id: str, item_id: str) -> Response:
        """``POST`` or ``DELETE`` ``/Users/{user}/PlayedItems/{item}``: of a series, every episode."""
        user, item = self._find(request, user_id, item_id)
        if request.method == "POST":
            user.mark_played(item, binding.moment(request.query, "DatePlayed"), datetime.now(UTC).timestamp())
        else:
            user.mark_unplayed(item)
        return JSONResponse(dto.user_data_dto(item, user, _ALL_FIELDS))

    def favorite(self, request: Request, user_id: str, item_id: str) -> Response:
        """``POST`` or ``DELETE`` ``/Users/{user}/FavoriteItems/{item}``."""
        user, item = self._find(request, user_id, item_id)
        user.edit(item).favorite = request.method == "POST"
        return JSONResponse(dto.user_data_dto(item, user, _ALL_FIELDS))

    def write(self, request: Request, user_id: str, item_id: str) -> Response:
        """``POST /Users/{user}/Items/{item}/UserData``: only the fields that are given change; no body comes back."""
        user, item = self._find(request, user_id, item_id)
        write_user_data(user, item, json_object(request))
        return Response(status_code=204)

    def _find(self, request: Request, user_id: str, item_id: str) -> tuple[ServerUser, Item]:
        user = self._access.required_user(request, user_id)
        return user, self._access.item(item_id, user)
