"""The Jellyfin stand-in: who may ask, and what each endpoint answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from aperture_dagster.simulator.asgi import (
    Request,
    Response,
    Route,
    Router,
    empty_response,
    json_response,
    text_response,
)
from aperture_dagster.simulator.catalogue import Item, Library
from aperture_dagster.simulator.images import png
from aperture_dagster.simulator.jellyfin import binding, dto
from aperture_dagster.simulator.jellyfin.binding import BindingError, NotFoundError
from aperture_dagster.simulator.jellyfin.listing import KINDS, ItemQuery, Listings, parse_item_query, visible_to
from aperture_dagster.simulator.jellyfin.sorting import parse_sort, sort_items
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.user_data import ServerUser, episodes_of

_TOKEN = re.compile(r'\bToken="?([^",]*)"?', re.IGNORECASE)
_PUBLIC = re.compile(r"/(System/Info/Public|System/Ping|health|Items/[^/]+/Images/.*|Users/Public)", re.IGNORECASE)
_BUSY_PAGE = "<!DOCTYPE html><html><body>The server is starting. Please try again shortly.</body></html>"


class JellyfinService:
    """Jellyfin over a state. Paths match in any case, as on the real server."""

    name = "jellyfin"

    def __init__(self, state: SimulatorState) -> None:
        self._state = state
        self._settings = state.settings
        self._listings = Listings(state)
        self._server_id = dto.name_id("server", state.world_name)
        self._legacy_auth = int(state.settings.jellyfin_version.split(".")[0]) < 12
        self._router = Router(ignore_case=True)
        for method, pattern, handler in self._routes():
            self._router.add(method, pattern, handler)

    def find(self, request: Request) -> Route:
        """The route of a request, refused already when it may not ask."""
        if not _PUBLIC.fullmatch(request.path) and not self._authorized(request):
            route = self._router.find(request.method, request.path)
            return Route(route.endpoint if route else "unknown", lambda _: empty_response(401))
        route = self._router.find(request.method, request.path)
        if route is None:
            return Route("unknown", lambda _: empty_response(404))
        handler = route.handler
        return Route(route.endpoint, lambda asked, *parts: _guarded(handler, asked, parts), route.arguments)

    def error(self, status: int) -> Response:
        """401 and 403 are empty, 503 is a page, the rest plain text."""
        if status in (401, 403):
            return empty_response(status)
        if status in (502, 503, 504):
            return Response(status, _BUSY_PAGE.encode(), "text/html; charset=utf-8")
        return text_response("Error processing request.", status)

    def _routes(self) -> list[tuple[str, str, Callable[..., Response]]]:
        return [
            ("GET", "/System/Info/Public", self._public_info),
            ("GET", "/System/Info", self._info),
            ("GET", "/System/Ping", lambda _: json_response("Jellyfin Server")),
            ("GET", "/health", lambda _: text_response("Healthy")),
            ("GET", "/Users", self._list_users),
            ("GET", "/Users/Me", lambda _: text_response("Error processing request.", 400)),
            ("GET", "/Users/{user}", self._get_user),
            ("POST", "/Users/{user}/Policy", self._set_policy),
            ("GET", "/Library/VirtualFolders", self._virtual_folders),
            ("POST", "/Library/Refresh", lambda _: empty_response()),
            ("GET", "/UserViews", self._views),
            ("GET", "/Items", self._list_items),
            ("GET", "/Items/Counts", self._counts),
            ("GET", "/Items/Latest", self._latest),
            ("GET", "/Items/{item}", self._get_item),
            ("GET", "/Items/{item}/Images/{type}", self._image),
            ("GET", "/Shows/NextUp", self._next_up),
            ("GET", "/Shows/{series}/Seasons", self._seasons),
            ("GET", "/Shows/{series}/Episodes", self._episodes),
            ("GET", "/UserItems/Resume", self._resume),
            ("GET", "/UserItems/{item}/UserData", self._get_user_data),
            ("POST", "/UserItems/{item}/UserData", self._set_user_data),
            ("POST", "/UserItems/{item}/Rating", self._rate),
            ("DELETE", "/UserItems/{item}/Rating", self._rate),
            ("POST", "/UserPlayedItems/{item}", self._mark_played),
            ("DELETE", "/UserPlayedItems/{item}", self._mark_unplayed),
            ("POST", "/UserFavoriteItems/{item}", lambda asked, item: self._favorite(asked, item, True)),
            ("DELETE", "/UserFavoriteItems/{item}", lambda asked, item: self._favorite(asked, item, False)),
            # Old routes, which still answer.
            ("GET", "/Users/{user}/Views", lambda asked, user: self._views(asked, user)),
            ("GET", "/Users/{user}/Items", lambda asked, user: self._list_items(asked, user)),
            ("GET", "/Users/{user}/Items/Resume", lambda asked, user: self._resume(asked, user)),
            ("GET", "/Users/{user}/Items/{item}", lambda asked, user, item: self._get_item(asked, item, user)),
            (
                "POST",
                "/Users/{user}/PlayedItems/{item}",
                lambda asked, user, item: self._mark_played(asked, item, user),
            ),
            (
                "DELETE",
                "/Users/{user}/PlayedItems/{item}",
                lambda asked, user, item: self._mark_unplayed(asked, item, user),
            ),
            (
                "POST",
                "/Users/{user}/FavoriteItems/{item}",
                lambda asked, user, item: self._favorite(asked, item, True, user),
            ),
            (
                "DELETE",
                "/Users/{user}/FavoriteItems/{item}",
                lambda asked, user, item: self._favorite(asked, item, False, user),
            ),
        ]

    # Authentication

    def _authorized(self, request: Request) -> bool:
        return self._settings.jellyfin_key in self._tokens(request)

    def _tokens(self, request: Request) -> list[str]:
        tokens: list[str] = []
        scheme, _, rest = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "mediabrowser" or (self._legacy_auth and scheme.lower() == "emby"):
            tokens += [unquote(found) for found in _TOKEN.findall(rest)]
        if "apikey" in request.query_string.lower():
            tokens.append(request.query.get("ApiKey") or "")
        if self._legacy_auth:
            tokens += [request.headers.get("x-emby-token", ""), request.headers.get("x-mediabrowser-token", "")]
            tokens.append(request.query.get("api_key") or "")
            tokens += [unquote(found) for found in _TOKEN.findall(request.headers.get("x-emby-authorization", ""))]
        return [token for token in tokens if token]

    # System, users, libraries

    def _public_info(self, request: Request) -> Response:
        return json_response(self._system())

    def _system(self) -> dict[str, Any]:
        return {
            "LocalAddress": "http://127.0.0.1:8096",
            "ServerName": "Stand-in",
            "Version": self._settings.jellyfin_version,
            "ProductName": "Jellyfin Server",
            "OperatingSystem": "",
            "Id": self._server_id,
            "StartupWizardCompleted": True,
        }

    def _info(self, request: Request) -> Response:
        return json_response(
            {**self._system(), "HasPendingRestart": False, "IsShuttingDown": False, "SupportsLibraryMonitor": True}
        )

    def _list_users(self, request: Request) -> Response:
        hidden, disabled = binding.boolean(request.query, "isHidden"), binding.boolean(request.query, "isDisabled")
        users = [
            user
            for user in sorted(self._state.users.values(), key=lambda user: user.name.lower())
            if hidden in (None, user.facts.is_hidden) and disabled in (None, user.facts.is_disabled)
        ]
        return json_response([dto.user_dto(user, self._server_id) for user in users])

    def _get_user(self, request: Request, user_id: str) -> Response:
        user = self._state.users.get(binding.as_guid("userId", user_id))
        if user is None:
            return json_response("User not found", 404)
        return json_response(dto.user_dto(user, self._server_id))

    def _set_policy(self, request: Request, user_id: str) -> Response:
        user = self._required_user(request, user_id)
        content = _json_object(request)
        missing = [name for name in ("AuthenticationProviderId", "PasswordResetProviderId") if not content.get(name)]
        if missing:
            return binding.problem(400, {name: [f"The {name} field is required."] for name in missing})
        user.policy.enable_all_folders = bool(content.get("EnableAllFolders", True))
        user.policy.enabled_folders = tuple(
            binding.as_guid("EnabledFolders", str(folder)) for folder in content.get("EnabledFolders") or ()
        )
        self._state.change_user(
            user.name,
            is_administrator=bool(content.get("IsAdministrator")),
            is_hidden=bool(content.get("IsHidden")),
            is_disabled=bool(content.get("IsDisabled")),
            max_parental_rating=content.get("MaxParentalRating"),
        )
        return empty_response()

    def _libraries(self, user: ServerUser | None = None) -> list[Library]:
        hidden = self._state.catalogue.hidden_libraries
        libraries = [library for library in self._state.catalogue.libraries if library.name not in hidden]
        if user is None or user.policy.enable_all_folders:
            return libraries
        return [library for library in libraries if library.item_id in user.policy.enabled_folders]

    def _virtual_folders(self, request: Request) -> Response:
        return json_response([dto.virtual_folder_dto(library) for library in self._libraries()])

    def _views(self, request: Request, user_id: str | None = None) -> Response:
        items = [dto.library_dto(library, self._server_id) for library in self._libraries(self._user(request, user_id))]
        return json_response({"Items": items, "TotalRecordCount": len(items), "StartIndex": 0})

    # Items

    def _list_items(self, request: Request, user_id: str | None = None) -> Response:
        user = self._user(request, user_id)
        query = parse_item_query(request.query)
        if query.kinds and not any(query.kinds):
            # A type that this server has nothing of.
            return self._page(request, [], user)
        if not query.recursive and not query.ids and query.parent is None:
            return self._views(request, user_id)
        return self._page(request, self._listings.items(query, user), user)

    def _page(self, request: Request, items: list[Item], user: ServerUser | None) -> Response:
        query = request.query
        start = max(0, binding.integer(query, "startIndex") or 0)
        limit = binding.integer(query, "limit")
        page = items[start:] if limit is None else items[start : start + max(0, limit)]
        total = 0 if binding.boolean(query, "enableTotalRecordCount") is False else len(items)
        return json_response({"Items": self._dtos(request, page, user), "TotalRecordCount": total, "StartIndex": start})

    def _dtos(self, request: Request, items: list[Item], user: ServerUser | None) -> list[dict[str, Any]]:
        query = request.query
        fields = frozenset(name.lower() for name in query.split("fields"))
        images = binding.boolean(query, "enableImages") is not False
        owner = None if binding.boolean(query, "enableUserData") is False else user
        return [dto.item_dto(item, fields, server_id=self._server_id, user=owner, images=images) for item in items]

    def _get_item(self, request: Request, item_id: str, user_id: str | None = None) -> Response:
        user = self._user(request, user_id)
        wanted = binding.as_guid("itemId", item_id)
        for library in self._libraries(user):
            if library.item_id == wanted:
                return json_response(dto.library_dto(library, self._server_id))
        item = self._item(wanted, user)
        return json_response(dto.item_dto(item, frozenset(_ALL_FIELDS), server_id=self._server_id, user=user))

    def _counts(self, request: Request) -> Response:
        counts = {f"{kind}Count": len(self._state.catalogue.items(kind)) for kind in ("Movie", "Series", "Episode")}
        return json_response({**counts, "ItemCount": sum(counts.values())})

    def _latest(self, request: Request) -> Response:
        kinds = tuple(KINDS[kind.lower()] for kind in request.query.split("includeItemTypes") if kind.lower() in KINDS)
        query = ItemQuery(
            kinds=kinds or ("Movie", "Series"),
            parent=binding.guid(request.query, "parentId"),
            recursive=True,
            sort=(("datecreated", True), ("sortname", False)),
        )
        user = self._user(request)
        items = self._listings.items(query, user)[: binding.integer(request.query, "limit") or 20]
        return json_response(self._dtos(request, items, user))

    def _image(self, request: Request, item_id: str, kind: str) -> Response:
        item = self._state.catalogue.find(item_id)
        if item is None or kind.lower() != "primary":
            return json_response("Image not found", 404)
        return Response(200, png(item.title.key), "image/png")

    # Shows

    def _series(self, series_id: str, user: ServerUser | None) -> Item | None:
        item = self._state.catalogue.find(binding.as_guid("seriesId", series_id))
        if item is None or item.kind != "Series" or (user is not None and not visible_to(user)(item)):
            return None
        return item

    def _seasons(self, request: Request, series_id: str) -> Response:
        user = self._user(request)
        series = self._series(series_id, user)
        if series is None:
            return json_response("Series not found", 404)
        return self._page(request, [season.item for season in series.seasons], user)

    def _episodes(self, request: Request, series_id: str) -> Response:
        user = self._user(request)
        series = self._series(series_id, user)
        if series is None:
            return json_response("Series not found", 404)
        season, season_id = binding.integer(request.query, "season"), binding.guid(request.query, "seasonId")
        episodes = [
            episode
            for each in series.seasons
            if season in (None, each.item.season) and season_id in (None, each.item.id)
            for episode in each.episodes
        ]
        sort = parse_sort(request.query.split("sortBy"), [])
        return self._page(request, sort_items(episodes, sort, user), user)

    def _next_up(self, request: Request) -> Response:
        user = self._required_user(request)
        only = binding.guid(request.query, "seriesId")
        found: list[tuple[float, Item]] = []
        for series in self._listings.items(ItemQuery(kinds=("Series",), recursive=True), user):
            if (only is not None and series.id != only) or not user.played_episodes.get(series.slot):
                continue
            episodes = episodes_of(series)
            last = max(index for index, episode in enumerate(episodes) if user.of(episode).played)
            later = next((episode for episode in episodes[last + 1 :] if not user.of(episode).played), None)
            if later is not None:
                found.append((user.of(episodes[last]).last_played or 0.0, later))
        found.sort(key=lambda pair: -pair[0])
        return self._page(request, [episode for _, episode in found], user)

    # What a user did

    def _resume(self, request: Request, user_id: str | None = None) -> Response:
        user = self._required_user(request, user_id)
        kinds = tuple(KINDS[kind.lower()] for kind in request.query.split("includeItemTypes") if kind.lower() in KINDS)
        query = ItemQuery(
            kinds=kinds or ("Movie", "Episode"),
            parent=binding.guid(request.query, "parentId"),
            recursive=True,
            sort=(("dateplayed", True),),
            user_filters=frozenset({("resumable", True)}),
        )
        return self._page(request, self._listings.items(query, user), user)

    def _get_user_data(self, request: Request, item_id: str) -> Response:
        user = self._required_user(request)
        return self._user_data(self._item(item_id, user), user)

    def _set_user_data(self, request: Request, item_id: str) -> Response:
        user = self._required_user(request)
        item = self._item(item_id, user)
        content = _json_object(request)
        datum = user.edit(item)
        if content.get("PlaybackPositionTicks") is not None:
            datum.position = int(content["PlaybackPositionTicks"])
        if content.get("PlayCount") is not None:
            datum.play_count = int(content["PlayCount"])
        if content.get("IsFavorite") is not None:
            datum.favorite = bool(content["IsFavorite"])
        if content.get("Likes") is not None:
            datum.rating = 10.0 if content["Likes"] else 1.0
        if content.get("Rating") is not None:
            datum.rating = float(content["Rating"])
        if content.get("LastPlayedDate") is not None:
            datum.last_played = binding.parse_moment("LastPlayedDate", str(content["LastPlayedDate"]))
        if content.get("Played") is not None:
            user.set_played(item, bool(content["Played"]))
        return self._user_data(item, user)

    def _rate(self, request: Request, item_id: str) -> Response:
        user = self._required_user(request)
        item = self._item(item_id, user)
        likes = binding.boolean(request.query, "likes") if request.method == "POST" else None
        user.edit(item).rating = None if likes is None else 10.0 if likes else 1.0
        return self._user_data(item, user)

    def _mark_played(self, request: Request, item_id: str, user_id: str | None = None) -> Response:
        user = self._required_user(request, user_id)
        item = self._item(item_id, user)
        user.mark_played(item, binding.moment(request.query, "datePlayed"), datetime.now(UTC).timestamp())
        return self._user_data(item, user)

    def _mark_unplayed(self, request: Request, item_id: str, user_id: str | None = None) -> Response:
        user = self._required_user(request, user_id)
        item = self._item(item_id, user)
        user.mark_unplayed(item)
        return self._user_data(item, user)

    def _favorite(self, request: Request, item_id: str, favorite: bool, user_id: str | None = None) -> Response:
        user = self._required_user(request, user_id)
        item = self._item(item_id, user)
        user.edit(item).favorite = favorite
        return self._user_data(item, user)

    def _user_data(self, item: Item, user: ServerUser) -> Response:
        return json_response(dto.user_data_dto(item, user))

    # Finding

    def _user(self, request: Request, user_id: str | None = None) -> ServerUser | None:
        wanted = binding.as_guid("userId", user_id) if user_id else binding.guid(request.query, "userId")
        if wanted is None:
            return None
        user = self._state.users.get(wanted)
        if user is None:
            raise NotFoundError(wanted)
        return user

    def _required_user(self, request: Request, user_id: str | None = None) -> ServerUser:
        user = self._user(request, user_id)
        if user is None:
            # An API key has no user of its own.
            raise NotFoundError("userId")
        return user

    def _item(self, item_id: str, user: ServerUser | None) -> Item:
        item = self._state.catalogue.find(binding.as_guid("itemId", item_id))
        if item is None or (user is not None and not visible_to(user)(item)):
            raise NotFoundError(item_id)
        return item


_ALL_FIELDS = (
    "providerids", "overview", "genres", "tags", "studios", "people", "datecreated", "originaltitle", "productionlocations",
    "taglines", "sortname", "path", "parentid", "mediasources", "recursiveitemcount", "childcount", "externalurls", "etag",
)  # fmt: skip


def _guarded(handler: Callable[..., Response], request: Request, parts: tuple[str, ...]) -> Response:
    try:
        return handler(request, *parts)
    except BindingError as error:
        return error.response()
    except NotFoundError:
        return binding.problem(404)


def _json_object(request: Request) -> dict[str, Any]:
    try:
        content = request.json()
    except ValueError:
        raise BindingError("$", "not JSON") from None
    if not isinstance(content, dict):
        raise BindingError("$", "not an object")
    return content
