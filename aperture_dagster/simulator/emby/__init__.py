"""A stand-in for an Emby server, version 4.8."""

from __future__ import annotations

from typing import Any

from starlette.responses import PlainTextResponse, Response

from aperture_dagster.simulator.catalogue import Item
from aperture_dagster.simulator.emby import dto
from aperture_dagster.simulator.emby import dto as ids
from aperture_dagster.simulator.emby.dto import EmbyAccess
from aperture_dagster.simulator.emby.items import (
    LISTING_PARAMETERS,
    PAGE_PARAMETERS,
    EmbyEditingEndpoints,
    EmbyItemEndpoints,
    EmbyListEndpoints,
    EmbyPlaystateEndpoints,
)
from aperture_dagster.simulator.emby.libraries import EmbyLibraryEndpoints
from aperture_dagster.simulator.jellyfin import binding, policies
from aperture_dagster.simulator.jellyfin.access import MediaServer, json_object
from aperture_dagster.simulator.jellyfin.binding import ArgumentError, NotFoundError
from aperture_dagster.simulator.jellyfin.dto import name_id
from aperture_dagster.simulator.jellyfin.editing import StudioEndpoints
from aperture_dagster.simulator.jellyfin.home import SessionEndpoints
from aperture_dagster.simulator.jellyfin.keys import KeyEndpoints
from aperture_dagster.simulator.jellyfin.users import (
    EMBY,
    EMBY_PARAMETERS,
    ActivityEndpoints,
    UserEndpoints,
    WrongPasswordError,
)
from aperture_dagster.simulator.libraries import PathMissingError, UnknownLibraryError
from aperture_dagster.simulator.responses import JSONResponse
from aperture_dagster.simulator.service import Operation, Request, left_out
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.user_data import ServerUser

__all__ = ["EmbyService"]


class EmbyStudioEndpoints(StudioEndpoints):
    """``GET /Studios``, and pictures, which clients can upload for anything."""

    with_start = False

    def _id(self, name: str) -> str:
        return str(dto.name_number("studio", name))

    def _item(self, item_id: str) -> Item | None:
        return dto.find_item(self._state.catalogue, item_id)


class EmbyUserEndpoints(UserEndpoints):
    """Endpoints that read and change users."""

    def __init__(self, access: EmbyAccess, server_id: str) -> None:
        super().__init__(access, server_id, None)

    def _dto(self, user: ServerUser) -> dict[str, Any]:
        names = dto.connect_names(list(self._state.users.values()))
        return dto.user_dto(user, self._state.catalogue, self._server_id, names.get(user.id))

    def query(self, request: Request) -> Response:
        """``GET /Users/Query``."""
        return binding.listing(request.query, self._dtos(request), list, with_start=False)

    def set_policy(self, request: Request, user_id: str) -> Response:
        """``POST /Users/{user_id}/Policy``: folders are Guids; other ids are accepted and grant nothing."""
        user = self._access.required_user(request, user_id)
        policy = policies.parse_policy(json_object(request), None)
        folders = tuple(str(folder).replace("-", "").lower() for folder in policy["EnabledFolders"])
        self._replace_policy(user, policy, folders)
        excluded = [str(name) for name in policy["ExcludedSubFolders"]]
        user.policy.excluded_locations = ids.excluded_locations(self._state.catalogue, excluded)
        return Response(status_code=204)


# The Emby stand-in: its operations, the system and the users.
#
# It follows 4.8 and 4.9, which are closed source: parameters and fields are as in MediaBrowser/Emby.SDK
# ``Resources/OpenApi/openapi_v3.json`` (4.8.11), behaviour as clients report it.


_PICTURE = ("MaxWidth", "MaxHeight", "Tag", "Quality", "Format")
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
            *left_out("GET", "/Users/{user_id}/Items/Root"),
            *left_out("POST", "/Users/New"),
            Operation("GET", "/System/ActivityLog/Entries", ActivityEndpoints(state, EMBY).entries, EMBY_PARAMETERS),
            Operation("GET", "/Sessions", SessionEndpoints(access, server_id, items.whole, None).listing),
            *KeyEndpoints(access, "App").operations(),
            *EmbyLibraryEndpoints(access).operations(),
            *self._operations(items, playstate, EmbyStudioEndpoints(access, server_id, items.image)),
            *_user_operations(EmbyUserEndpoints(access, server_id)),
            *_list_operations(EmbyListEndpoints(access, items), EmbyEditingEndpoints(access)),
        ]
        super().__init__(state, access, server_id, operations)

    def error(self, status: int) -> Response:
        """Return a plain-text error, in .NET's words."""
        return PlainTextResponse(_TEXTS.get(status, "The server is busy. Please try again later."), status)

    def client_error(self, error: Exception) -> Response | None:
        """Return the response to a request for what does not exist."""
        match error:
            case ArgumentError() | PathMissingError():
                return self.error(400)
            case WrongPasswordError():
                return PlainTextResponse("Invalid username or password entered.", 401)
            case NotFoundError() | UnknownLibraryError():
                return self.error(404)
        return None

    def _operations(
        self, items: EmbyItemEndpoints, playstate: EmbyPlaystateEndpoints, studios: EmbyStudioEndpoints
    ) -> list[Operation]:
        listing = (*LISTING_PARAMETERS, *PAGE_PARAMETERS)
        return [
            Operation("GET", "/System/Info/Public", lambda _: JSONResponse(self._system()), public=True),
            Operation("GET", "/System/Info", self._info),
            Operation("GET", "/Library/SelectableMediaFolders", self._media_folders),
            Operation("GET", "/Items", items.listing, listing),
            Operation("GET", "/Users/{user_id}/Views", items.views, ("IncludeHidden",)),
            Operation("GET", "/Videos/{item_id}/AdditionalParts", items.parts, ("UserId",)),
            Operation("GET", "/Users/{user_id}/Items", items.listing, listing),
            Operation("GET", "/Users/{user_id}/Items/{item_id}", items.single),
            Operation("POST", "/Users/{user_id}/Items/{item_id}/UserData", playstate.write),
            Operation("POST", "/Users/{user_id}/PlayedItems/{item_id}", playstate.played, ("DatePlayed",)),
            Operation("DELETE", "/Users/{user_id}/PlayedItems/{item_id}", playstate.unplayed),
            Operation("POST", "/Users/{user_id}/FavoriteItems/{item_id}", playstate.favorite),
            Operation("DELETE", "/Users/{user_id}/FavoriteItems/{item_id}", playstate.unfavorite),
            Operation("POST", "/Users/{user_id}/Items/{item_id}/Rating", playstate.like, ("Likes",)),
            Operation("DELETE", "/Users/{user_id}/Items/{item_id}/Rating", playstate.unrate),
            Operation("GET", "/Items/{item_id}/Images/{image_type}", studios.image, _PICTURE, public=True),
            Operation("POST", "/Items/{item_id}/Images/{image_type}", studios.set_image),
            Operation("DELETE", "/Items/{item_id}/Images/{image_type}", studios.remove_image),
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

    def _media_folders(self, request: Request) -> Response:
        catalogue = self._state.catalogue
        return JSONResponse([dto.media_folder_dto(library, catalogue) for library in self._access.libraries()])


def _user_operations(users: EmbyUserEndpoints) -> list[Operation]:
    return [
        Operation("POST", "/Users/AuthenticateByName", users.sign_in, public=True),
        Operation("POST", "/Sessions/Logout", users.sign_out),
        Operation("GET", "/Users/Query", users.query, ("StartIndex", "Limit")),
        Operation("GET", "/Users", users.listing),
        Operation("POST", "/Users/{user_id}/Policy", users.set_policy),
        Operation("POST", "/Users/{user_id}/Configuration", users.set_configuration),
    ]


def _list_operations(lists: EmbyListEndpoints, editing: EmbyEditingEndpoints) -> list[Operation]:
    members, entries = "/Collections/{list_id}/Items", "/Playlists/{list_id}/Items"
    return [
        Operation("POST", "/Collections", lists.create_box_set, ("Name", "Ids", "IsLocked")),
        Operation("POST", members, lists.add_to_box_set, ("Ids",)),
        Operation("DELETE", members, lists.remove_from_box_set, ("Ids",)),
        Operation("POST", "/Playlists", lists.create_playlist, ("Name", "Ids", "MediaType", "UserId")),
        Operation("GET", entries, lists.playlist, ("UserId", *PAGE_PARAMETERS)),
        Operation("POST", entries, lists.add_to_playlist, ("Ids", "UserId")),
        Operation("DELETE", entries, lists.remove_from_playlist, ("EntryIds",)),
        Operation("POST", "/Items/{item_id}", editing.update),
        Operation("DELETE", "/Items/{item_id}", editing.delete),
    ]
