"""A stand-in for a Jellyfin server, versions 10.9 to 12."""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
import uuid
from typing import Any

from starlette.responses import HTMLResponse, PlainTextResponse, Response

from aperture_dagster.simulator.jellyfin import binding, dto
from aperture_dagster.simulator.jellyfin.access import Access, MediaServer, json_object
from aperture_dagster.simulator.jellyfin.binding import ArgumentError, NotFoundError, UnknownUserError
from aperture_dagster.simulator.jellyfin.editing import EditingEndpoints, StudioEndpoints
from aperture_dagster.simulator.jellyfin.home import HomeEndpoints, SessionEndpoints
from aperture_dagster.simulator.jellyfin.items import ItemEndpoints
from aperture_dagster.simulator.jellyfin.keys import KeyEndpoints
from aperture_dagster.simulator.jellyfin.libraries import LibraryEndpoints
from aperture_dagster.simulator.jellyfin.listing import LISTING_PARAMETERS, PAGE_PARAMETERS, Listings
from aperture_dagster.simulator.jellyfin.lists import BoxSetEndpoints, PlaylistEndpoints
from aperture_dagster.simulator.jellyfin.users import (
    JELLYFIN,
    PARAMETERS,
    ActivityEndpoints,
    DeviceEndpoints,
    PlaystateEndpoints,
    UserEndpoints,
    WrongPasswordError,
)
from aperture_dagster.simulator.libraries import PathMissingError, UnknownLibraryError
from aperture_dagster.simulator.responses import JSONResponse
from aperture_dagster.simulator.service import Operation, Request, left_out, refuse_other_fields
from aperture_dagster.simulator.state import SimulatorState

__all__ = ["JellyfinService"]

# The plugin Home Screen Sections, version 2.5: rows that other programs register, and their titles.
#
# The server requests the titles from the program, without credentials. Registrations are lost when the server restarts.
# As measured on 10.11.11: before its settings were saved once, it lists no rows (500); it ignores the status of a
# program's answer, and fails (500) if that is not JSON.


PLUGIN = "Home Screen Sections"
_FIELDS = ("id", "displayText", "limit", "route", "additionalData", "resultsEndpoint")
_SECONDS = 5.0
_CONFIGURATION = "/Plugins/b8298e01-2697-407a-b44d-aa8dc795e850/Configuration"


class HomeScreenEndpoints:
    """Endpoints of the plugin. They need no key."""

    def __init__(self, access: Access) -> None:
        self._access, self._state = access, access.state

    def operations(self) -> list[Operation]:
        """Return the operations: none if the plugin is not installed."""
        if PLUGIN not in self._state.settings.plugins:
            return []
        return [
            Operation("GET", "/HomeScreen/Ready", self.ready, public=True),
            Operation("POST", "/HomeScreen/RegisterSection", self.register, public=True),
            Operation("GET", "/HomeScreen/Section/{row_id}", self.section, ("userId",), public=True),
            Operation("GET", "/HomeScreen/Sections", self.sections, ("userId",)),
            Operation("GET", "/HomeScreen/Meta", self.meta),
            Operation("GET", _CONFIGURATION, self.configuration),
            Operation("POST", _CONFIGURATION, self.configure),
        ]

    def ready(self, request: Request) -> Response:
        """``GET /HomeScreen/Ready``: 503 while it starts."""
        return Response(status_code=200 if self._state.home_rows is not None else 503)

    def register(self, request: Request) -> Response:
        """``POST /HomeScreen/RegisterSection``: the same id replaces a row."""
        row = json_object(request)
        refuse_other_fields(row, _FIELDS, "a section")
        if self._state.home_rows is None:
            return Response(status_code=503)
        self._state.home_rows[row["id"]] = row
        return Response(status_code=200)

    def section(self, request: Request, row_id: str) -> Response:
        """``GET /HomeScreen/Section/{row_id}``: what the registered program answers."""
        user = self._access.required_user(request)
        row = (self._state.home_rows or {}).get(row_id)
        if row is None:
            raise NotFoundError(row_id)
        found = self._titles(row, user.id)
        return JSONResponse(found) if found is not None else PlainTextResponse("Error processing request.", 500)

    def sections(self, request: Request) -> Response:
        """``GET /HomeScreen/Sections``: the rows of a user's home screen, in their order."""
        if not self._state.home_settings_saved:
            return PlainTextResponse("Error processing request.", 500)
        known = {"MyMedia", "NextUp", *(self._state.home_rows or {})}
        settings = [one for one in self._state.home_settings["SectionSettings"] if one["SectionId"] in known]
        shown = sorted((one for one in settings if one["Enabled"]), key=lambda one: one["OrderIndex"])
        items = [{"Section": one["SectionId"], "ViewMode": one["ViewMode"]} for one in shown]
        return JSONResponse({"Items": items, "TotalRecordCount": len(items), "StartIndex": 0})

    def meta(self, request: Request) -> Response:
        """``GET /HomeScreen/Meta``: whether members have its home screen without turning it on."""
        settings = self._state.home_settings
        return JSONResponse({name: settings[name] for name in ("Enabled", "AllowUserOverride")})

    def configuration(self, request: Request) -> Response:
        """``GET /Plugins/{id}/Configuration``: all settings."""
        return JSONResponse(self._state.home_settings)

    def configure(self, request: Request) -> Response:
        """``POST /Plugins/{id}/Configuration``: replaces all settings."""
        self._state.home_settings, self._state.home_settings_saved = json_object(request), True
        return Response(status_code=204)

    def _titles(self, row: dict[str, Any], user_id: str) -> dict[str, Any] | None:
        body = {"UserId": str(uuid.UUID(user_id)), "AdditionalData": row["additionalData"]}
        headers = {"Content-Type": "application/json"}
        asked = urllib.request.Request(row["resultsEndpoint"], json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(asked, timeout=_SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with contextlib.suppress(ValueError):
                return json.load(error)
        except (OSError, ValueError):
            pass
        return None


# The Jellyfin stand-in: its operations, the system and the users.
#
# It follows 10.9.11, 10.10.7, 10.11.11 and 12.0; the sibling modules name the source files.


_BUSY_PAGE = "<!DOCTYPE html><html><body>The server is starting. Please try again shortly.</body></html>"
_USER = ("userId",)
_ITEM_PARAMETERS = ("fields", "enableImages", "enableUserData")
_PICTURE = ("maxWidth", "maxHeight", "tag", "quality", "format")
# What would be taken for an id.
_LEFT_OUT = ("/Users/Public", "/Items/Filters", "/Items/Filters2", "/Items/Suggestions", "/Items/Root")
# What the real server does not bind on a route, and many clients send, is ignored there and here.
_LIST_PAGE = ("userId", "startIndex", "limit", *_ITEM_PARAMETERS, "includeItemTypes", "recursive")


class JellyfinService(MediaServer):
    """Jellyfin over a state."""

    name = "jellyfin"

    def __init__(self, state: SimulatorState) -> None:
        access, server_id = Access(state), dto.name_id("server", state.world_name)
        listings = Listings(state, "jellyfin", state.settings.jellyfin_release)
        items, playstate = ItemEndpoints(access, server_id, listings), PlaystateEndpoints(access)
        studios = StudioEndpoints(access, server_id, items.image)
        users = UserEndpoints(access, server_id, state.settings.jellyfin_release)
        operations = left_out("GET", *_LEFT_OUT)
        log = ActivityEndpoints(state, JELLYFIN)
        operations.append(Operation("GET", "/System/ActivityLog/Entries", log.entries, PARAMETERS))
        operations += KeyEndpoints(access).operations()
        operations += LibraryEndpoints(access).operations() + HomeScreenEndpoints(access).operations()
        operations += HomeEndpoints(access, items, listings).operations()
        sessions = SessionEndpoints(access, server_id, items.whole, state.settings.jellyfin_release)
        operations.append(Operation("GET", "/Sessions", sessions.listing, ("activeWithinSeconds",)))
        operations.append(Operation("GET", "/Devices", DeviceEndpoints(state).listing))
        operations += self._operations(items, playstate, studios) + _user_operations(users, items)
        playlists = PlaylistEndpoints(access, items, state.settings.jellyfin_release)
        operations += _list_operations(BoxSetEndpoints(access), playlists, EditingEndpoints(access))
        super().__init__(state, access, server_id, operations)

    def error(self, status: int) -> Response:
        """Return an error: 401 and 403 are empty, 502 to 504 are a page, others are plain text."""
        if status in (401, 403):
            return Response(status_code=status)
        if status in (502, 503, 504):
            return HTMLResponse(_BUSY_PAGE, status)
        return PlainTextResponse("Error processing request.", status)

    def refusal(self, status: int) -> Response:
        """Return an empty response."""
        return Response(status_code=status)

    def client_error(self, error: Exception) -> Response | None:
        """Return the response to a request for what does not exist."""
        match error:
            case ArgumentError() | PathMissingError():
                return self.error(400)
            case WrongPasswordError():
                return PlainTextResponse("Error processing request.", 401)
            case UnknownUserError() | UnknownLibraryError():
                # Jellyfin.Api/Middleware/ExceptionMiddleware.cs
                return self.error(404)
            case NotFoundError():
                return binding.not_found()
        return None

    def _operations(
        self, items: ItemEndpoints, playstate: PlaystateEndpoints, studios: StudioEndpoints
    ) -> list[Operation]:
        return [
            Operation("GET", "/System/Info/Public", lambda _: JSONResponse(self._system()), public=True),
            Operation("GET", "/System/Info", self._info),
            Operation("GET", "/Items", items.listing, (*LISTING_PARAMETERS, *PAGE_PARAMETERS)),
            Operation("GET", "/Items/{item_id}", items.single, (*_USER, "fields")),
            Operation("GET", "/Items/{item_id}/Images", items.image_infos),
            Operation("GET", "/Items/{item_id}/Images/{image_type}", studios.image, _PICTURE, public=True),
            Operation(
                "GET",
                "/Items/{item_id}/Images/{image_type}/{image_index}",
                studios.image_at,
                (*_PICTURE, "width", "height"),
                public=True,
            ),
            Operation("POST", "/Items/{item_id}/Images/{image_type}", studios.set_image),
            Operation("DELETE", "/Items/{item_id}/Images/{image_type}", studios.remove_image),
            Operation("GET", "/Videos/{item_id}/AdditionalParts", items.parts, _USER),
            Operation("GET", "/Persons", items.people, ("searchTerm", "personTypes", "limit", *_USER)),
            Operation("GET", "/Studios", studios.listing, ("startIndex", "limit", "enableImages")),
            Operation("GET", "/UserItems/{item_id}/UserData", playstate.get, _USER),
            Operation("POST", "/UserItems/{item_id}/UserData", playstate.write, _USER),
            Operation("POST", "/UserItems/{item_id}/Rating", playstate.like, ("likes", *_USER)),
            Operation("DELETE", "/UserItems/{item_id}/Rating", playstate.unrate, _USER),
            Operation("POST", "/UserFavoriteItems/{item_id}", playstate.favorite, _USER),
            Operation("DELETE", "/UserFavoriteItems/{item_id}", playstate.unfavorite, _USER),
            Operation("POST", "/Users/{user_id}/FavoriteItems/{item_id}", playstate.favorite),
            Operation("DELETE", "/Users/{user_id}/FavoriteItems/{item_id}", playstate.unfavorite),
            Operation("POST", "/UserPlayedItems/{item_id}", playstate.played, ("datePlayed", *_USER)),
            Operation("DELETE", "/UserPlayedItems/{item_id}", playstate.unplayed, _USER),
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
        return JSONResponse(self._system() | more)


def _user_operations(users: UserEndpoints, items: ItemEndpoints) -> list[Operation]:
    return [
        Operation("GET", "/Users", users.listing),
        Operation("GET", "/Users/Me", users.me),
        Operation("POST", "/Users/AuthenticateByName", users.sign_in, public=True),
        Operation("POST", "/Users/AuthenticateWithQuickConnect", users.finish_quick_connect, public=True),
        Operation("POST", "/QuickConnect/Initiate", users.begin_quick_connect, public=True),
        Operation("GET", "/QuickConnect/Connect", users.quick_connect, ("secret",), public=True),
        Operation("POST", "/Sessions/Logout", users.sign_out),
        Operation("POST", "/Users/{user_id}/Policy", users.set_policy),
        Operation("POST", "/Users/Configuration", users.set_configuration, _USER),
        Operation("GET", "/UserViews", items.views, ("includeHidden", *_USER)),
    ]


def _list_operations(
    box_sets: BoxSetEndpoints, playlists: PlaylistEndpoints, editing: EditingEndpoints
) -> list[Operation]:
    entries = "/Playlists/{playlist_id}/Items"
    return [
        Operation("POST", "/Collections", box_sets.create, ("name", "ids", "isLocked")),
        Operation("POST", "/Collections/{box_set_id}/Items", box_sets.add, ("ids",)),
        Operation("DELETE", "/Collections/{box_set_id}/Items", box_sets.remove, ("ids",)),
        Operation("POST", "/Playlists", playlists.create),
        Operation("GET", entries, playlists.listing, _LIST_PAGE),
        Operation("POST", entries, playlists.add, ("ids", "userId")),
        Operation("DELETE", entries, playlists.remove, ("entryIds",)),
        Operation("POST", "/Items/{item_id}", editing.update),
        Operation("DELETE", "/Items/{item_id}", editing.delete),
    ]
