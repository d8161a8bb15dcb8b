"""Changing and deleting items.

Modelled on jellyfin/jellyfin, 10.9 to 12:

- ``Jellyfin.Api/Controllers/ItemUpdateController.cs`` ``UpdateItem``: the whole object counts. What a client leaves out
  is cleared, except for lists and provider ids; a lock that differs is passed on to the members of a box set;
- ``Jellyfin.Api/Controllers/LibraryController.cs`` ``DeleteItem``: an API key deletes anything, with its files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from starlette.responses import Response

from aperture_dagster.simulator.catalogue import Item, sort_name
from aperture_dagster.simulator.jellyfin import binding
from aperture_dagster.simulator.jellyfin.access import Access, json_object
from aperture_dagster.simulator.jellyfin.binding import BindingError
from aperture_dagster.simulator.service import Request, Unmodelled
from aperture_dagster.simulator.world import CastMember, WorldTitle

# Types of items whose changes are modelled.
_EDITABLE = ("Movie", "Series", "BoxSet", "Playlist")
# Written as they are, and cleared when missing.
_PLAIN = ("CriticRating", "CustomRating", "PreferredMetadataLanguage", "PreferredMetadataCountryCode", "AspectRatio")
_CREWS = {"Director": "directors", "Writer": "writers", "Composer": "composers", "Creator": "creators"}


class EditingEndpoints:
    """Endpoints that change and delete items."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._state = access.state

    def update(self, request: Request, item_id: str) -> Response:
        """``POST /Items/{item_id}``, with a whole BaseItemDto."""
        item = self._editable(item_id)
        content = self._content(request)
        locked = bool(content.get("LockData"))
        if locked != item.locked:
            for each in self._below(item):
                each.locked = locked
        write_item(item, content)
        item.locked = locked
        self._state.lists.touch(item)
        return Response(status_code=204)

    def delete(self, request: Request, item_id: str) -> Response:
        """``DELETE /Items/{item_id}``."""
        self._state.delete_item(self._editable(item_id))
        return Response(status_code=204)

    def _content(self, request: Request) -> dict[str, Any]:
        return json_object(request)

    def _editable(self, item_id: str) -> Item:
        if self._access.library(item_id) is not None:
            raise Unmodelled("changes of a library as an item")
        item = self._access.item(item_id, None)
        if item.kind not in _EDITABLE:
            raise Unmodelled(f"changes of a {item.kind}")
        return item

    def _below(self, item: Item) -> Iterator[Item]:
        for member in self._state.lists.members_of(item):
            yield from self._state.catalogue.family(member.item)
        yield from self._state.catalogue.family(item)


def write_item(item: Item, content: dict[str, Any]) -> None:
    """Write a whole BaseItemDto to an item, except for its lock. Raises BindingError."""
    title = _title(item, content)
    if content.get("DateCreated"):
        item.created = binding.parse_moment("DateCreated", str(content["DateCreated"]))
    item.name = str(content.get("Name") or "")
    item.title = title
    item.forced_sort_name = content.get("ForcedSortName") or None
    item.sort_name = sort_name(item.forced_sort_name or item.name)
    if content.get("ProviderIds") is not None:
        ids = _of_type(content, "ProviderIds", dict)
        item.own_provider_ids = {str(name): str(value) for name, value in ids.items() if value}
    item.edits |= {name: content.get(name) for name in _PLAIN}
    if item.kind in ("BoxSet", "Series"):
        item.edits["DisplayOrder"] = content.get("DisplayOrder")
    if content.get("LockedFields") is not None:
        item.edits["LockedFields"] = _of_type(content, "LockedFields", list)


def _title(item: Item, content: dict[str, Any]) -> WorldTitle:
    year, rating = content.get("ProductionYear"), content.get("CommunityRating")
    for name, value in (("ProductionYear", year), ("CommunityRating", rating)):
        if value is not None and not isinstance(value, int | float):
            raise BindingError(f"$.{name}", str(value))
    title = replace(
        item.title,
        title=str(content.get("Name") or ""),
        original_title=content.get("OriginalTitle") or None,
        overview=content.get("Overview") or "",
        vote_average=rating,
        year=year,
        release_date=str(content["PremiereDate"])[:10] if content.get("PremiereDate") else None,
        official_rating=content.get("OfficialRating") or None,
    )
    if item.kind == "Series":
        title = replace(title, status=content.get("Status"))
    lists = {"Genres": "genres", "Tags": "tags", "ProductionLocations": "countries"}
    changes: dict[str, Any] = {
        field: tuple(dict.fromkeys(_of_type(content, name, list)))
        for name, field in lists.items()
        if content.get(name) is not None
    }
    if content.get("Taglines") is not None:
        changes["tagline"] = next(iter(_of_type(content, "Taglines", list)), "") or ""
    if content.get("Studios") is not None:
        studios = tuple(dict.fromkeys(studio["Name"] for studio in _of_type(content, "Studios", list)))
        changes |= {"networks": studios if item.kind == "Series" else (), "companies": studios}
    if content.get("People") is not None:
        people = _of_type(content, "People", list)
        cast = [one for one in people if one.get("Type") in ("Actor", "GuestStar")]
        changes["cast"] = tuple(CastMember(one["Name"], one.get("Role") or "") for one in cast)
        for kind, field in _CREWS.items():
            changes[field] = tuple(one["Name"] for one in people if one.get("Type") == kind)
    return replace(title, **changes)


def _of_type(content: dict[str, Any], name: str, kind: type) -> Any:
    if not isinstance(content[name], kind):
        raise BindingError(f"$.{name}", str(content[name]))
    return content[name]
