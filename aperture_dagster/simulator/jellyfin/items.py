"""Items: listings, single ones, series with their seasons and episodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from starlette.responses import Response

from aperture_dagster.simulator.catalogue import Item
from aperture_dagster.simulator.images import png
from aperture_dagster.simulator.jellyfin import binding, dto
from aperture_dagster.simulator.jellyfin.access import Access
from aperture_dagster.simulator.jellyfin.listing import KINDS, ItemQuery, Listings, parse_item_query
from aperture_dagster.simulator.jellyfin.sorting import parse_sort, sort_items
from aperture_dagster.simulator.jellyfin.visibility import visible_to
from aperture_dagster.simulator.responses import JSONResponse
from aperture_dagster.simulator.service import Query, Request, Unmodelled
from aperture_dagster.simulator.user_data import ServerUser, episodes_of
from aperture_dagster.simulator.world import WorldLibrary

_SINGLE_ITEM_FIELDS = frozenset(
    (
        "providerids", "overview", "genres", "tags", "studios", "people", "datecreated", "originaltitle",
        "productionlocations", "taglines", "sortname", "path", "parentid", "mediasources", "recursiveitemcount",
        "childcount", "externalurls", "etag", "settings",
    )
)  # fmt: skip
_LATEST = 20
SERIES_COUNTED = "series counted for its user data"
# Known to real servers (MediaBrowser.Model/Querying/ItemFields.cs); other names are ignored.
_UNMODELLED_FIELDS = frozenset(
    (
        "airtime", "candelete", "candownload", "channelinfo", "chapters", "trickplay", "cumulativeruntimeticks",
        "customrating", "displaypreferencesid", "itemcounts", "playaccess", "primaryimageaspectratio",
        "seriesstudio", "specialepisodenumbers", "remotetrailers", "mediastreams", "seasonuserdata",
        "datelastrefreshed", "datelastsaved", "refreshstate", "channelimage", "enablemediasourcedisplay", "width",
        "height", "extraids", "localtrailercount", "ishd", "specialfeaturecount",
    )
)  # fmt: skip


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
        """``GET /UserViews``: the libraries as items."""
        return self._library_listing(self._access.libraries(self._access.user(request, user_id)))

    def listing(self, request: Request, user_id: str | None = None) -> Response:
        """``GET /Items``: without ``recursive`` and a parent, the libraries."""
        user = self._access.user(request, user_id)
        query = parse_item_query(request.query)
        if query.kinds == ("BoxSet",):
            # Box sets are in a library of their own.
            query = replace(query, parent=None)
        is_library = any(library.item_id == query.parent for library in self._access.libraries())
        if self._release >= (12, 0) and is_library and query.kinds and request.query.get("recursive") is None:
            query = replace(query, recursive=True)
        if not query.recursive and not query.ids and query.parent is None:
            # From 12 on, other types are searched for among the libraries; before, the types are ignored.
            return (
                self._page(request, [], user)
                if self._release >= (12, 0) and query.kinds
                else self.views(request, user_id)
            )
        if query.ids and not query.kinds:
            found = [library for library in self._access.libraries(user) if library.item_id in query.ids]
            if found:
                # Libraries are items, too. Mixed with other items, they are not modelled.
                if len(found) < len(query.ids):
                    raise Unmodelled("ids of libraries and of other items at once")
                fields = frozenset(name.lower() for name in request.query.split("fields"))
                return self._library_listing(found, fields)
        return self._page(request, self._listings.items(query, user), user)

    def _library_listing(self, libraries: list[WorldLibrary], fields: frozenset[str] = frozenset()) -> Response:
        return binding.listing(
            Query(""),
            libraries,
            lambda page: [self._library_dto(library, fields) for library in page],
            with_start=self.with_start,
        )

    def _library_dto(self, library: WorldLibrary, fields: frozenset[str] = frozenset()) -> dict[str, Any]:
        return dto.library_dto(library, self._server_id, fields)

    def _page(self, request: Request, items: list[Item], user: ServerUser | None) -> Response:
        return binding.listing(
            request.query, items, lambda page: self._dtos(request, page, user), with_start=self.with_start
        )

    def _dtos(self, request: Request, items: list[Item], user: ServerUser | None) -> list[dict[str, Any]]:
        query = request.query
        fields = frozenset(name.lower() for name in query.split("fields"))
        if unmodelled := fields & _UNMODELLED_FIELDS:
            raise Unmodelled(f"fields={','.join(sorted(unmodelled))}")
        images = binding.boolean(query, "enableImages") is not False
        owner = None if binding.boolean(query, "enableUserData") is False else user
        if owner is not None and self._release < (12, 0):
            # Each of them costs a query that counts its unplayed episodes
            # (MediaBrowser.Controller/Entities/Folder.cs: FillUserDataDtoValues).
            for _ in (item for item in items if item.kind in ("Series", "Season")):
                self._access.state.counters.count_costly("jellyfin", SERIES_COUNTED)
        return [dto.item_dto(item, fields, server_id=self._server_id, user=owner, images=images) for item in items]

    def single(self, request: Request, item_id: str, user_id: str | None = None) -> Response:
        """``GET /Items/{item_id}``: an item with all fields, or a library."""
        user = self._access.user(request, user_id)
        wanted = binding.as_guid("itemId", item_id)
        for library in self._access.libraries(user):
            if library.item_id == wanted:
                return JSONResponse(self._library_dto(library))
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
        """``GET /UserItems/Resume``: items in progress, the latest first."""
        user = self._access.required_user(request, user_id)
        query = ItemQuery(
            kinds=_kinds(request) or ("Movie", "Episode"),
            parent=binding.guid(request.query, "parentId"),
            recursive=True,
            sort=(("dateplayed", True),),
            user_filters=frozenset({("resumable", True)}),
            collapse=False,
            virtual=False,
        )
        return self._page(request, self._listings.items(query, user), user)

    def image(self, request: Request, item_id: str, image_type: str) -> Response:
        """``GET /Items/{item_id}/Images/{image_type}``: the primary picture; there are no others."""
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
        """``GET /Shows/{series_id}/Seasons``."""
        user = self._access.user(request)
        series = self._series(series_id, user)
        if series is None:
            return JSONResponse("Series not found", 404)
        return self._page(request, [season.item for season in series.every_season], user)

    def episodes(self, request: Request, series_id: str) -> Response:
        """``GET /Shows/{series_id}/Episodes``, optionally of one ``season`` or ``seasonId``."""
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
        """``GET /Shows/NextUp``: the episode after the last played one, for every series in progress."""
        user = self._access.required_user(request)
        only = binding.guid(request.query, "seriesId")
        found: list[tuple[float, Item]] = []
        for series in self._listings.items(ItemQuery(kinds=("Series",), recursive=True, collapse=False), user):
            if (only is not None and series.id != only) or not user.played_episodes.get(series.slot):
                continue
            episodes = episodes_of(series)
            # Specials are not part of the order.
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
