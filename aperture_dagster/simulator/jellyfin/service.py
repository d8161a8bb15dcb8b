"""What the stand-ins of both media servers do alike: who may ask, the list of users, and their policies."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any, ClassVar

from aperture_dagster.simulator.asgi import UNMODELLED, Request, Response, Route, Router
from aperture_dagster.simulator.jellyfin.access import Access
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.user_data import ServerUser

_POLICY_OF_FACTS = (
    "IsAdministrator", "IsHidden", "IsDisabled", "MaxParentalRating", "EnableAllFolders", "EnabledFolders",
    "BlockedTags", "AllowedTags", "IncludeTags", "ExcludedSubFolders",
)  # fmt: skip

Endpoint = Callable[..., Response]
RouteEntry = tuple[str, str, Endpoint, Collection[str]]
"""Method, pattern, who answers, and the parameters that are modelled."""


class MediaServerService(ABC):
    """A media server over a state. Paths match in any case, as on the real ones."""

    public: ClassVar[re.Pattern[str]]
    """The paths that can be read without a key, in any case."""

    def __init__(self, state: SimulatorState, access: Access, server_id: str) -> None:
        self._state = state
        self._access = access
        self._server_id = server_id
        self.router = Router(ignore_case=True, parameters=("ApiKey", "api_key"))

    def find(self, request: Request) -> Route:
        """The route of a request, refused already when it may not ask. Paths that are not modelled are no secret."""
        if request.path.lower().startswith("/web/"):
            # The web client's files are no part of the API.
            return Route("GET /web", lambda *_: self._refused(404))
        route = self.router.find(request.method, request.path) or UNMODELLED
        is_public = request.method == "GET" and self.public.fullmatch(request.path)
        if route.endpoint == UNMODELLED.endpoint:
            return UNMODELLED
        if not is_public and not self._access.authorized(request):
            return Route(route.endpoint, lambda *_: self._refused(401))
        handler = route.handler
        return replace(route, handler=lambda asked, *parts: self._guarded(handler, asked, parts))

    def _add(self, routes: Iterable[RouteEntry]) -> None:
        for method, pattern, handler, parameters in routes:
            self.router.add(method, pattern, handler, parameters)

    @abstractmethod
    def _refused(self, status: int) -> Response:
        """The answer to a request that may not ask (401), or asks for a file that is not there (404)."""

    @abstractmethod
    def _guarded(self, handler: Endpoint, request: Request, parts: tuple[str, ...]) -> Response:
        """What the handler answers, or how this server words it that the request makes no sense."""

    def _users(self, *, hidden: bool | None, disabled: bool | None) -> list[ServerUser]:
        """By name; None for either."""
        return [
            user
            for user in sorted(self._state.users.values(), key=lambda user: user.name.lower())
            if hidden in (None, user.facts.is_hidden) and disabled in (None, user.facts.is_disabled)
        ]

    def _replace_policy(self, user: ServerUser, content: dict[str, Any], folders: tuple[str, ...]) -> None:
        """The whole policy is replaced; what is not given falls back to its default."""
        user.policy.enable_all_folders = bool(content.get("EnableAllFolders", True))
        user.policy.enabled_folders = folders
        user.policy.blocked_tags = tuple(content.get("BlockedTags") or ())
        user.policy.allowed_tags = tuple(content.get("AllowedTags") or content.get("IncludeTags") or ())
        # What the stand-in has no use for is kept all the same, as a client that reads it back expects.
        user.policy.extra = {name: value for name, value in content.items() if name not in _POLICY_OF_FACTS}
        self._state.change_user(
            user.name,
            is_administrator=bool(content.get("IsAdministrator")),
            is_hidden=bool(content.get("IsHidden")),
            is_disabled=bool(content.get("IsDisabled")),
            max_parental_rating=content.get("MaxParentalRating"),
        )
