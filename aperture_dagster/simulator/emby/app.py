"""The Emby stand-in: its operations, the system and the users.

It follows 4.8 and 4.9, which are closed source: parameters and fields are as in MediaBrowser/Emby.SDK
``Resources/OpenApi/openapi_v3.json`` (4.8.11), behaviour as clients report it.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import PlainTextResponse, Response

from aperture_dagster.simulator.emby import dto, ids
from aperture_dagster.simulator.emby.access import EmbyAccess
from aperture_dagster.simulator.emby.items import (
    LISTING_PARAMETERS,
    PAGE_PARAMETERS,
    EmbyItemEndpoints,
    EmbyPlaystateEndpoints,
)
from aperture_dagster.simulator.emby.studios import EmbyStudioEndpoints
from aperture_dagster.simulator.jellyfin import binding
from aperture_dagster.simulator.jellyfin.access import json_object
from aperture_dagster.simulator.jellyfin.binding import BindingError, NotFoundError
from aperture_dagster.simulator.jellyfin.dto import name_id
from aperture_dagster.simulator.jellyfin.service import MediaServer
from aperture_dagster.simulator.jellyfin.studios import PictureError
from aperture_dagster.simulator.responses import JSONResponse
from aperture_dagster.simulator.service import Operation, Request, left_out
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.user_data import ServerUser

_PICTURE = ("MaxWidth", "MaxHeight", "Tag", "Quality")
_TEXTS = {
    400: "Input string was not in a correct format.",
    401: "Access token is invalid or expired.",
    403: "Access to this resource is forbidden.",
    404: "Item not found.",
    500: "Object reference not set to an instance of an object.",
}


class EmbyService(MediaServer):
    """Emby over a state; errors are plain text."""

    name = "emby"

    def __init__(self, state: SimulatorState) -> None:
        access, server_id = EmbyAccess(state), name_id("emby", state.world_name)
        items, playstate = EmbyItemEndpoints(access, server_id), EmbyPlaystateEndpoints(access)
        operations = [
            *left_out("GET", "/Users/Public", "/Users/ItemAccess"),
            *left_out("GET", "/Users/{user_id}/Items/Latest", "/Users/{user_id}/Items/Root"),
            *left_out("POST", "/Users/New", "/Users/AuthenticateByName"),
            *self._operations(items, playstate, EmbyStudioEndpoints(access, server_id, items.image)),
        ]
        super().__init__(state, access, server_id, operations)

    def error(self, status: int) -> Response:
        """Return a plain-text error, in .NET's words."""
        return PlainTextResponse(_TEXTS.get(status, "The server is busy. Please try again later."), status)

    def client_error(self, error: Exception) -> Response | None:
        """Return the response to a request that cannot be bound, or that asks for what does not exist."""
        match error:
            case BindingError():
                return self.error(400)
            case NotFoundError():
                return self.error(404)
            case PictureError():
                return self.error(error.status)
        return None

    def _operations(
        self, items: EmbyItemEndpoints, playstate: EmbyPlaystateEndpoints, studios: EmbyStudioEndpoints
    ) -> list[Operation]:
        listing = (*LISTING_PARAMETERS, *PAGE_PARAMETERS)
        return [
            Operation("GET", "/System/Info/Public", lambda _: JSONResponse(self._system()), public=True),
            Operation("GET", "/System/Info", self._info),
            Operation("GET", "/System/Ping", lambda _: PlainTextResponse("Emby Server"), public=True),
            Operation("GET", "/Users/Query", self._query_users, ("IsHidden", "IsDisabled", "StartIndex", "Limit")),
            Operation("GET", "/Users", self._list_users, ("IsHidden", "IsDisabled")),
            Operation("GET", "/Users/{user_id}", self._get_user),
            Operation("POST", "/Users/{user_id}/Policy", self._set_policy),
            Operation("GET", "/Library/VirtualFolders/Query", self._query_folders),
            Operation("GET", "/Library/VirtualFolders", lambda _: JSONResponse(self._folders())),
            Operation("GET", "/Library/SelectableMediaFolders", self._media_folders),
            Operation("POST", "/Library/Refresh", lambda _: Response(status_code=204)),
            Operation("GET", "/Items", items.listing, listing),
            Operation("GET", "/Users/{user_id}/Views", items.views),
            Operation("GET", "/Users/{user_id}/Items", items.listing, listing),
            Operation("GET", "/Users/{user_id}/Items/Resume", items.resume, PAGE_PARAMETERS),
            Operation("GET", "/Users/{user_id}/Items/{item_id}", items.single),
            Operation("POST", "/Users/{user_id}/Items/{item_id}/UserData", playstate.write),
            Operation("POST", "/Users/{user_id}/PlayedItems/{item_id}", playstate.played, ("DatePlayed",)),
            Operation("DELETE", "/Users/{user_id}/PlayedItems/{item_id}", playstate.unplayed),
            Operation("POST", "/Users/{user_id}/FavoriteItems/{item_id}", playstate.favorite),
            Operation("DELETE", "/Users/{user_id}/FavoriteItems/{item_id}", playstate.favorite),
            Operation(
                "GET", "/Shows/{series_id}/Episodes", items.episodes, ("UserId", "Season", "SeasonId", *PAGE_PARAMETERS)
            ),
            Operation("GET", "/Items/{item_id}/Images/{image_type}", studios.image, _PICTURE, public=True),
            Operation("POST", "/Items/{item_id}/Images/{image_type}", studios.set_image),
            Operation("GET", "/Studios", studios.listing, ("StartIndex", "Limit", "EnableImages")),
        ]

    def _system(self) -> dict[str, Any]:
        """Return the public facts; unlike Jellyfin's, without a ``ProductName``."""
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
        return JSONResponse(self._system() | more)

    def _user(self, user: ServerUser) -> dict[str, Any]:
        names = dto.connect_names(list(self._state.users.values()))
        return dto.user_dto(user, self._state.catalogue, self._server_id, names.get(user.id))

    def _user_dtos(self, request: Request) -> list[dict[str, Any]]:
        hidden, disabled = binding.boolean(request.query, "IsHidden"), binding.boolean(request.query, "IsDisabled")
        return [self._user(user) for user in self._users(hidden=hidden, disabled=disabled)]

    def _query_users(self, request: Request) -> Response:
        return binding.listing(request.query, self._user_dtos(request), list, with_start=False)

    def _list_users(self, request: Request) -> Response:
        return JSONResponse(self._user_dtos(request))

    def _get_user(self, request: Request, user_id: str) -> Response:
        return JSONResponse(self._user(self._access.required_user(request, user_id)))

    def _set_policy(self, request: Request, user_id: str) -> Response:
        """``POST /Users/{user_id}/Policy``, with folders by Guid."""
        user = self._access.required_user(request, user_id)
        content = json_object(request)
        folders = content.get("EnabledFolders") or ()
        self._replace_policy(user, content, tuple(str(folder).replace("-", "").lower() for folder in folders))
        excluded = [str(name) for name in content.get("ExcludedSubFolders") or ()]
        user.policy.excluded_locations = ids.excluded_locations(self._state.catalogue, excluded)
        return Response(status_code=204)

    def _folders(self) -> list[dict[str, Any]]:
        return [dto.virtual_folder_dto(library, self._state.catalogue) for library in self._access.folders()]

    def _media_folders(self, request: Request) -> Response:
        catalogue = self._state.catalogue
        return JSONResponse([dto.media_folder_dto(library, catalogue) for library in self._access.libraries()])

    def _query_folders(self, request: Request) -> Response:
        return binding.listing(request.query, self._folders(), list, with_start=False)
