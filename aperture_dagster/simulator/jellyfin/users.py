"""Users, their policies and configurations, their user data of items, and the activity log."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from starlette.responses import Response

from aperture_dagster.simulator.catalogue import Item, item_number
from aperture_dagster.simulator.jellyfin import binding, dto, policies
from aperture_dagster.simulator.jellyfin.access import Access, json_object
from aperture_dagster.simulator.jellyfin.binding import ArgumentError, NotFoundError
from aperture_dagster.simulator.responses import JSONResponse
from aperture_dagster.simulator.service import Request
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.user_data import Device, LogEntry, LogKind, QuickConnectCode, ServerUser

# The activity log of the media server: who has come, and what they began and stopped to watch. What else is logged is
# left out; marks as favourite and likes are not logged.
#
# Modelled on jellyfin/jellyfin 10.9 to 12, ``Jellyfin.Api/Controllers/ActivityLogController.cs``,
# ``Jellyfin.Server.Implementations/Activity/ActivityManager.cs`` and ``Events/Consumers/Session``. Emby's is closed
# source: path and fields are as in MediaBrowser/Emby.SDK ``Resources/OpenApi/openapi_v3.json`` (4.8.11).


PARAMETERS = ("startIndex", "limit", "minDate", "hasUserId")
EMBY_PARAMETERS = ("StartIndex", "Limit", "MinDate")
_SENTENCES: dict[LogKind, str] = {
    "session started": "is online from a television",
    "play began": "is playing {} on a television",
    "play ended": "has finished playing {} on a television",
}


class Dialect(NamedTuple):
    """How a server writes an entry: the types by kind, its severity, and the id of the item."""

    types: Mapping[LogKind, str]
    severity: str
    id_of: Callable[[Item], str]


JELLYFIN = Dialect(
    {"session started": "SessionStarted", "play began": "VideoPlayback", "play ended": "VideoPlaybackStopped"},
    "Information",
    lambda item: item.id,
)
EMBY = Dialect(
    {"session started": "session.start", "play began": "playback.start", "play ended": "playback.stop"},
    "Info",
    item_number,
)


class ActivityEndpoints:
    """The endpoint that lists the log."""

    def __init__(self, state: SimulatorState, dialect: Dialect) -> None:
        self._state, self._dialect = state, dialect

    def entries(self, request: Request) -> Response:
        """``GET /System/ActivityLog/Entries``: the newest entries first."""
        since = binding.moment(request.query, "minDate")
        of_users = binding.boolean(request.query, "hasUserId") is not False
        found = [one for one in self._state.log if of_users and (since is None or one.at >= since)]
        found.sort(key=lambda one: (one.at, one.number), reverse=True)
        return binding.listing(request.query, found, lambda page: [self._entry(one) for one in page])

    def _entry(self, one: LogEntry) -> dict[str, Any]:
        user = self._state.users.get(one.user_id)
        name = user.name if user is not None else "Somebody"
        title = one.item.name if one.item is not None else ""
        return {
            "Id": one.number,
            "Name": f"{name} {_SENTENCES[one.kind].format(title)}",
            "Type": self._dialect.types[one.kind],
            **({"ItemId": self._dialect.id_of(one.item)} if one.item is not None else {}),
            **({"ShortOverview": "IP address: 127.0.0.1"} if one.kind == "session started" else {}),
            "Date": binding.ticks_date(one.at),
            "UserId": one.user_id,
            "Severity": self._dialect.severity,
        }


class DeviceEndpoints:
    """The endpoint that lists the devices of those who signed in.

    Modelled on jellyfin/jellyfin 10.9 to 12, ``Jellyfin.Server.Implementations/Devices/DeviceManager.cs``
    (``GetDevicesForUser``). An API key is no device.
    """

    def __init__(self, state: SimulatorState) -> None:
        self._state = state

    def listing(self, request: Request) -> Response:
        """``GET /Devices``: the one that asked last first."""
        found = sorted(self._state.devices, key=lambda one: (-one.asked_at, one.name))
        if any(one.user_id not in self._state.users for one in found):
            # ToDeviceInfo: ResourceNotFoundException.
            return Response(status_code=404)
        return binding.listing(request.query, found, lambda page: [self._dto(one) for one in page])

    def _dto(self, one: Device) -> dict[str, Any]:
        return {
            "Name": one.name,
            "Id": dto.name_id("device", f"{one.client}|{one.name}"),
            "LastUserName": self._state.users[one.user_id].name,
            "AppName": one.client,
            "AppVersion": "1.0",
            "LastUserId": one.user_id,
            "DateLastActivity": binding.ticks_date(one.asked_at),
            "Capabilities": {
                "PlayableMediaTypes": [], "SupportedCommands": [], "SupportsMediaControl": False,
                "SupportsPersistentIdentifier": True,
            },
        }  # fmt: skip


class PlaystateEndpoints:
    """Played, favourite, rating, position. Every write responds with the item's user data."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def get(self, request: Request, item_id: str) -> Response:
        """``GET /UserItems/{item_id}/UserData``."""
        user, item = self._find(request, item_id)
        return self._response(item, user)

    def write(self, request: Request, item_id: str, user_id: str | None = None) -> Response:
        """``POST /UserItems/{item_id}/UserData``: only the given fields change, not when the user was active."""
        user, item = self._find(request, item_id, user_id)
        write_user_data(user, item, json_object(request))
        return self._response(item, user)

    def unrate(self, request: Request, item_id: str, user_id: str | None = None) -> Response:
        """``DELETE /UserItems/{item_id}/Rating``."""
        user, item = self._find(request, item_id, user_id)
        user.edit(item).rating = None
        return self._response(item, user)

    def like(self, request: Request, item_id: str, user_id: str | None = None) -> Response:
        """``POST /UserItems/{item_id}/Rating``: a thumb up is the rating 10, down 1, without ``likes`` none."""
        user, item = self._find(request, item_id, user_id)
        likes = binding.boolean(request.query, "likes")
        user.edit(item).rating = None if likes is None else LIKED if likes else DISLIKED
        return self._response(item, user)

    def favorite(self, request: Request, item_id: str, user_id: str | None = None) -> Response:
        """``POST /UserFavoriteItems/{item_id}``."""
        return self._set_favorite(request, item_id, user_id, True)

    def unfavorite(self, request: Request, item_id: str, user_id: str | None = None) -> Response:
        """``DELETE /UserFavoriteItems/{item_id}``."""
        return self._set_favorite(request, item_id, user_id, False)

    def _set_favorite(self, request: Request, item_id: str, user_id: str | None, favorite: bool) -> Response:
        user, item = self._find(request, item_id, user_id)
        user.edit(item).favorite = favorite
        return self._response(item, user)

    def played(self, request: Request, item_id: str, user_id: str | None = None) -> Response:
        """``POST /UserPlayedItems/{item_id}``: for a series, every episode. It makes the user active."""
        user, item = self._find(request, item_id, user_id)
        self._make_active(user)
        user.mark_played(item, binding.moment(request.query, "datePlayed"), self._access.state.clock.now())
        return self._response(item, user)

    def unplayed(self, request: Request, item_id: str, user_id: str | None = None) -> Response:
        """``DELETE /UserPlayedItems/{item_id}``. It makes the user active."""
        user, item = self._find(request, item_id, user_id)
        self._make_active(user)
        user.mark_unplayed(item)
        return self._response(item, user)

    def _make_active(self, user: ServerUser) -> None:
        """Note that a user is active, as whom the key acts (``RequestHelpers.cs``: ``GetSession``)."""
        state = self._access.state
        user.last_activity = state.clock.now()
        state.session(user.id, "Aperture", "Jellyfin Server")

    def _response(self, item: Item, user: ServerUser) -> Response:
        return JSONResponse(dto.user_data_dto(item, user))

    def _find(self, request: Request, item_id: str, user_id: str | None = None) -> tuple[ServerUser, Item]:
        user = self._access.required_user(request, user_id)
        return user, self._access.item(item_id, user)


def write_user_data(user: ServerUser, item: Item, given: dict[str, Any]) -> None:
    """Change the given fields of an item's user data; null leaves one as it is. Raises Unmodelled."""
    content = {name: value for name, value in given.items() if value is not None}
    rating = float(content["Rating"]) if "Rating" in content else None
    if rating is not None and not 0 <= rating <= 10:
        # The setter of MediaBrowser.Controller/Entities/UserItemData.cs throws; it does so for NaN, too.
        raise binding.invalid("Rating", rating)
    datum = user.edit(item)
    if "PlaybackPositionTicks" in content:
        datum.position = int(content["PlaybackPositionTicks"])
    if "PlayCount" in content:
        datum.play_count = int(content["PlayCount"])
    if "IsFavorite" in content:
        datum.favorite = bool(content["IsFavorite"])
    if "Likes" in content:
        datum.rating = LIKED if content["Likes"] else DISLIKED
    if rating is not None:
        datum.rating = rating
    if "LastPlayedDate" in content:
        datum.last_played = binding.parse_moment("LastPlayedDate", str(content["LastPlayedDate"]))
    if "Played" in content:
        user.set_played(item, bool(content["Played"]))


LIKED, DISLIKED = 10.0, 1.0
"""The ratings that a thumb up and a thumb down are (``MediaBrowser.Controller/Entities/UserItemData.cs``)."""
_NAMES = re.compile(r'\b(Client|Device|DeviceId|Version)="?([^",]*)"?')
_PROVIDERS = ("AuthenticationProviderId", "PasswordResetProviderId")


class WrongPasswordError(Exception):
    """Nobody has this name and password. On the real server this is an uncaught exception, answered with plain text."""


class UserEndpoints:
    """Endpoints that read and change users."""

    def __init__(self, access: Access, server_id: str, release: tuple[int, int] | None) -> None:
        self._access = access
        self._state = access.state
        self._server_id = server_id
        self._release = release
        self._codes: dict[str, QuickConnectCode] = {}

    def listing(self, request: Request) -> Response:
        """``GET /Users``: a bare array, by name."""
        return JSONResponse(self._dtos(request))

    def me(self, request: Request) -> Response:
        """``GET /Users/Me``: the user of a token. An API key has none: 400, empty (``UserController.cs``)."""
        user = self._access.caller(request)
        if user is None:
            return Response(status_code=400)
        return Response(status_code=401) if user.facts.is_disabled else JSONResponse(self._dto(user))

    def _dtos(self, request: Request) -> list[dict[str, Any]]:
        return [self._dto(user) for user in sorted(self._state.users.values(), key=lambda user: user.name.lower())]

    def _dto(self, user: ServerUser) -> dict[str, Any]:
        return dto.user_dto(user, self._server_id, self._release)

    def sign_in(self, request: Request) -> Response:
        """``POST /Users/AuthenticateByName``: a token for requests as a user, from a client that names itself.

        Modelled on ``Emby.Server.Implementations/Session/SessionManager.cs`` (``AuthenticateNewSessionInternal``).
        """
        # The server reads names in any case.
        content = {name.lower(): value for name, value in json_object(request).items()}
        client = self._client(request)
        name = str(content.get("username", ""))
        user = next((one for one in self._state.users.values() if one.name.lower() == name.lower()), None)
        if user is None or user.facts.is_disabled or content.get("pw") != self._state.settings.user_password:
            raise WrongPasswordError(name)
        return self._signed_in(user, client)

    def _client(self, request: Request) -> dict[str, str]:
        """Return how a client names itself. Raises ArgumentError if it does not, and has no key."""
        sent = request.headers.get("authorization") or request.headers.get("x-emby-authorization", "")
        client = dict(_NAMES.findall(sent))
        if not self._access.authorized(request) and not client.keys() >= {"Client", "Device", "DeviceId", "Version"}:
            raise ArgumentError("the client does not name itself")
        return client

    def _signed_in(self, user: ServerUser, client: dict[str, str]) -> Response:
        device = client.get("DeviceId", self._server_id)
        session = {
            "Id": dto.name_id("session", f"{user.id}|{device}"),
            "UserId": user.id,
            "UserName": user.name,
            "Client": client.get("Client", ""),
            "DeviceId": device,
            "DeviceName": client.get("Device", ""),
            "ApplicationVersion": client.get("Version", ""),
            "ServerId": self._server_id,
            "LastActivityDate": binding.ticks_date(self._state.clock.now()),
            "IsActive": True,
        }
        token = self._access.sign_in(user, session["Client"], device)
        found = {"User": self._dto(user), "SessionInfo": session, "AccessToken": token, "ServerId": self._server_id}
        return JSONResponse(found)

    def sign_out(self, request: Request) -> Response:
        """``POST /Sessions/Logout``: the token is not valid any more."""
        self._access.sign_out(request)
        return Response(status_code=204)

    def begin_quick_connect(self, request: Request) -> Response:
        """``POST /QuickConnect/Initiate``: a code that a user who is signed in elsewhere can enter there."""
        client = self._client(request)
        number = len(self._codes)
        code, secret = f"{number + 100_000:06}", dto.name_id("quick connect", str(number))
        self._codes[secret] = self._state.quick_connect[code] = QuickConnectCode(code, client)
        return JSONResponse(self._code(secret))

    def quick_connect(self, request: Request) -> Response:
        """``GET /QuickConnect/Connect``: whether somebody has entered the code."""
        secret = request.query.get("secret") or ""
        if secret not in self._codes:
            raise NotFoundError(secret)
        return JSONResponse(self._code(secret))

    def _code(self, secret: str) -> dict[str, Any]:
        code = self._codes[secret]
        return {
            "Authenticated": code.user is not None,
            "Secret": secret,
            "Code": code.code,
            "DeviceId": code.client.get("DeviceId", ""),
            "DeviceName": code.client.get("Device", ""),
            "AppName": code.client.get("Client", ""),
            "AppVersion": code.client.get("Version", ""),
            "DateAdded": binding.ticks_date(self._state.clock.now()),
        }

    def finish_quick_connect(self, request: Request) -> Response:
        """``POST /Users/AuthenticateWithQuickConnect``: the token for whoever has entered the code, once."""
        code = self._codes.pop(str(json_object(request).get("Secret", "")), None)
        user = self._state.users.get(code.user or "") if code is not None else None
        if code is None or user is None:
            return Response(status_code=400)
        return self._signed_in(user, code.client)

    def set_policy(self, request: Request, user_id: str) -> Response:
        """``POST /Users/{user_id}/Policy``: replaces the whole policy, except for blocked folders."""
        content = json_object(request)
        missing = [name for name in _PROVIDERS if not content.get(name)]
        if missing:
            raise binding.invalid(missing[0], None)
        policy = policies.parse_policy(content, self._release)
        folders = tuple(binding.as_guid("EnabledFolders", str(folder)) for folder in policy["EnabledFolders"])
        self._replace_policy(self._known(user_id), policy, folders)
        return Response(status_code=204)

    def _known(self, user_id: str) -> ServerUser:
        user = self._state.users.get(binding.as_guid("userId", user_id))
        if user is None:
            raise NotFoundError(user_id)
        return user

    def _replace_policy(self, user: ServerUser, policy: dict[str, Any], folders: tuple[str, ...]) -> None:
        user.policy.enable_all_folders = policy["EnableAllFolders"]
        user.policy.enabled_folders = folders
        user.policy.blocked_tags = tuple(policy["BlockedTags"])
        user.policy.allowed_tags = tuple(policy.get("AllowedTags", policy.get("IncludeTags", ())))
        user.policy.extra = policies.extra_of(policy)
        self._state.change_user(
            user.name,
            is_administrator=policy["IsAdministrator"],
            is_hidden=policy["IsHidden"],
            is_disabled=policy["IsDisabled"],
            max_parental_rating=policy["MaxParentalRating"],
        )

    def set_configuration(self, request: Request, user_id: str | None = None) -> Response:
        """``POST /Users/Configuration``: replaces the whole configuration of ``userId``."""
        configuration = json_object(request)
        user = self._access.required_user(request, user_id)
        user.configuration = policies.parse_configuration(configuration, self._release)
        user.version += 1
        return Response(status_code=204)
