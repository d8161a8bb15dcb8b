"""Items: listings, single ones, series with their seasons and episodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from starlette.responses import Response

from aperture_dagster.simulator.catalogue import Item
from aperture_dagster.simulator.images import png
from aperture_dagster.simulator.jellyfin import binding, dto
from aperture_dagster.simulator.jellyfin.access import Access
from aperture_dagster.simulator.jellyfin.listing import KINDS, ItemQuery, Listings, parse_item_query, visible_to
from aperture_dagster.simulator.jellyfin.sorting import parse_sort, sort_items
from aperture_dagster.simulator.responses import JSONResponse
from aperture_dagster.simulator.service import Request, Unmodelled
from aperture_dagster.simulator.user_data import ServerUser, episodes_of

_SINGLE_ITEM_FIELDS = frozenset(
    (
        "providerids", "overview", "genres", "tags", "studios", "people", "datecreated", "originaltitle",
        "productionlocations", "taglines", "sortname", "path", "parentid", "mediasources", "recursiveitemcount",
        "childcount", "externalurls", "etag",
    )
)  # fmt: skip
_LATEST = 20
SERIES_COUNTED = "series counted for its user data"


# Known to real servers (MediaBrowser.Model/Querying/ItemFields.cs); others are ignored.
_UNMODELLED_FIELDS = frozenset(
    (
        "airtime", "candelete", "candownload", "channelinfo", "chapters", "trickplay", "cumulativeruntimeticks",
        "customrating", "displaypreferencesid", "itemcounts", "playaccess", "primaryimageaspectratio", "settings",
        "seriesstudio", "specialepisodenumbers", "remotetrailers", "mediastreams", "seasonuserdata",
        "datelastrefreshed", "datelastsaved", "refreshstate", "channelimage", "enablemediasourcedisplay", "width",
        "height", "extraids", "localtrailercount", "ishd", "specialfeaturecount",
    )
)  # fmt: skip


class ItemEndpoints:
    """Everything that answers with items."""

    def __init__(self, access: Access, server_id: str) -> None:
        self._access = access
        self._catalogue = access.state.catalogue
        self._release = access.state.settings.jellyfin_release
        self._listings = Listings(access.state, "jellyfin", self._release)
        self._server_id = server_id

    def views(self, request: Request, user_id: str | None = None) -> Response:
        """``GET /UserViews``: the libraries as items."""
        libraries = self._access.libraries(self._access.user(request, user_id))
        items = [dto.library_dto(library, self._server_id) for library in libraries]
        return JSONResponse({"Items": items, "TotalRecordCount": len(items), "StartIndex": 0})

    def listing(self, request: Request, user_id: str | None = None) -> Response:
        """``GET /Items``. Not recursive and without a parent these are the libraries."""
        user = self._access.user(request, user_id)
        query = parse_item_query(request.query)
        if query.kinds == ("BoxSet",):
            # They lie in no library that holds films.
            query = replace(query, parent=None)
        is_library = any(library.item_id == query.parent for library in self._access.libraries())
        if self._release >= (12, 0) and is_library and query.kinds and request.query.get("recursive") is None:
            query = replace(query, recursive=True)
        if not query.recursive and not query.ids and query.parent is None:
            # What is asked for beside libraries is looked for among them; before 12 it is not looked at.
            return (
                self._page(request, [], user)
                if self._release >= (12, 0) and query.kinds
                else self.views(request, user_id)
            )
        if query.ids and not query.kinds:
            found = [library for library in self._access.libraries(user) if library.item_id in query.ids]
            if found:
                # Libraries are items, too; together with others they are not modelled.
                if len(found) < len(query.ids):
                    raise Unmodelled("ids of libraries and of other items at once")
                fields = frozenset(name.lower() for name in request.query.split("fields"))
                items = [dto.library_dto(library, self._server_id, fields) for library in found]
                return JSONResponse({"Items": items, "TotalRecordCount": len(items), "StartIndex": 0})
        return self._page(request, self._listings.items(query, user), user)

    def _page(self, request: Request, items: list[Item], user: ServerUser | None) -> Response:
        query = request.query
        start = max(0, binding.integer(query, "startIndex") or 0)
        limit = binding.integer(query, "limit")
        page = items[start:] if limit is None else items[start : start + max(0, limit)]
        total = len(page) if binding.boolean(query, "enableTotalRecordCount") is False else len(items)
        return JSONResponse({"Items": self._dtos(request, page, user), "TotalRecordCount": total, "StartIndex": start})

    def _dtos(self, request: Request, items: list[Item], user: ServerUser | None) -> list[dict[str, Any]]:
        query = request.query
        fields = frozenset(name.lower() for name in query.split("fields"))
        if unmodelled := fields & _UNMODELLED_FIELDS:
            raise Unmodelled(f"fields={','.join(sorted(unmodelled))}")
        images = binding.boolean(query, "enableImages") is not False
        owner = None if binding.boolean(query, "enableUserData") is False else user
        if owner is not None and self._release < (12, 0):
            # Of each of them the episodes that are left are counted by a query of its own
            # (MediaBrowser.Controller/Entities/Folder.cs: FillUserDataDtoValues).
            for _ in (item for item in items if item.kind in ("Series", "Season")):
                self._access.state.counters.count_costly("jellyfin", SERIES_COUNTED)
        return [dto.item_dto(item, fields, server_id=self._server_id, user=owner, images=images) for item in items]

    def single(self, request: Request, item_id: str, user_id: str | None = None) -> Response:
        """``GET /Items/{item}``: with all fields; a library is an item, too."""
        user = self._access.user(request, user_id)
        wanted = binding.as_guid("itemId", item_id)
        for library in self._access.libraries(user):
            if library.item_id == wanted:
                return JSONResponse(dto.library_dto(library, self._server_id))
        item = self._access.item(wanted, user)
        return JSONResponse(dto.item_dto(item, _SINGLE_ITEM_FIELDS, server_id=self._server_id, user=user))

    def counts(self, request: Request) -> Response:
        """``GET /Items/Counts``."""
        counts = {
            f"{kind}Count": sum(item.primary is None and not item.virtual for item in self._catalogue.items(kind))
            for kind in ("Movie", "Series", "Episode", "BoxSet")
        }
        return JSONResponse({**counts, "ItemCount": sum(counts.values())})

    def latest(self, request: Request) -> Response:
        """``GET /Items/Latest``: a bare array."""
        query = ItemQuery(
            kinds=_kinds(request) or ("Movie", "Series"),
            parent=binding.guid(request.query, "parentId"),
            recursive=True,
            collapse=False,
            sort=(("datecreated", True), ("sortname", False)),
        )
        user = self._access.user(request)
        items = self._listings.items(query, user)[: binding.integer(request.query, "limit") or _LATEST]
        return JSONResponse(self._dtos(request, items, user))

    def resume(self, request: Request, user_id: str | None = None) -> Response:
        """``GET /UserItems/Resume``: what was left in the middle, the latest first."""
        user = self._access.required_user(request, user_id)
        query = ItemQuery(
            kinds=_kinds(request) or ("Movie", "Episode"),
            parent=binding.guid(request.query, "parentId"),
            recursive=True,
            sort=(("dateplayed", True),),
            user_filters=frozenset({("resumable", True)}),
            virtual=False,
        )
        return self._page(request, self._listings.items(query, user), user)

    def image(self, request: Request, item_id: str, image_type: str) -> Response:
        """``GET /Items/{item}/Images/{type}``: there are primary ones only."""
        item = self._catalogue.find(item_id)
        if item is None or image_type.lower() != "primary":
            return JSONResponse("Image not found", 404)
        return Response(png(item.title.key), media_type="image/png")

    def _series(self, series_id: str, user: ServerUser | None) -> Item | None:
        item = self._catalogue.find(binding.as_guid("seriesId", series_id))
        if item is None or item.kind != "Series" or (user is not None and not visible_to(user)(item)):
            return None
        return item

    def seasons(self, request: Request, series_id: str) -> Response:
        """``GET /Shows/{series}/Seasons``."""
        user = self._access.user(request)
        series = self._series(series_id, user)
        if series is None:
            return JSONResponse("Series not found", 404)
        return self._page(request, [season.item for season in series.every_season], user)

    def episodes(self, request: Request, series_id: str) -> Response:
        """``GET /Shows/{series}/Episodes``, of one season when ``season`` or ``seasonId`` says so."""
        user = self._access.user(request)
        series = self._series(series_id, user)
        if series is None:
            return JSONResponse("Series not found", 404)
        season, season_id = binding.integer(request.query, "season"), binding.guid(request.query, "seasonId")
        episodes = [
            episode
            for each in series.every_season
            if season in (None, each.item.season) and season_id in (None, each.item.id)
            for episode in each.episodes
        ]
        sort = parse_sort(request.query.split("sortBy"), [])
        return self._page(request, sort_items(episodes, sort, user), user)

    def next_up(self, request: Request) -> Response:
        """``GET /Shows/NextUp``: of every series that was begun, the episode after the last one played."""
        user = self._access.required_user(request)
        only = binding.guid(request.query, "seriesId")
        found: list[tuple[float, Item]] = []
        for series in self._listings.items(ItemQuery(kinds=("Series",), recursive=True, collapse=False), user):
            if (only is not None and series.id != only) or not user.played_episodes.get(series.slot):
                continue
            episodes = episodes_of(series)
            # Specials are no part of the order.
            episodes = [episode for episode in episodes if episode.season]
            last = max((index for index, episode in enumerate(episodes) if user.of(episode).played), default=None)
            if last is None:
                continue
            later = next((episode for episode in episodes[last + 1 :] if not user.of(episode).played), None)
            if later is not None:
                found.append((user.of(episodes[last]).last_played or 0.0, later))
        found.sort(key=lambda pair: -pair[0])
        return self._page(request, [episode for _, episode in found], user)


def _kinds(request: Request) -> tuple[str, ...]:
    return tuple(KINDS[kind.lower()] for kind in request.query.split("includeItemTypes") if kind.lower() in KINDS)
