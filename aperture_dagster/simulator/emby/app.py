"""The Emby stand-in: its routes, the system and the users."""

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
from aperture_dagster.simulator.emby import dto
from aperture_dagster.simulator.emby.access import EmbyAccess
from aperture_dagster.simulator.emby.items import EmbyItemEndpoints
from aperture_dagster.simulator.emby.studios import EmbyStudioEndpoints
from aperture_dagster.simulator.jellyfin import binding
from aperture_dagster.simulator.jellyfin.access import json_object
from aperture_dagster.simulator.jellyfin.binding import BindingError, NotFoundError
from aperture_dagster.simulator.jellyfin.dto import name_id
from aperture_dagster.simulator.jellyfin.service import Endpoint, MediaServerService
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

    def _routes(self, items: EmbyItemEndpoints, studios: EmbyStudioEndpoints) -> list[tuple[str, str, Endpoint]]:
        return [
            ("GET", "/System/Info/Public", lambda _: json_response(self._system())),
            ("GET", "/System/Info", self._info),
            ("GET", "/System/Ping", lambda _: text_response("Emby Server")),
            ("GET", "/Users/Query", self._query_users),
            ("GET", "/Users", self._list_users),
            ("GET", "/Users/{user}", self._get_user),
            ("POST", "/Users/{user}/Policy", self._set_policy),
            ("GET", "/Library/VirtualFolders/Query", self._query_folders),
            ("GET", "/Library/VirtualFolders", lambda _: json_response(self._folders())),
            ("POST", "/Library/Refresh", lambda _: empty_response()),
            ("GET", "/Items", items.listing),
            ("GET", "/Users/{user}/Views", items.views),
            ("GET", "/Users/{user}/Items", items.listing),
            ("GET", "/Users/{user}/Items/Resume", items.resume),
            ("GET", "/Users/{user}/Items/{item}", items.single),
            ("POST", "/Users/{user}/Items/{item}/UserData", items.write),
            ("POST", "/Users/{user}/PlayedItems/{item}", items.played),
            ("DELETE", "/Users/{user}/PlayedItems/{item}", items.played),
            ("POST", "/Users/{user}/FavoriteItems/{item}", items.favorite),
            ("DELETE", "/Users/{user}/FavoriteItems/{item}", items.favorite),
            ("GET", "/Shows/{series}/Episodes", items.episodes),
            ("GET", "/Items/{item}/Images/{type}", studios.image),
            ("POST", "/Items/{item}/Images/{type}", studios.set_image),
            ("GET", "/Studios", studios.listing),
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
        return dto.user_dto(user, self._server_id, names.get(user.id))

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
        return empty_response()

    def _folders(self) -> list[dict[str, Any]]:
        return [dto.virtual_folder_dto(library, self._state.catalogue) for library in self._access.libraries()]

    def _query_folders(self, request: Request) -> Response:
        folders = self._folders()
        return json_response({"Items": folders, "TotalRecordCount": len(folders)})
