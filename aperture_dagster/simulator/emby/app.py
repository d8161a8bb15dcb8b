"""The Emby stand-in: its routes, the system and the users.

It plays 4.8 and 4.9, which are closed: parameters and fields as in MediaBrowser/Emby.SDK
``Resources/OpenApi/openapi_v3.json`` (4.8.11), habits as clients report them.
"""

from __future__ import annotations

import re
from typing import Any

from aperture_dagster.simulator.asgi import (
    Request,
    Response,
    empty_response,
    json_response,
    text_response,
)
from aperture_dagster.simulator.emby import dto, ids
from aperture_dagster.simulator.emby.access import EmbyAccess
from aperture_dagster.simulator.emby.items import LISTING_PARAMETERS, PAGE_PARAMETERS, EmbyItemEndpoints
from aperture_dagster.simulator.emby.studios import EmbyStudioEndpoints
from aperture_dagster.simulator.jellyfin import binding
from aperture_dagster.simulator.jellyfin.access import json_object
from aperture_dagster.simulator.jellyfin.binding import BindingError, NotFoundError
from aperture_dagster.simulator.jellyfin.dto import name_id
from aperture_dagster.simulator.jellyfin.service import Endpoint, MediaServerService, RouteEntry
from aperture_dagster.simulator.jellyfin.studios import PictureError
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.user_data import ServerUser

_TEXTS = {
    400: "Input string was not in a correct format.",
    401: "Access token is invalid or expired.",
    403: "Access to this resource is forbidden.",
    404: "Item not found.",
    500: "Object reference not set to an instance of an object.",
}


class EmbyService(MediaServerService):
    """Emby over a state; errors are plain text."""

    name = "emby"
    public = re.compile(r"/(System/Info/Public|System/Ping|Items/[^/]+/Images/.*)", re.IGNORECASE)

    def __init__(self, state: SimulatorState) -> None:
        access = EmbyAccess(state)
        super().__init__(state, access, name_id("emby", state.world_name))
        items = EmbyItemEndpoints(access, self._server_id)
        self.router.leave_out("GET", "/Users/Public", "/Users/ItemAccess", "/Users/{user}/Items/Latest")
        self.router.leave_out("GET", "/Users/{user}/Items/Root")
        self.router.leave_out("POST", "/Users/New", "/Users/AuthenticateByName")
        self._add(self._routes(items, EmbyStudioEndpoints(access, self._server_id, items.image)))

    def error(self, status: int) -> Response:
        """Every error is plain text, in .NET's words."""
        return text_response(_TEXTS.get(status, "The server is busy. Please try again later."), status)

    def _refused(self, status: int) -> Response:
        return self.error(status)

    def _guarded(self, handler: Endpoint, request: Request, parts: tuple[str, ...]) -> Response:
        try:
            return handler(request, *parts)
        except BindingError:
            return self.error(400)
        except NotFoundError:
            return self.error(404)
        except PictureError as error:
            return self.error(error.status)

    def _routes(self, items: EmbyItemEndpoints, studios: EmbyStudioEndpoints) -> list[RouteEntry]:
        listing = (*LISTING_PARAMETERS, *PAGE_PARAMETERS)
        return [
            ("GET", "/System/Info/Public", lambda _: json_response(self._system()), ()),
            ("GET", "/System/Info", self._info, ()),
            ("GET", "/System/Ping", lambda _: text_response("Emby Server"), ()),
            ("GET", "/Users/Query", self._query_users, ("IsHidden", "IsDisabled", "StartIndex", "Limit")),
            ("GET", "/Users", self._list_users, ("IsHidden", "IsDisabled")),
            ("GET", "/Users/{user}", self._get_user, ()),
            ("POST", "/Users/{user}/Policy", self._set_policy, ()),
            ("GET", "/Library/VirtualFolders/Query", self._query_folders, ()),
            ("GET", "/Library/VirtualFolders", lambda _: json_response(self._folders()), ()),
            ("GET", "/Library/SelectableMediaFolders", self._media_folders, ()),
            ("POST", "/Library/Refresh", lambda _: empty_response(), ()),
            ("GET", "/Items", items.listing, listing),
            ("GET", "/Users/{user}/Views", items.views, ()),
            ("GET", "/Users/{user}/Items", items.listing, listing),
            ("GET", "/Users/{user}/Items/Resume", items.resume, PAGE_PARAMETERS),
            ("GET", "/Users/{user}/Items/{item}", items.single, ()),
            ("POST", "/Users/{user}/Items/{item}/UserData", items.write, ()),
            ("POST", "/Users/{user}/PlayedItems/{item}", items.played, ("DatePlayed",)),
            ("DELETE", "/Users/{user}/PlayedItems/{item}", items.played, ()),
            ("POST", "/Users/{user}/FavoriteItems/{item}", items.favorite, ()),
            ("DELETE", "/Users/{user}/FavoriteItems/{item}", items.favorite, ()),
            ("GET", "/Shows/{series}/Episodes", items.episodes, ("UserId", "Season", "SeasonId", *PAGE_PARAMETERS)),
            ("GET", "/Items/{item}/Images/{type}", studios.image, ("MaxWidth", "MaxHeight", "Tag", "Quality")),
            ("POST", "/Items/{item}/Images/{type}", studios.set_image, ()),
            ("GET", "/Studios", studios.listing, ("StartIndex", "Limit", "EnableImages")),
        ]

    def _system(self) -> dict[str, Any]:
        """Unlike Jellyfin's, without a ``ProductName``."""
        return {
            "LocalAddress": "http://127.0.0.1:8096",
            "LocalAddresses": [],
            "RemoteAddresses": [],
            "ServerName": "Stand-in",
            "Version": self._state.settings.emby_version,
            "Id": self._server_id,
        }

    def _info(self, request: Request) -> Response:
        more = {"OperatingSystemDisplayName": "Linux", "HasPendingRestart": False, "IsShuttingDown": False}
        return json_response(self._system() | more)

    def _user(self, user: ServerUser) -> dict[str, Any]:
        names = dto.connect_names(list(self._state.users.values()))
        return dto.user_dto(user, self._state.catalogue, self._server_id, names.get(user.id))

    def _user_dtos(self, request: Request) -> list[dict[str, Any]]:
        hidden, disabled = binding.boolean(request.query, "IsHidden"), binding.boolean(request.query, "IsDisabled")
        return [self._user(user) for user in self._users(hidden=hidden, disabled=disabled)]

    def _query_users(self, request: Request) -> Response:
        users = self._user_dtos(request)
        start = max(0, binding.integer(request.query, "StartIndex") or 0)
        limit = binding.integer(request.query, "Limit")
        page = users[start:] if limit is None else users[start : start + max(0, limit)]
        return json_response({"Items": page, "TotalRecordCount": len(users)})

    def _list_users(self, request: Request) -> Response:
        return json_response(self._user_dtos(request))

    def _get_user(self, request: Request, user_id: str) -> Response:
        return json_response(self._user(self._access.required_user(request, user_id)))

    def _set_policy(self, request: Request, user_id: str) -> Response:
        """Folders are named by Guid."""
        user = self._access.required_user(request, user_id)
        content = json_object(request)
        folders = content.get("EnabledFolders") or ()
        self._replace_policy(user, content, tuple(str(folder).replace("-", "").lower() for folder in folders))
        excluded = [str(name) for name in content.get("ExcludedSubFolders") or ()]
        user.policy.excluded_locations = ids.excluded_locations(self._state.catalogue, excluded)
        return empty_response()

    def _folders(self) -> list[dict[str, Any]]:
        return [dto.virtual_folder_dto(library, self._state.catalogue) for library in self._access.folders()]

    def _media_folders(self, request: Request) -> Response:
        catalogue = self._state.catalogue
        return json_response([dto.media_folder_dto(library, catalogue) for library in self._access.libraries()])

    def _query_folders(self, request: Request) -> Response:
        folders = self._folders()
        return json_response({"Items": folders, "TotalRecordCount": len(folders)})
