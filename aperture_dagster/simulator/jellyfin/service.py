"""Shared parts of the media server stand-ins: the key check, the list of users, and their policies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.responses import Response

from aperture_dagster.simulator.jellyfin.access import Access
from aperture_dagster.simulator.service import Operation, Request, StandIn
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.user_data import ServerUser

_POLICY_OF_FACTS = (
    "IsAdministrator", "IsHidden", "IsDisabled", "MaxParentalRating", "EnableAllFolders", "EnabledFolders",
    "BlockedTags", "AllowedTags", "IncludeTags", "ExcludedSubFolders",
)  # fmt: skip


class MediaServer(StandIn):
    """A media server over a state."""

    parameters = ("ApiKey", "api_key")
    ignore_case = True

    def __init__(self, state: SimulatorState, access: Access, server_id: str, operations: Iterable[Operation]) -> None:
        super().__init__(state, operations)
        self._access = access
        self._server_id = server_id

    def refuse(self, request: Request, operation: Operation | None) -> Response | None:
        """Refuse requests without the key. Paths that are not modelled are 501 with or without it."""
        if operation is None or operation.public or not operation.is_modelled or self._access.authorized(request):
            return None
        return self.refusal(401)

    def unknown(self, request: Request) -> Response:
        """Answer 404 for files of the web client, which are not part of the API."""
        return self.refusal(404) if request.path.lower().startswith("/web/") else super().unknown(request)

    def refusal(self, status: int) -> Response:
        """Return the response to a request without the key (401), or for a file that does not exist (404)."""
        return self.error(status)

    def _users(self, *, hidden: bool | None, disabled: bool | None) -> list[ServerUser]:
        """Return users by name; None includes both."""
        return [
            user
            for user in sorted(self._state.users.values(), key=lambda user: user.name.lower())
            if hidden in (None, user.facts.is_hidden) and disabled in (None, user.facts.is_disabled)
        ]

    def _replace_policy(self, user: ServerUser, content: dict[str, Any], folders: tuple[str, ...]) -> None:
        """Replace the whole policy; missing values get their defaults."""
        user.policy.enable_all_folders = bool(content.get("EnableAllFolders", True))
        user.policy.enabled_folders = folders
        user.policy.blocked_tags = tuple(content.get("BlockedTags") or ())
        user.policy.allowed_tags = tuple(content.get("AllowedTags") or content.get("IncludeTags") or ())
        # Keep values that the stand-in does not use, for clients that read them back.
        user.policy.extra = {name: value for name, value in content.items() if name not in _POLICY_OF_FACTS}
        self._state.change_user(
            user.name,
            is_administrator=bool(content.get("IsAdministrator")),
            is_hidden=bool(content.get("IsHidden")),
            is_disabled=bool(content.get("IsDisabled")),
            max_parental_rating=content.get("MaxParentalRating"),
        )
