"""The Jellyfin stand-in: its routes, the system and the users.

It plays 10.9.11, 10.10.7, 10.11.11 and 12.0; the modules beside this one name the source that they follow.
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
from aperture_dagster.simulator.jellyfin import binding, dto
from aperture_dagster.simulator.jellyfin.access import Access, json_object
from aperture_dagster.simulator.jellyfin.binding import BindingError, NotFoundError, UnknownUserError
from aperture_dagster.simulator.jellyfin.items import ItemEndpoints
from aperture_dagster.simulator.jellyfin.listing import LISTING_PARAMETERS, PAGE_PARAMETERS
from aperture_dagster.simulator.jellyfin.playstate import PlaystateEndpoints
from aperture_dagster.simulator.jellyfin.service import Endpoint, MediaServerService, RouteEntry
from aperture_dagster.simulator.jellyfin.studios import PictureError, StudioEndpoints
from aperture_dagster.simulator.state import SimulatorState

_BUSY_PAGE = "<!DOCTYPE html><html><body>The server is starting. Please try again shortly.</body></html>"
_USER = ("userId",)
_WHAT_OF_EACH = ("fields", "enableImages", "enableUserData")
_RESUME = ("parentId", "includeItemTypes", *PAGE_PARAMETERS)
_STUDIOS = (
    "userId", "parentId", "includeItemTypes", "searchTerm", "startIndex", "limit", "enableTotalRecordCount",
    "enableImages",
)  # fmt: skip
# Literals that would be taken for an id, and what else clients like to ask.
_LEFT_OUT = {
    "GET": (
        "/Users/Public",
        "/Items/Filters",
        "/Items/Filters2",
        "/Items/Suggestions",
        "/Items/Root",
    ),
    "POST": (
        "/Users/New",
        "/Users/AuthenticateByName",
        "/Users/Configuration",
        "/Users/Password",
        "/Users/ForgotPassword",
    ),
}
_PROVIDERS = ("AuthenticationProviderId", "PasswordResetProviderId")


class JellyfinService(MediaServerService):
    """Jellyfin over a state."""

    name = "jellyfin"
    public = re.compile(r"/(System/Info/Public|System/Ping|health|Items/[^/]+/Images/.*)", re.IGNORECASE)

    def __init__(self, state: SimulatorState) -> None:
        super().__init__(state, Access(state), dto.name_id("server", state.world_name))
        items, playstate = ItemEndpoints(self._access, self._server_id), PlaystateEndpoints(self._access)
        for method, patterns in _LEFT_OUT.items():
            self.router.leave_out(method, *patterns)
        self._add((*self._routes(items, playstate), *_old_routes(items, playstate)))

    def error(self, status: int) -> Response:
        """401 and 403 are empty, 502 to 504 are a page, the rest plain text."""
        if status in (401, 403):
            return empty_response(status)
        if status in (502, 503, 504):
            return Response(status, _BUSY_PAGE.encode(), "text/html; charset=utf-8")
        return text_response("Error processing request.", status)

    def _refused(self, status: int) -> Response:
        return empty_response(status)

    def _guarded(self, handler: Endpoint, request: Request, parts: tuple[str, ...]) -> Response:
        try:
            return handler(request, *parts)
        except BindingError as error:
            return error.response()
        except UnknownUserError:
            # Jellyfin.Api/Middleware/ExceptionMiddleware.cs
            return self.error(404)
        except NotFoundError:
            return binding.problem(404)
        except PictureError as error:
            return json_response("Incorrect ContentType.", 400) if error.status == 400 else self.error(error.status)

    def _routes(self, items: ItemEndpoints, playstate: PlaystateEndpoints) -> list[RouteEntry]:
        studios = StudioEndpoints(self._access, self._server_id, items.image)
        return [
            ("GET", "/System/Info/Public", lambda _: json_response(self._system()), ()),
            ("GET", "/System/Info", self._info, ()),
            ("GET", "/System/Ping", lambda _: json_response("Jellyfin Server"), ()),
            ("GET", "/health", lambda _: text_response("Healthy"), ()),
            ("GET", "/Users", self._list_users, ("isHidden", "isDisabled")),
            # An API key has no user of its own.
            ("GET", "/Users/Me", lambda _: text_response("Error processing request.", 400), ()),
            ("GET", "/Users/{user}", self._get_user, ()),
            ("POST", "/Users/{user}/Policy", self._set_policy, ()),
            ("GET", "/Library/VirtualFolders", self._virtual_folders, ()),
            ("POST", "/Library/Refresh", lambda _: empty_response(), ()),
            ("GET", "/UserViews", items.views, _USER),
            ("GET", "/Items", items.listing, (*LISTING_PARAMETERS, *PAGE_PARAMETERS)),
            ("GET", "/Items/Counts", items.counts, ()),
            ("GET", "/Items/Latest", items.latest, ("parentId", "includeItemTypes", *_USER, *_WHAT_OF_EACH, "limit")),
            ("GET", "/Items/{item}", items.single, _USER),
            ("GET", "/Items/{item}/Images/{type}", studios.image, ("maxWidth", "maxHeight", "tag", "quality")),
            ("POST", "/Items/{item}/Images/{type}", studios.set_image, ()),
            ("GET", "/Studios", studios.listing, _STUDIOS),
            ("GET", "/Shows/NextUp", items.next_up, ("seriesId", *_USER, *PAGE_PARAMETERS)),
            ("GET", "/Shows/{series}/Seasons", items.seasons, (*_USER, *_WHAT_OF_EACH)),
            (
                "GET",
                "/Shows/{series}/Episodes",
                items.episodes,
                ("season", "seasonId", "sortBy", "startIndex", "limit", *_USER, *_WHAT_OF_EACH),
            ),
            ("GET", "/UserItems/Resume", items.resume, (*_RESUME, *_USER)),
            ("GET", "/UserItems/{item}/UserData", playstate.get, _USER),
            ("POST", "/UserItems/{item}/UserData", playstate.write, _USER),
            ("POST", "/UserItems/{item}/Rating", playstate.rate, ("likes", *_USER)),
            ("DELETE", "/UserItems/{item}/Rating", playstate.rate, _USER),
            ("POST", "/UserPlayedItems/{item}", playstate.played, ("datePlayed", *_USER)),
            ("DELETE", "/UserPlayedItems/{item}", playstate.unplayed, _USER),
            ("POST", "/UserFavoriteItems/{item}", playstate.favorite, _USER),
            ("DELETE", "/UserFavoriteItems/{item}", playstate.favorite, _USER),
        ]

    def _system(self) -> dict[str, Any]:
        return {
            "LocalAddress": "http://127.0.0.1:8096",
            "ServerName": "Stand-in",
            "Version": self._state.settings.jellyfin_version,
            "ProductName": "Jellyfin Server",
            "OperatingSystem": "",
            "Id": self._server_id,
            "StartupWizardCompleted": True,
        }

    def _info(self, request: Request) -> Response:
        more = {"HasPendingRestart": False, "IsShuttingDown": False, "SupportsLibraryMonitor": True}
        return json_response(self._system() | more)

    def _list_users(self, request: Request) -> Response:
        hidden, disabled = binding.boolean(request.query, "isHidden"), binding.boolean(request.query, "isDisabled")
        users = self._users(hidden=hidden, disabled=disabled)
        return json_response([dto.user_dto(user, self._server_id) for user in users])

    def _get_user(self, request: Request, user_id: str) -> Response:
        user = self._state.users.get(binding.as_guid("userId", user_id))
        if user is None:
            return json_response("User not found", 404)
        return json_response(dto.user_dto(user, self._server_id))

    def _set_policy(self, request: Request, user_id: str) -> Response:
        user = self._access.required_user(request, user_id)
        content = json_object(request)
        missing = [name for name in _PROVIDERS if not content.get(name)]
        if missing:
            return binding.problem(400, {name: [f"The {name} field is required."] for name in missing})
        folders = content.get("EnabledFolders") or ()
        ids = tuple(binding.as_guid("EnabledFolders", str(folder)) for folder in folders)
        self._replace_policy(user, content, ids)
        return empty_response()

    def _virtual_folders(self, request: Request) -> Response:
        return json_response([dto.virtual_folder_dto(library) for library in self._access.folders()])


def _old_routes(items: ItemEndpoints, playstate: PlaystateEndpoints) -> list[RouteEntry]:
    """Obsolete routes, with the user in the path, which still answer."""

    def single(asked: Request, user: str, item: str) -> Response:
        return items.single(asked, item, user)

    def of_user(handler: Endpoint) -> Endpoint:
        return lambda asked, user, item: handler(asked, item, user)

    return [
        ("GET", "/Users/{user}/Views", items.views, ()),
        ("GET", "/Users/{user}/Items", items.listing, (*LISTING_PARAMETERS, *PAGE_PARAMETERS)),
        ("GET", "/Users/{user}/Items/Resume", items.resume, _RESUME),
        ("GET", "/Users/{user}/Items/{item}", single, ()),
        ("POST", "/Users/{user}/PlayedItems/{item}", of_user(playstate.played), ("datePlayed",)),
        ("DELETE", "/Users/{user}/PlayedItems/{item}", of_user(playstate.unplayed), ()),
        ("POST", "/Users/{user}/FavoriteItems/{item}", of_user(playstate.favorite), ()),
        ("DELETE", "/Users/{user}/FavoriteItems/{item}", of_user(playstate.favorite), ()),
    ]
