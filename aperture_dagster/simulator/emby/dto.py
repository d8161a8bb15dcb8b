"""Emby's JSON for items and users, its ids, the key check, and look-ups by those ids."""

from __future__ import annotations

import re
from typing import Any

from aperture_dagster.simulator.catalogue import Catalogue, Item, stable_number
from aperture_dagster.simulator.catalogue import item_number as item_number
from aperture_dagster.simulator.jellyfin import dto as jellyfin
from aperture_dagster.simulator.jellyfin.access import TOKEN, Access, visible_to
from aperture_dagster.simulator.jellyfin.binding import NotFoundError, UnknownUserError
from aperture_dagster.simulator.service import Request
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.user_data import PLAYLISTS, USER_SECONDS, ServerUser
from aperture_dagster.simulator.world import WorldLibrary

_PLAYLISTS = "2"
_FIRST_LIBRARY, _FIRST_FOLDER, _FIRST_SUB_FOLDER = 3, 503, 703


def find_item(catalogue: Catalogue, number: str) -> Item | None:
    """Return the item with this id, if it is on the server now."""
    return catalogue.at_number(number)


def name_number(kind: str, name: str) -> int:
    """Return the id of a studio, genre, tag or person."""
    return stable_number(f"{kind}|{name}") % 2**31


def library_number(catalogue: Catalogue, library: WorldLibrary) -> str:
    """Return the ``ItemId`` of a library, which is also the parent of its items."""
    if library == PLAYLISTS:
        return _PLAYLISTS
    return str(_FIRST_LIBRARY + catalogue.place(library))


def folder_number(catalogue: Catalogue, library: WorldLibrary) -> str:
    """Return the ``Id`` of a library, which changes to it use. The third id, ``Guid``, is for users' policies."""
    return str(_FIRST_FOLDER + catalogue.place(library))


def sub_folders(catalogue: Catalogue, library: WorldLibrary) -> dict[str, str]:
    """Return the ids of a library's folders by path."""
    first = _FIRST_SUB_FOLDER + 10 * catalogue.place(library)
    return {location: str(first + place) for place, location in enumerate(library.locations)}


def excluded_folders(catalogue: Catalogue, locations: tuple[str, ...]) -> list[str]:
    """Return folders as users' policies name them: the library's Guid and the folder's id."""
    return [
        f"{library.item_id}_{number}"
        for library in catalogue.libraries
        for location, number in sub_folders(catalogue, library).items()
        if location in locations
    ]


def excluded_locations(catalogue: Catalogue, names: list[str]) -> tuple[str, ...]:
    """Return the paths of such names, without unknown ones."""
    known = {
        f"{library.item_id}_{number}": location
        for library in catalogue.libraries
        for location, number in sub_folders(catalogue, library).items()
    }
    return tuple(known[name] for name in names if name in known)


class EmbyAccess(Access):
    """The key check, and look-ups that fail as on the real server."""

    def __init__(self, state: SimulatorState) -> None:
        super().__init__(state, state.settings.emby_key)

    def _note_request(self, user_id: str, client: str, device: str) -> None:
        # As in the last version whose source was published (3.5.2, ``AuthService.cs``): any request counts as activity.
        user, now = self.state.users.get(user_id), self.state.clock.now()
        if user is not None and (user.last_activity is None or now - user.last_activity > USER_SECONDS):
            user.last_activity = now

    def _tokens(self, request: Request) -> list[str]:
        # As ``X-Emby-Token``, ``api_key`` or in ``X-Emby-Authorization``.
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
        item = find_item(self.state.catalogue, item_id)
        if item is None or (user is not None and not visible_to(user)(item)):
            raise NotFoundError(item_id)
        return item

    def library(self, item_id: str) -> WorldLibrary | None:
        """Return the library with this number."""
        catalogue = self.state.catalogue
        return next((each for each in self.libraries() if library_number(catalogue, each) == item_id), None)


# Jellyfin always sends these, Emby only if they are in ``Fields``.
_ON_REQUEST = (
    "ProductionYear", "PremiereDate", "EndDate", "CommunityRating", "CriticRating", "OfficialRating", "Status",
)  # fmt: skip
OTHER_FIELDS = frozenset(("externalurls", "etag", "datelastmediaadded"))
"""Modelled fields that the response for a single item does not have."""


def item_dto(
    item: Item,
    fields: frozenset[str],
    *,
    catalogue: Catalogue,
    server_id: str,
    user: ServerUser | None = None,
    images: bool = True,
) -> dict[str, Any]:
    """Return a BaseItemDto with the requested ``fields`` (lower-case names)."""
    dto = jellyfin.item_dto(item, fields, server_id=server_id, images=images)
    for name in _ON_REQUEST:
        if name.lower() not in fields:
            dto.pop(name, None)
    if dto.get("Status") == "Unreleased":
        # Emby has only Continuing and Ended.
        del dto["Status"]
    dto["Id"] = item_number(item)
    if item.series is not None:
        dto["SeriesId"] = item_number(item.series)
        if "SeasonId" in dto and item.season is not None:
            dto["SeasonId"] = item_number(item.season_item)
    if "ParentId" in dto:
        dto["ParentId"] = _parent_number(item, catalogue)
    if "Genres" in dto:
        dto["GenreItems"] = _named("genre", dto["Genres"])
    if "Tags" in dto:
        dto["TagItems"] = _named("tag", dto.pop("Tags"))
    if "Studios" in dto:
        dto["Studios"] = _named("studio", [studio["Name"] for studio in dto["Studios"]])
    for person in dto.get("People", ()):
        person["Id"] = str(name_number("person", person["Name"]))
    for source, version in zip(dto.get("MediaSources", ()), [item, *item.versions], strict=False):
        source["ItemId"] = item_number(version)
        source["Id"] = f"mediasource_{source['ItemId']}"
    for name in ("PremiereDate", "EndDate", "DateCreated"):
        if name in dto:
            dto[name] = _full_date(dto[name])
    if user is not None:
        dto["UserData"] = user_data_dto(item, user, fields)
    return dto


def user_data_dto(item: Item, user: ServerUser, fields: frozenset[str]) -> dict[str, Any]:
    """Return a user's data on an item, whichever version of it they played.

    Unless requested, the play count is 0 and the date of the last play is missing.
    """
    played = user.latest_version(item) or item
    dto = jellyfin.user_data_dto(played, user) if item.kind == "Movie" else jellyfin.user_data_dto(item, user)
    for name in ("Likes", "Key", "ItemId"):
        dto.pop(name, None)
    if "userdataplaycount" not in fields:
        dto["PlayCount"] = 0
    last_played = dto.pop("LastPlayedDate", None)
    if last_played is not None and "userdatalastplayeddate" in fields:
        dto["LastPlayedDate"] = _full_date(last_played)
    return dto


def _full_date(value: str) -> str:
    """Return a date of Jellyfin's with all seven digits of its fraction."""
    head, _, fraction = value.removesuffix("Z").partition(".")
    return f"{head}.{fraction:0<7}Z"


def library_dto(library: WorldLibrary, catalogue: Catalogue, server_id: str) -> dict[str, Any]:
    """Return a library as an item (CollectionFolder)."""
    number, guid = library_number(catalogue, library), library.item_id
    return {**jellyfin.library_dto(library, server_id), "Id": number, "Guid": guid}


def virtual_folder_dto(
    library: WorldLibrary,
    catalogue: Catalogue,
    options: dict[str, Any],
    status: str = "Idle",
    progress: float | None = None,
) -> dict[str, Any]:
    """Return a library as VirtualFolderInfo, with its three ids, or none if its folder does not exist (yet)."""
    folder = jellyfin.virtual_folder_dto(library, options, status, progress)
    if not library.has_id:
        return folder
    return {
        **folder,
        "ItemId": library_number(catalogue, library),
        "Id": folder_number(catalogue, library),
        "Guid": library.item_id,
    }


def media_folder_dto(library: WorldLibrary, catalogue: Catalogue) -> dict[str, Any]:
    """Return a library as MediaFolder, with the folders that users' policies can exclude."""
    folders = [
        {"Name": location.rpartition("/")[2], "Id": number, "Path": location, "IsUserAccessConfigurable": True}
        for location, number in sub_folders(catalogue, library).items()
    ]
    return {
        "Name": library.name,
        "Id": library_number(catalogue, library),
        "Guid": library.item_id,
        "SubFolders": folders,
        "IsUserAccessConfigurable": True,
    }


def user_dto(user: ServerUser, catalogue: Catalogue, server_id: str, connect_name: str | None) -> dict[str, Any]:
    """Return a UserDto. ``connect_name`` is the name of a linked Emby Connect account."""
    dto = jellyfin.user_dto(user, server_id, None)
    dto["Policy"]["ExcludedSubFolders"] = excluded_folders(catalogue, user.policy.excluded_locations)
    if connect_name is not None:
        dto |= {"ConnectUserName": connect_name, "ConnectLinkType": "LinkedUser"}
    return dto


def connect_names(users: list[ServerUser]) -> dict[str, str]:
    """Return the Emby Connect names by user id: two users have one, an e-mail address and a plain name."""
    linked: dict[str, str] = {}
    for place, user in enumerate(users[:2]):
        plain = re.sub(r"[^a-z0-9]", "", user.name.lower()) or "someone"
        linked[user.id] = f"{plain}@example.org" if place == 0 else f"{plain}_at_home"
    return linked


def _named(kind: str, names: list[str]) -> list[dict[str, Any]]:
    return [{"Name": name, "Id": name_number(kind, name)} for name in names]


def _parent_number(item: Item, catalogue: Catalogue) -> str:
    if item.series is None or item.season is None:
        return library_number(catalogue, item.library)
    parent = item.series if item.kind == "Season" else item.season_item
    return item_number(parent)
