"""What clients may see: the key check, look-ups of users, items and libraries, and the items that a user sees."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote

from starlette.responses import Response

from aperture_dagster.simulator.catalogue import Item
from aperture_dagster.simulator.jellyfin import binding
from aperture_dagster.simulator.jellyfin.binding import ArgumentError, NotFoundError, UnknownUserError
from aperture_dagster.simulator.service import Operation, Request, StandIn, Unmodelled
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.user_data import ServerUser
from aperture_dagster.simulator.world import WorldLibrary

# Which items a user sees.
#
# Modelled on jellyfin/jellyfin, ``MediaBrowser.Controller/Entities/``, 10.9 to 12: ``BaseItem.cs``
# (``IsParentalAllowed``, ``IsVisibleViaTags``, ``GetInheritedTags``), ``CollectionFolder.cs``, ``Movies/BoxSet.cs`` and
# ``../Playlists/Playlist.cs`` (``IsVisible``).


Predicate = Callable[[Item], bool]


def visible_to(user: ServerUser) -> Predicate:
    """Return a predicate for the items that a user's policy allows.

    It checks library, folder, minimum age and tags; those of a series apply to its seasons and episodes, too. A box
    set is visible if the library of any member is, whether or not the library of box sets is; a playlist to its owner,
    or if it is shared or public.
    """
    policy, limit = user.policy, user.facts.max_parental_rating
    excluded = tuple(f"{location}/" for location in policy.excluded_locations)
    allowed = allowed_to(user)

    def visible(item: Item) -> bool:
        if item.kind == "Playlist":
            return item.ownership is None or item.ownership.allows(user.id)
        if item.kind == "BoxSet":
            members = [member.item for member in item.members if member.item.present]
            seen = [member for member in members if policy.allows_library(member.library)]
            return allowed(item) and (
                not members or (bool(seen) and any(_suits_age(member, limit) for member in members))
            )
        if not policy.allows_library(item.library):
            return False
        if excluded and f"{(item.series or item).folder}/".startswith(excluded):
            return False
        return allowed(item)

    return visible


def allowed_to(user: ServerUser) -> Predicate:
    """Return a predicate for the items whose age and tags a user's policy allows, in whichever library they are."""
    policy, limit = user.policy, user.facts.max_parental_rating
    blocked, required = lower_case(policy.blocked_tags), lower_case(policy.allowed_tags)

    def allowed(item: Item) -> bool:
        if blocked or required:
            tags = lower_case(item.tags)
            if blocked & tags or (required and not required & tags):
                return False
        return _suits_age(item, limit)

    return allowed


def _suits_age(item: Item, limit: int | None) -> bool:
    if limit is None:
        return True
    age = item.rating_age
    return age is None or age <= limit


def is_limited(user: ServerUser) -> bool:
    """Return whether a user's policy restricts anything."""
    policy = user.policy
    return (
        not policy.enable_all_folders
        or user.facts.max_parental_rating is not None
        or bool(policy.blocked_tags or policy.allowed_tags or policy.excluded_locations)
    )


def lower_case(names: Iterable[str]) -> set[str]:
    """Return names in lower case."""
    return {name.lower() for name in names}


_FOR_EVERYBODY = ("/sessions/logout", "/users/me", "/persons")
# Emby's, and the older ones of Jellyfin.
_OWN_MARKS = re.compile(r"/(favoriteitems/[^/]+|items/[^/]+/rating)$")
TOKEN = re.compile(r'\bToken="?([^",]*)"?', re.IGNORECASE)


class Access:
    """The key check of a version, and look-ups that fail as on the real server."""

    def __init__(self, state: SimulatorState, key: str | None = None) -> None:
        self.state = state
        self.keys: dict[str, tuple[str, float]] = {key or state.settings.jellyfin_key: ("Stand-in", state.clock.now())}
        """The API keys, each with the name of its app and when it was made, in seconds since the epoch."""
        self._sessions: dict[str, tuple[str, str, str]] = {}
        self._legacy = int(state.settings.jellyfin_version.split(".")[0]) < 12

    def authorized(self, request: Request) -> bool:
        """Return whether the request has the key in a form that this version accepts.

        That of a user who signed in is noted (``Security/AuthorizationContext.cs``).
        """
        tokens = self._tokens(request)
        signed_in = next((self._sessions[token] for token in tokens if token in self._sessions), None)
        if signed_in is not None:
            self._note_request(*signed_in)
        return signed_in is not None or not self.keys.keys().isdisjoint(tokens)

    def _note_request(self, user_id: str, client: str, device: str) -> None:
        self.state.note_request(user_id, client, device)

    def require_modelled(self, request: Request) -> None:
        """Raise Unmodelled for requests of users who signed in and are no administrators.

        They may sign out, ask who they are, look for people, and mark and rate what they see.
        """
        user, path = self.caller(request), request.path.lower()
        if user is None or user.facts.is_administrator or path in _FOR_EVERYBODY:
            return
        if path.startswith(("/userfavoriteitems/", "/useritems/")) and not request.query.get("userId"):
            return
        if path.startswith(f"/users/{user.id}/") and _OWN_MARKS.search(path):
            return
        raise Unmodelled("requests of users who are no administrators")

    def sign_in(self, user: ServerUser, client: str, device: str) -> str:
        """Return a token for requests as this user, from this client on this device."""
        token = hashlib.md5(f"{user.id}|{device}".encode(), usedforsecurity=False).hexdigest()
        self._sessions[token] = (user.id, client, device)
        self._note_request(user.id, client, device)
        self.state.session(user.id, client, device)
        user.last_activity = self.state.clock.now()
        return token

    def sign_out(self, request: Request) -> None:
        """Forget the tokens of a request, and the devices that have them."""
        for token in self._tokens(request):
            signed_in = self._sessions.pop(token, None)
            if signed_in is not None:
                self.state.forget_client(*signed_in[1:])

    def caller(self, request: Request) -> ServerUser | None:
        """Return the user who signed in for this request; None for one with the API key."""
        found = (self._sessions.get(token) for token in self._tokens(request))
        return next((self.state.users.get(one[0]) for one in found if one is not None), None)

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

        Raises UnknownUserError or Unmodelled.
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
        """Return the item with this id, if the user may see it. Raises NotFoundError or Unmodelled."""
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
        """Return all libraries, including those without an id."""
        return list(self.state.catalogue.libraries)


def json_object(request: Request) -> dict[str, Any]:
    """Parse the body as a JSON object. Raises Unmodelled."""
    content = request.parse_json()
    if not isinstance(content, dict):
        raise binding.invalid("$", content)
    return content


_LONGEST_REQUEST_LINE = 8192


class MediaServer(StandIn):
    """A media server over a state."""

    parameters = ("ApiKey", "api_key")
    ignore_case = True

    def __init__(self, state: SimulatorState, access: Access, server_id: str, operations: Iterable[Operation]) -> None:
        super().__init__(state, operations)
        self._access = access
        self._server_id = server_id

    def refuse(self, request: Request, operation: Operation | None) -> Response | None:
        """Refuse requests that are too long or lack the key. Paths that are not modelled are 501 with or without it."""
        if len(f"{request.method} {request.target} HTTP/1.1\r\n") > _LONGEST_REQUEST_LINE:
            return Response(status_code=414)
        if operation is None or operation.public or not operation.is_modelled or self._access.authorized(request):
            return None
        return self.refusal(401)

    def check(self, operation: Operation | None, request: Request) -> None:
        """Raise Unmodelled for a request of somebody whose rights are not modelled."""
        if operation is not None and not operation.public:
            self._access.require_modelled(request)

    def unknown(self, request: Request) -> Response:
        """Answer 404 for files of the web client and for a plugin that is not installed, which are not in the API."""
        is_no_part = request.path.lower().startswith(("/web/", "/homescreen/"))
        return self.refusal(404) if is_no_part else super().unknown(request)

    def refusal(self, status: int) -> Response:
        """Return the response to a request without the key (401), or for a file that does not exist (404)."""
        return self.error(status)
