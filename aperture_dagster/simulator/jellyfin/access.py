"""The key check, and look-ups of users, items and libraries.

Modelled on jellyfin/jellyfin v10.9.11, v10.10.7, v10.11.11 and v12.0-rc5,
``Jellyfin.Server.Implementations/Security/AuthorizationContext.cs`` (``GetAuthorizationInfoFromDictionary``): the key
is in an ``Authorization`` header with the scheme MediaBrowser, or in ``ApiKey`` in the query; headers with other
schemes are ignored. Legacy forms depend on ``EnableLegacyAuthorization``, which is off from 12 on.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any
from urllib.parse import unquote

from aperture_dagster.simulator.catalogue import Item
from aperture_dagster.simulator.jellyfin import binding
from aperture_dagster.simulator.jellyfin.binding import ArgumentError, BindingError, NotFoundError, UnknownUserError
from aperture_dagster.simulator.jellyfin.visibility import visible_to
from aperture_dagster.simulator.service import Request, Unmodelled
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.user_data import ServerUser
from aperture_dagster.simulator.world import WorldLibrary

TOKEN = re.compile(r'\bToken="?([^",]*)"?', re.IGNORECASE)


class Access:
    """The key check of a version, and look-ups that fail as on the real server."""

    def __init__(self, state: SimulatorState) -> None:
        self.state = state
        self._key = state.settings.jellyfin_key
        self._sessions: dict[str, str] = {}
        self._legacy = int(state.settings.jellyfin_version.split(".")[0]) < 12

    def authorized(self, request: Request) -> bool:
        """Return whether the request has the key in a form that this version accepts."""
        return any(token == self._key or token in self._sessions for token in self._tokens(request))

    def require_modelled(self, request: Request) -> None:
        """Raise Unmodelled for requests of users who signed in and are no administrators, except for a sign-out."""
        user = self.caller(request)
        if user is not None and not user.facts.is_administrator and request.path.lower() != "/sessions/logout":
            raise Unmodelled("requests of users who are no administrators")

    def sign_in(self, user: ServerUser, device: str) -> str:
        """Return a token for requests as this user, from this device."""
        token = hashlib.md5(f"{user.id}|{device}".encode(), usedforsecurity=False).hexdigest()
        self._sessions[token] = user.id
        return token

    def sign_out(self, request: Request) -> None:
        """Forget the tokens of a request."""
        for token in self._tokens(request):
            self._sessions.pop(token, None)

    def caller(self, request: Request) -> ServerUser | None:
        """Return the user who signed in for this request; None for one with the API key."""
        found = (self._sessions.get(token) for token in self._tokens(request))
        return next((self.state.users.get(user_id) for user_id in found if user_id is not None), None)

    def _tokens(self, request: Request) -> list[str]:
        tokens: list[str] = []
        scheme, _, rest = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "mediabrowser" or (self._legacy and scheme.lower() == "emby"):
            tokens += [unquote(found) for found in TOKEN.findall(rest)]
        if "apikey" in request.query_string.lower():
            tokens.append(request.query.get("ApiKey") or "")
        if self._legacy:
            tokens += [request.headers.get("x-emby-token", ""), request.headers.get("x-mediabrowser-token", "")]
            tokens.append(request.query.get("api_key") or "")
            tokens += [unquote(found) for found in TOKEN.findall(request.headers.get("x-emby-authorization", ""))]
        return [token for token in tokens if token]

    def user(self, request: Request, user_id: str | None = None) -> ServerUser | None:
        """Return the user from the path or ``userId``, or else the one who signed in; None when there is none.

        Raises UnknownUserError or BindingError.
        """
        wanted = binding.as_guid("userId", user_id) if user_id else binding.guid(request.query, "userId")
        if wanted is None:
            return self.caller(request)
        user = self.state.users.get(wanted)
        if user is None:
            raise UnknownUserError(wanted)
        return user

    def required_user(self, request: Request, user_id: str | None = None) -> ServerUser:
        """Return the user as `user` does, or raise ArgumentError: an API key has no user of its own."""
        user = self.user(request, user_id)
        if user is None:
            raise ArgumentError("Guid can't be empty")
        return user

    def item(self, item_id: str, user: ServerUser | None) -> Item:
        """Return the item with this id, if the user may see it. Raises NotFoundError or BindingError."""
        item = self.state.catalogue.find(binding.as_guid("itemId", item_id))
        if item is None or (user is not None and not visible_to(user)(item)):
            raise NotFoundError(item_id)
        return item

    def libraries(self, user: ServerUser | None = None) -> list[WorldLibrary]:
        """Return the libraries that have an id and that the user may see."""
        libraries = [library for library in self.folders() if library.has_id]
        if user is None:
            return libraries
        return [library for library in libraries if user.policy.allows_library(library)]

    def library(self, item_id: str) -> WorldLibrary | None:
        """Return the library with this id, with or without dashes."""
        wanted = item_id.replace("-", "").lower()
        return next((each for each in self.libraries() if each.item_id == wanted), None)

    def folders(self) -> list[WorldLibrary]:
        """Return all libraries that are not hidden, including those without an id."""
        catalogue = self.state.catalogue
        return [library for library in catalogue.libraries if library.name not in catalogue.hidden_libraries]


def json_object(request: Request) -> dict[str, Any]:
    """Parse the body as a JSON object. Raises BindingError."""
    try:
        content = request.parse_json()
    except ValueError:
        raise BindingError("$", "not JSON") from None
    if not isinstance(content, dict):
        raise BindingError("$", "not an object")
    return content
