"""Emby's JSON for items and users: Jellyfin's, with other ids, and with few fields unless requested."""

from __future__ import annotations

import re
from typing import Any

from aperture_dagster.simulator.catalogue import Catalogue, Item
from aperture_dagster.simulator.emby import ids
from aperture_dagster.simulator.jellyfin import dto as jellyfin
from aperture_dagster.simulator.user_data import ServerUser
from aperture_dagster.simulator.world import WorldLibrary

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
    dto["Id"] = ids.item_number(item)
    if item.series is not None:
        dto["SeriesId"] = ids.item_number(item.series)
        if "SeasonId" in dto and item.season is not None:
            dto["SeasonId"] = ids.item_number(item.season_item)
    if "ParentId" in dto:
        dto["ParentId"] = _parent_number(item, catalogue)
    if "Genres" in dto:
        dto["GenreItems"] = _named("genre", dto["Genres"])
    if "Tags" in dto:
        dto["TagItems"] = _named("tag", dto.pop("Tags"))
    if "Studios" in dto:
        dto["Studios"] = _named("studio", [studio["Name"] for studio in dto["Studios"]])
    for person in dto.get("People", ()):
        person["Id"] = str(ids.name_number("person", person["Name"]))
    for source, version in zip(dto.get("MediaSources", ()), [item, *item.versions], strict=False):
        source["ItemId"] = ids.item_number(version)
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
    number, guid = ids.library_number(catalogue, library), library.item_id
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
        "ItemId": ids.library_number(catalogue, library),
        "Id": ids.folder_number(catalogue, library),
        "Guid": library.item_id,
    }


def media_folder_dto(library: WorldLibrary, catalogue: Catalogue) -> dict[str, Any]:
    """Return a library as MediaFolder, with the folders that users' policies can exclude."""
    folders = [
        {"Name": location.rpartition("/")[2], "Id": number, "Path": location, "IsUserAccessConfigurable": True}
        for location, number in ids.sub_folders(catalogue, library).items()
    ]
    return {
        "Name": library.name,
        "Id": ids.library_number(catalogue, library),
        "Guid": library.item_id,
        "SubFolders": folders,
        "IsUserAccessConfigurable": True,
    }


def user_dto(user: ServerUser, catalogue: Catalogue, server_id: str, connect_name: str | None) -> dict[str, Any]:
    """Return a UserDto. ``connect_name`` is the name of a linked Emby Connect account."""
    dto = jellyfin.user_dto(user, server_id, None)
    dto["Policy"]["ExcludedSubFolders"] = ids.excluded_folders(catalogue, user.policy.excluded_locations)
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
    return [{"Name": name, "Id": ids.name_number(kind, name)} for name in names]


def _parent_number(item: Item, catalogue: Catalogue) -> str:
    if item.series is None or item.season is None:
        return ids.library_number(catalogue, item.library)
    parent = item.series if item.kind == "Season" else item.season_item
    return ids.item_number(parent)
