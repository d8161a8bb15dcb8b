"""Items and users in Emby's JSON: Jellyfin's, with other ids, and with hardly anything that was not asked for."""

from __future__ import annotations

import re
from typing import Any

from aperture_dagster.simulator.catalogue import Catalogue, Item, Library
from aperture_dagster.simulator.emby import ids
from aperture_dagster.simulator.jellyfin import dto as jellyfin
from aperture_dagster.simulator.user_data import ServerUser

# Jellyfin sends these always, Emby when they are named in ``Fields``.
_ON_REQUEST = (
    "ProductionYear", "PremiereDate", "EndDate", "CommunityRating", "CriticRating", "OfficialRating", "Status",
)  # fmt: skip
_POLICY = ("IsAdministrator", "IsHidden", "IsDisabled", "EnableAllFolders", "BlockedTags", "EnableContentDeletion")


def item_dto(
    item: Item,
    fields: frozenset[str],
    *,
    catalogue: Catalogue,
    server_id: str,
    user: ServerUser | None = None,
    images: bool = True,
) -> dict[str, Any]:
    """A BaseItemDto with the ``fields`` (lower-case names) asked for."""
    dto = jellyfin.item_dto(item, fields, server_id=server_id, images=images)
    for name in _ON_REQUEST:
        if name.lower() not in fields:
            dto.pop(name, None)
    if dto.get("Status") == "Unreleased":
        # Emby knows Continuing and Ended.
        del dto["Status"]
    dto["Id"] = ids.item_number(item)
    if item.series is not None:
        dto["SeriesId"] = ids.item_number(item.series)
        if "SeasonId" in dto and item.season is not None:
            dto["SeasonId"] = ids.item_number(item.series.seasons[item.season - 1].item)
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
    for source in dto.get("MediaSources", ()):
        source["Id"] = f"mediasource_{dto['Id']}"
    if user is not None:
        dto["UserData"] = user_data_dto(item, user, fields)
    return dto


def user_data_dto(item: Item, user: ServerUser, fields: frozenset[str]) -> dict[str, Any]:
    """What a user did with an item; count and date of plays only when they are asked for."""
    dto = jellyfin.user_data_dto(item, user)
    for name in ("Likes", "Key", "ItemId"):
        dto.pop(name, None)
    for name in ("PlayCount", "LastPlayedDate"):
        if f"userdata{name.lower()}" not in fields:
            dto.pop(name, None)
    return dto


def library_dto(library: Library, catalogue: Catalogue, server_id: str) -> dict[str, Any]:
    """A library as an item (CollectionFolder)."""
    number, guid = ids.library_number(catalogue, library), library.item_id
    return {**jellyfin.library_dto(library, server_id), "Id": number, "Guid": guid}


def virtual_folder_dto(library: Library, catalogue: Catalogue) -> dict[str, Any]:
    """A library as VirtualFolderInfo, with its three ids."""
    return {
        **jellyfin.virtual_folder_dto(library),
        "ItemId": ids.library_number(catalogue, library),
        "Id": ids.folder_number(catalogue, library),
        "Guid": library.item_id,
    }


def user_dto(user: ServerUser, server_id: str, connect_name: str | None) -> dict[str, Any]:
    """A UserDto. ``connect_name`` is set for a user with a linked Emby Connect account."""
    dto = jellyfin.user_dto(user, server_id)
    policy = {name: dto["Policy"][name] for name in (*_POLICY, "EnabledFolders", "MaxParentalRating")
              if name in dto["Policy"]}  # fmt: skip
    policy |= {
        "IsHiddenRemotely": False,
        "IsHiddenFromUnusedDevices": False,
        "ExcludedSubFolders": [],
        "IncludeTags": [],
        "IsTagBlockingModeInclusive": False,
    }
    dto["Policy"] = policy | (user.policy.extra or {})
    if connect_name is not None:
        dto |= {"ConnectUserName": connect_name, "ConnectLinkType": "LinkedUser"}
    return dto


def connect_names(users: list[ServerUser]) -> dict[str, str]:
    """Two users, by id, are linked to Emby Connect: one under an e-mail address, one under a plain name."""
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
    parent = item.series if item.kind == "Season" else item.series.seasons[item.season - 1].item
    return ids.item_number(parent)
