"""The key check, and look-ups by Emby's ids."""

from __future__ import annotations

from aperture_dagster.simulator.catalogue import Item
from aperture_dagster.simulator.emby import ids
from aperture_dagster.simulator.jellyfin.access import TOKEN, Access
from aperture_dagster.simulator.jellyfin.binding import NotFoundError, UnknownUserError
from aperture_dagster.simulator.jellyfin.visibility import visible_to
from aperture_dagster.simulator.service import Request
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.user_data import ServerUser
from aperture_dagster.simulator.world import WorldLibrary


class EmbyAccess(Access):
    """The key check, and look-ups that fail as on the real server."""

    def __init__(self, state: SimulatorState) -> None:
        super().__init__(state)
        self._emby_key = state.settings.emby_key

    def authorized(self, request: Request) -> bool:
        """Return whether the request has the key, as ``X-Emby-Token``, ``api_key`` or in ``X-Emby-Authorization``."""
        tokens = self._tokens(request)
        return self._emby_key in tokens or bool(self._sessions.keys() & set(tokens))

    def _tokens(self, request: Request) -> list[str]:
        tokens = [request.headers.get("x-emby-token", ""), request.query.get("api_key") or ""]
        return [*tokens, *TOKEN.findall(request.headers.get("x-emby-authorization", ""))]

    def user(self, request: Request, user_id: str | None = None) -> ServerUser | None:
        """Return the user from the path or ``UserId``; None when there is neither. Raises UnknownUserError."""
        wanted = user_id or request.query.get("UserId")
        if wanted is None:
            return None
        user = self.state.users.get(wanted.replace("-", "").lower())
        if user is None:
            raise UnknownUserError(wanted)
        return user

    def item(self, item_id: str, user: ServerUser | None) -> Item:
        """Return the item with this number, if the user may see it. Raises NotFoundError."""
        item = ids.find_item(self.state.catalogue, item_id)
        if item is None or (user is not None and not visible_to(user)(item)):
            raise NotFoundError(item_id)
        return item

    def library(self, item_id: str) -> WorldLibrary | None:
        """Return the library with this number."""
        catalogue = self.state.catalogue
        return next((each for each in self.libraries() if ids.library_number(catalogue, each) == item_id), None)
