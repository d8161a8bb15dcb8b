"""User data of items: reading and writing."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from aperture_dagster.simulator.catalogue import Item
from aperture_dagster.simulator.jellyfin import binding, dto
from aperture_dagster.simulator.jellyfin.access import Access, json_object
from aperture_dagster.simulator.jellyfin.binding import ArgumentError, BindingError
from aperture_dagster.simulator.responses import JSONResponse
from aperture_dagster.simulator.service import Request
from aperture_dagster.simulator.user_data import ServerUser


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

    def unrate(self, request: Request, item_id: str) -> Response:
        """``DELETE /UserItems/{item_id}/Rating``."""
        user, item = self._find(request, item_id)
        user.edit(item).rating = None
        return self._response(item, user)

    def played(self, request: Request, item_id: str, user_id: str | None = None) -> Response:
        """``POST /UserPlayedItems/{item_id}``: for a series, every episode. It makes the user active."""
        user, item = self._find(request, item_id, user_id)
        user.last_activity = self._access.state.clock.now()
        user.mark_played(item, binding.moment(request.query, "datePlayed"), self._access.state.clock.now())
        return self._response(item, user)

    def unplayed(self, request: Request, item_id: str, user_id: str | None = None) -> Response:
        """``DELETE /UserPlayedItems/{item_id}``. It makes the user active."""
        user, item = self._find(request, item_id, user_id)
        user.last_activity = self._access.state.clock.now()
        user.mark_unplayed(item)
        return self._response(item, user)

    def favorite(self, request: Request, item_id: str, user_id: str | None = None) -> Response:
        """``POST`` or ``DELETE`` ``/UserFavoriteItems/{item_id}``."""
        user, item = self._find(request, item_id, user_id)
        user.edit(item).favorite = request.method == "POST"
        return self._response(item, user)

    def _response(self, item: Item, user: ServerUser) -> Response:
        return JSONResponse(dto.user_data_dto(item, user))

    def _find(self, request: Request, item_id: str, user_id: str | None = None) -> tuple[ServerUser, Item]:
        user = self._access.required_user(request, user_id)
        return user, self._access.item(item_id, user)


def write_user_data(user: ServerUser, item: Item, given: dict[str, Any]) -> None:
    """Change the given fields of an item's user data; null leaves one as it is. Raises BindingError, ArgumentError."""
    content = {name: value for name, value in given.items() if value is not None}
    try:
        position, count = int(content.get("PlaybackPositionTicks", -1)), int(content.get("PlayCount", -1))
        rating = float(content["Rating"]) if "Rating" in content else None
    except (TypeError, ValueError) as error:
        raise BindingError("$", str(error)) from None
    if rating is not None and not 0 <= rating <= 10:
        # The setter of MediaBrowser.Controller/Entities/UserItemData.cs throws; it does so for NaN, too.
        raise ArgumentError(f"Rating {rating}")
    datum = user.edit(item)
    if "PlaybackPositionTicks" in content:
        datum.position = position
    if "PlayCount" in content:
        datum.play_count = count
    if "IsFavorite" in content:
        datum.favorite = bool(content["IsFavorite"])
    if "Likes" in content:
        datum.rating = 10.0 if content["Likes"] else 1.0
    if rating is not None:
        datum.rating = rating
    if "LastPlayedDate" in content:
        datum.last_played = binding.parse_moment("LastPlayedDate", str(content["LastPlayedDate"]))
    if "Played" in content:
        user.set_played(item, bool(content["Played"]))
